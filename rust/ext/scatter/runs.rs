// SPDX-License-Identifier: GPL-2.0

//! From parts to runs: what a card can be given as one segment.

use kernel::{
    bindings,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    }, //
};

use super::{
    super::shim,
    Part,
    Scatter, //
};

impl Scatter {
    /// Returns each run of memory that is physically contiguous, at most `max` bytes long, and inside one
    /// multiple of `boundary`.
    ///
    /// `max` is a multiple of the page size, `boundary` a power of two and at least a page.
    pub(in crate::ext) fn runs(&self, max: u64, boundary: u64) -> Runs<'_> {
        let origin = self
            .parts
            .first()
            .map_or(core::ptr::null_mut(), |part| part.page);
        Runs {
            parts: self.parts.iter(),
            rest: None,
            max,
            boundary,
            origin,
            origin_address: match origin.is_null() {
                true => 0,
                // SAFETY: The page is live.
                false => unsafe { shim::userdma_page_phys(origin) },
            },
        }
    }
}

/// A run of memory that is physically contiguous.
#[derive(Clone, Copy)]
pub(in crate::ext) struct Run {
    /// The page with its first byte.
    pub(in crate::ext) page: *mut bindings::page,
    /// Where its first byte is in that page.
    pub(in crate::ext) inside: usize,
    /// Bytes.
    pub(in crate::ext) length: u64,
}

/// The runs of a [`Scatter`], in order.
pub(in crate::ext) struct Runs<'a> {
    parts: core::slice::Iter<'a, Part>,
    /// What is left of a run that was cut.
    rest: Option<Run>,
    max: u64,
    boundary: u64,
    /// Some page, and its physical address: from its distance in the array of all pages follows that of
    /// any other.
    origin: *mut bindings::page,
    origin_address: u64,
}

impl Runs<'_> {
    fn address(&self, run: &Run) -> u64 {
        let bytes = (run.page as isize).wrapping_sub(self.origin as isize);
        let pages = bytes / core::mem::size_of::<bindings::page>() as isize;
        // CAST: May be negative, and wraps to what is meant.
        let distance = (pages as u64) << PAGE_SHIFT;
        self.origin_address.wrapping_add(distance) + run.inside as u64
    }
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let mut run = match self.rest.take() {
            Some(rest) => rest,
            None => {
                let part = self.parts.next()?;
                Run {
                    page: part.page,
                    inside: part.inside as usize,
                    length: part.length,
                }
            }
        };
        while let Some(next) = self.parts.as_slice().first() {
            let end = run.inside as u64 + run.length;
            let behind = run.page.wrapping_add((end >> PAGE_SHIFT) as usize);
            let adjacent = end % PAGE_SIZE as u64 == 0 && next.inside == 0 && behind == next.page;
            if !adjacent || run.length >= self.max {
                break;
            }
            run.length += next.length;
            self.parts.next();
        }
        let to_boundary = self.boundary - (self.address(&run) & (self.boundary - 1));
        let most = to_boundary.min(self.max - run.inside as u64);
        if run.length > most {
            // Both are multiples of the page size, counted from the first page.
            let pages = (run.inside as u64 + most) >> PAGE_SHIFT;
            self.rest = Some(Run {
                page: run.page.wrapping_add(pages as usize),
                inside: 0,
                length: run.length - most,
            });
            run.length = most;
        }
        Some(run)
    }
}

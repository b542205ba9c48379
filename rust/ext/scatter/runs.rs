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

impl Run {
    fn of(part: &Part) -> Self {
        Self {
            page: part.page,
            inside: part.inside as usize,
            length: part.length,
        }
    }

    /// Whether `part` lies behind this.
    #[inline(always)]
    fn is_before(&self, part: &Part) -> bool {
        let end = self.inside as u64 + self.length;
        let behind = self.page.wrapping_add((end >> PAGE_SHIFT) as usize);
        behind == part.page && part.inside == 0 && end % PAGE_SIZE as u64 == 0
    }
}

/// What runs may not do.
struct Cut {
    max: u64,
    boundary: u64,
    /// Some page, and its physical address: from its distance in the array of all pages follows that of
    /// any other.
    origin: *mut bindings::page,
    origin_address: u64,
}

impl Cut {
    /// Returns how many bytes of `run` may be one.
    #[inline(always)]
    fn most(&self, run: &Run) -> u64 {
        let bytes = (run.page as isize).wrapping_sub(self.origin as isize);
        let pages = bytes / core::mem::size_of::<bindings::page>() as isize;
        // CAST: May be negative, and wraps to what is meant.
        let distance = (pages as u64) << PAGE_SHIFT;
        let address = self.origin_address.wrapping_add(distance) + run.inside as u64;
        let to_boundary = self.boundary - (address & (self.boundary - 1));
        to_boundary.min(self.max - run.inside as u64)
    }
}

impl Scatter {
    /// Calls `f` with each run of memory that is physically contiguous, at most `max` bytes long, and inside
    /// one multiple of `boundary`, in order, as long as it returns `true`. Returns whether it always did.
    ///
    /// `max` is a multiple of the page size, `boundary` a power of two and at least a page.
    ///
    /// Not an iterator: one keeps what it knows in memory, which doubles what a run of one page costs.
    #[inline(always)]
    pub(in crate::ext) fn for_each_run(
        &self,
        max: u64,
        boundary: u64,
        mut f: impl FnMut(Run) -> bool,
    ) -> bool {
        let mut parts = self.parts.iter();
        let Some(first) = parts.next() else {
            return true;
        };
        let cut = Cut {
            max,
            boundary,
            origin: first.page,
            // SAFETY: The page is live.
            origin_address: unsafe { shim::userdma_page_phys(first.page) },
        };
        let mut run = Run::of(first);
        loop {
            let next = parts.next();
            match next {
                Some(part) if run.is_before(part) => {
                    run.length += part.length;
                    continue;
                }
                _ => {}
            }
            loop {
                let most = cut.most(&run);
                if run.length <= most {
                    break;
                }
                if !f(Run {
                    length: most,
                    ..run
                }) {
                    return false;
                }
                // Both are multiples of the page size, counted from the first page.
                let pages = (run.inside as u64 + most) >> PAGE_SHIFT;
                run = Run {
                    page: run.page.wrapping_add(pages as usize),
                    inside: 0,
                    length: run.length - most,
                };
            }
            if !f(run) {
                return false;
            }
            match next {
                Some(part) => run = Run::of(part),
                None => return true,
            }
        }
    }

    /// Returns how many runs [`Scatter::for_each_run`] gives.
    pub(in crate::ext) fn count_runs(&self, max: u64, boundary: u64) -> usize {
        let mut count = 0;
        self.for_each_run(max, boundary, |_| {
            count += 1;
            true
        });
        count
    }
}

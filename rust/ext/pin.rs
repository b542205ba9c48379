// SPDX-License-Identifier: GPL-2.0

//! Memory of programs, pinned: it stays where it is until this lets go.
//!
//! How it is pinned for long, at an address or of a memfd, is in `long.rs`; for a request of read() or
//! write() in `request.rs`; what a ring of io_uring's has pinned, in `fixed.rs`.
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h),
//! [`include/linux/uio.h`](srctree/include/linux/uio.h)

mod fixed;
mod long;
mod request;

use core::ops::Deref;

use kernel::{
    bindings,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};

use super::{
    scatter::Scatter,
    shim, //
};

pub(crate) use self::{
    long::Memfd,
    request::{
        dest_alignment,
        source_alignment,
        take_back_dest,
        take_back_source, //
    }, //
};

/// How many pages or folios are pinned at once: as many as a page holds pointers to.
const BATCH: usize = PAGE_SIZE / core::mem::size_of::<*mut bindings::page>();

/// What of the pages of a [`Pinned`] is ours.
#[derive(Clone, Copy)]
enum Kind {
    /// Pins. They may be `written` to.
    Pinned { written: bool },
    /// References to folios that somebody else has pinned.
    Referred,
}

impl Kind {
    /// Gives back `refs` pins of the pages from `page` on, or what we have of the folio of `page` alone if
    /// `refs` is 1.
    fn give_back(self, page: *mut bindings::page, refs: u32) {
        match self {
            Self::Pinned { written } => unpin(page, refs, written),
            // SAFETY: The callers have the reference, and give it away.
            Self::Referred => unsafe { shim::userdma_folio_put(shim::userdma_page_folio(page)) },
        }
    }
}

/// Memory of a program that is pinned; unpinned on drop, and marked as written to if it may be.
///
/// # Invariants
///
/// Each part of `scatter` has `refs` of what `kind` says that are ours: one a page, or a single one of its folio.
pub(crate) struct Pinned {
    scatter: Scatter,
    smallest: u64,
    kind: Kind,
}

/// An array of `length` pointers that the kernel fills in. Clearing a large one costs more than pinning a
/// huge page, so it is made as large as it must be.
fn array<T>(length: usize) -> Result<KVec<*mut T>> {
    Ok(KVec::with_capacity(length.clamp(1, BATCH), GFP_KERNEL)?)
}

/// Returns the size of the folio that `page` is in, and how many bytes of it are left from the page on. The
/// callers have pinned the page.
fn folio_at(page: *mut bindings::page) -> (usize, usize) {
    let mut size = 0;
    // SAFETY: The page is pinned.
    let rest = unsafe { shim::userdma_folio_at(page, &mut size) };
    (size, rest)
}

impl Pinned {
    fn new(parts: usize, kind: Kind) -> Result<Self> {
        Ok(Self {
            scatter: Scatter::with_capacity(parts)?,
            smallest: u64::MAX,
            kind,
        })
    }

    /// Takes over one pin of the folio that `page` is in: from byte `inside` of the page to the folio's
    /// end, or `most` bytes. Returns how many.
    ///
    /// One is enough for all of the folio: while any of it is pinned it is not freed, moved or split.
    fn push_folio(
        &mut self,
        page: *mut bindings::page,
        inside: usize,
        most: usize,
    ) -> Result<usize> {
        let (size, rest) = folio_at(page);
        let bytes = (rest - inside).min(most);
        self.smallest = self.smallest.min(size as u64);
        // CAST: Below the size of a page.
        if let Err(error) = self.scatter.push(page, inside as u32, bytes as u64, 1) {
            unpin(page, 1, false);
            return Err(error);
        }
        Ok(bytes)
    }

    /// Takes over the pins of `folios`: from byte `inside` of the first on, `most` bytes. Empties
    /// `folios`; returns how many bytes there were.
    fn push_folios(
        &mut self,
        folios: &mut KVec<*mut bindings::folio>,
        mut inside: usize,
        most: u64,
    ) -> Result<u64> {
        let (mut bytes, mut result) = (0, Ok(0));
        for &folio in folios.iter() {
            // SAFETY: We have pinned the folio; `inside` lies in it.
            let page =
                unsafe { shim::userdma_folio_page(folio, (inside >> PAGE_SHIFT) as c_ulong) };
            if result.is_err() || bytes == most {
                unpin(page, 1, false);
                continue;
            }
            // CAST: Lengths fit in both.
            result = self.push_folio(page, inside % PAGE_SIZE, (most - bytes) as usize);
            bytes += result.unwrap_or(0) as u64;
            inside = 0;
        }
        folios.clear();
        result.map(|_| bytes)
    }

    /// Takes over the pins of `pages`, one each: from byte `inside` of the first on, `most` bytes.
    /// Empties `pages`; returns how many bytes there were.
    fn push_pages(
        &mut self,
        pages: &mut KVec<*mut bindings::page>,
        mut inside: usize,
        most: usize,
        measure: bool,
    ) -> Result<usize> {
        let (mut bytes, mut result) = (0, Ok(()));
        let mut rest = pages.iter();
        while let Some(&page) = rest.next() {
            // How many lie behind each other: all of a large folio, mostly.
            let before = rest.len();
            let mut behind = page.wrapping_add(1);
            while rest.as_slice().first() == Some(&behind) {
                rest.next();
                behind = behind.wrapping_add(1);
            }
            let count = before - rest.len() + 1;
            // Nothing is smaller than a page.
            if measure && self.smallest > PAGE_SIZE as u64 {
                self.measure(page, count);
            }
            let part = ((count << PAGE_SHIFT) - inside).min(most - bytes);
            // CAST: Below the size of a page; at most `BATCH`.
            let (start, refs) = (inside as u32, count as u32);
            if result.is_ok() {
                result = match bytes {
                    0 => self.scatter.push_pages(page, start, part as u64, refs),
                    // Else it would have been counted with the pages before.
                    _ => self.scatter.push_apart(page, start, part as u64, refs),
                };
            }
            if result.is_err() {
                unpin(page, refs, false);
            }
            bytes += part;
            inside = 0;
        }
        pages.clear();
        result.map(|()| bytes)
    }

    /// Notes how large the folios of `count` adjacent pages are.
    fn measure(&mut self, page: *mut bindings::page, count: usize) {
        let mut done = 0;
        while done < count {
            let (size, rest) = folio_at(page.wrapping_add(done));
            self.smallest = self.smallest.min(size as u64);
            done += rest >> PAGE_SHIFT;
        }
    }

    /// Returns the size of the smallest page in bytes.
    pub(crate) fn page_size(&self) -> u64 {
        self.smallest
    }

    /// Returns the NUMA node of the first page.
    pub(crate) fn node(&self) -> Option<u32> {
        let part = self.scatter.parts().first()?;
        // SAFETY: The page is pinned.
        u32::try_from(unsafe { shim::userdma_page_nid(part.page) }).ok()
    }

    /// Returns how many pages of the system's size hold `length` bytes at `address`.
    ///
    /// # Errors
    ///
    /// [`EOVERFLOW`] if that wraps.
    pub(crate) fn pages(address: u64, length: u64) -> Result<usize> {
        let end = address.checked_add(length).ok_or(EOVERFLOW)?;
        let last = end
            .checked_next_multiple_of(PAGE_SIZE as u64)
            .ok_or(EFAULT)?;
        Ok(usize::try_from(
            (last >> PAGE_SHIFT) - (address >> PAGE_SHIFT),
        )?)
    }
}

/// Gives back `pins` pins of the pages from `page` on, or of the folio of `page` alone if `pins` is 1.
fn unpin(page: *mut bindings::page, pins: u32, written: bool) {
    // SAFETY: The callers have these pins, and give them away.
    unsafe { bindings::unpin_user_page_range_dirty_lock(page, pins as c_ulong, written) };
}

impl Deref for Pinned {
    type Target = Scatter;

    fn deref(&self) -> &Scatter {
        &self.scatter
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        for part in self.scatter.parts() {
            self.kind.give_back(part.page, part.refs);
        }
    }
}

#[kunit_tests(userdma_pin)]
mod tests {
    use super::*;

    const PAGE: u64 = PAGE_SIZE as u64;

    #[test]
    fn pages_that_hold_a_range() {
        assert_eq!(Pinned::pages(0, 1), Ok(1));
        assert_eq!(Pinned::pages(PAGE - 1, 1), Ok(1));
        assert_eq!(Pinned::pages(PAGE - 1, 2), Ok(2));
        assert_eq!(Pinned::pages(PAGE, PAGE), Ok(1));
        assert_eq!(Pinned::pages(1, 2 * PAGE), Ok(3));
    }

    #[test]
    fn a_range_that_wraps_has_none() {
        assert_eq!(Pinned::pages(u64::MAX, 1), Err(EOVERFLOW));
        assert_eq!(Pinned::pages(1, u64::MAX), Err(EOVERFLOW));
        assert_eq!(Pinned::pages(u64::MAX - PAGE, PAGE), Err(EFAULT));
    }
}

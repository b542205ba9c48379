// SPDX-License-Identifier: GPL-2.0

//! Memory that is scattered over pages: where each part of it is. Owns nothing.

mod runs;

use kernel::{
    alloc::kvec::PushError,
    bindings,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};

pub(super) use self::runs::Run;

use super::shim;

/// A part of memory that is physically contiguous.
pub(super) struct Part {
    /// Where it begins in the memory, in bytes.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) length: u64,
    /// The page with its first byte.
    pub(super) page: *mut bindings::page,
    /// Where its first byte is in that page.
    inside: u32,
    /// How many references or pins of `page` and the pages behind it the owner holds.
    pub(super) refs: u32,
}

impl Part {
    /// Returns the address of its first byte in the kernel's own mapping of all memory.
    fn address(&self) -> *mut u8 {
        // SAFETY: The page is live by the invariants of `Scatter`; there is no high memory on
        // 64-bit machines.
        let address = unsafe { shim::userdma_page_address(self.page) };
        address.cast::<u8>().wrapping_add(self.inside as usize)
    }

    /// Returns its page number `n`.
    pub(super) fn page_at(&self, n: usize) -> *mut bindings::page {
        self.page.wrapping_add(n)
    }

    /// Returns how many pages have a byte of it.
    pub(super) fn pages(&self) -> u64 {
        (u64::from(self.inside) + self.length).div_ceil(PAGE_SIZE as u64)
    }

    /// Returns the page with the byte behind its last one, if that begins a page.
    fn page_behind(&self) -> Option<*mut bindings::page> {
        let end = u64::from(self.inside) + self.length;
        // CAST: A number of pages that exist.
        (end % PAGE_SIZE as u64 == 0).then(|| self.page_at((end >> PAGE_SHIFT) as usize))
    }
}

// `page_behind()` counts in the array of all `struct page`, which has no gaps then.
#[cfg(not(CONFIG_SPARSEMEM_VMEMMAP))]
compile_error!("page arithmetic needs CONFIG_SPARSEMEM_VMEMMAP");

/// Where memory is, in parts.
///
/// # Invariants
///
/// `parts` is sorted by offset, begins at 0, has no gaps and `length` bytes in all; `adjacent` of them lie
/// behind the one before in memory, too. Whoever owns the `Scatter` owns references to all pages named, for
/// as long as it lives.
pub(crate) struct Scatter {
    parts: KVVec<Part>,
    length: u64,
    adjacent: usize,
}

// SAFETY: The pages belong to no thread.
unsafe impl Send for Scatter {}
// SAFETY: Shared references only read.
unsafe impl Sync for Scatter {}

impl Scatter {
    /// Describes no memory; `parts` are expected to come.
    pub(super) fn with_capacity(parts: usize) -> Result<Self> {
        Ok(Self {
            parts: KVVec::with_capacity(parts, GFP_KERNEL | __GFP_NOWARN)?,
            length: 0,
            adjacent: 0,
        })
    }

    /// Makes room for `length` bytes in all, of which the rest is scattered as what is there. Only saves time:
    /// room is made whenever it is needed.
    pub(super) fn expect(&mut self, length: u64) {
        // A program may say that there is more than there is.
        const MOST: u64 = 1 << 16;
        let rest = length.saturating_sub(self.length);
        let parts = (self.parts.len() as u64).checked_mul(rest);
        if let Some(more) = parts.and_then(|parts| parts.checked_div(self.length)) {
            // CAST: At most `MOST`.
            let _ = self
                .parts
                .reserve(more.min(MOST) as usize, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
        }
    }

    /// Returns the bits of where all parts begin in their pages, and of their lengths.
    pub(crate) fn alignment(&self) -> u64 {
        let bits = self
            .parts
            .iter()
            .map(|part| u64::from(part.inside) | part.length);
        bits.fold(0, |all, bits| all | bits)
    }

    /// Appends a part: `length` bytes at byte `inside` of `page`, with `refs` references.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; the references are still the caller's then.
    pub(super) fn push(
        &mut self,
        page: *mut bindings::page,
        inside: u32,
        length: u64,
        refs: u32,
    ) -> Result {
        let behind = self.parts.last().and_then(Part::page_behind);
        self.append(page, inside, length, refs, behind == Some(page))
    }

    /// Appends `length` bytes at byte `inside` of `page`, which lie in `pages` pages with a reference each.
    ///
    /// They become a piece of the last part if they lie behind it and it has one reference a page too.
    ///
    /// # Errors
    ///
    /// As [`Scatter::push`].
    pub(super) fn push_pages(
        &mut self,
        page: *mut bindings::page,
        inside: u32,
        length: u64,
        pages: u32,
    ) -> Result {
        let mut follows = false;
        if let (0, Some(last)) = (inside, self.parts.last_mut()) {
            follows = last.page_behind() == Some(page);
            if follows && last.pages() == u64::from(last.refs) {
                if let Some(refs) = last.refs.checked_add(pages) {
                    // INVARIANT: The part grows at its end, where the memory ends.
                    last.refs = refs;
                    last.length += length;
                    self.length += length;
                    return Ok(());
                }
            }
        }
        self.append(page, inside, length, pages, follows)
    }

    /// Appends a part as [`Scatter::push_pages`], which does not lie behind the last one.
    ///
    /// # Errors
    ///
    /// As [`Scatter::push`].
    #[inline(always)]
    pub(super) fn push_apart(
        &mut self,
        page: *mut bindings::page,
        inside: u32,
        length: u64,
        pages: u32,
    ) -> Result {
        self.append(page, inside, length, pages, false)
    }

    /// Appends a part; `follows` says whether `page` is the one behind the last part.
    #[inline(always)]
    fn append(
        &mut self,
        page: *mut bindings::page,
        inside: u32,
        length: u64,
        refs: u32,
        follows: bool,
    ) -> Result {
        let part = Part {
            offset: self.length,
            length,
            page,
            inside,
            refs,
        };
        // Mostly there is room: `push()` asks for it in a call, which costs more than all the rest.
        if let Err(error) = self.parts.push_within_capacity(part) {
            let PushError(part) = error;
            self.parts.push(part, GFP_KERNEL_ACCOUNT | __GFP_NOWARN)?;
        }
        // INVARIANT: The new part begins where the others ended, in memory too if it is `adjacent`.
        self.length += length;
        self.adjacent += usize::from(follows && inside == 0);
        Ok(())
    }

    /// Returns the size in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// Returns the parts.
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Returns the part that holds byte `offset`.
    pub(super) fn find(&self, offset: u64) -> Option<&Part> {
        let index = self.parts.partition_point(|part| part.offset <= offset);
        let part = self.parts.get(index.checked_sub(1)?)?;
        (offset < self.length).then_some(part)
    }

    /// Returns how many runs there are if none is cut.
    pub(super) fn whole_runs(&self) -> usize {
        self.parts.len() - self.adjacent
    }

    /// Calls `f` with the address and length of each contiguous piece of `length` bytes at
    /// `offset`, as long as it returns `true`.
    ///
    /// # Errors
    ///
    /// [`ERANGE`] if there are fewer; `f` has not been called then.
    pub(super) fn for_each_piece(
        &self,
        offset: u64,
        length: usize,
        mut f: impl FnMut(*mut u8, usize) -> bool,
    ) -> Result {
        if offset
            .checked_add(length as u64)
            .is_none_or(|end| end > self.length)
        {
            return Err(ERANGE);
        }
        let (mut offset, mut rest) = (offset, length);
        while rest > 0 {
            let part = self.find(offset).ok_or(ERANGE)?;
            let inside = offset - part.offset;
            // CAST: At most `rest`, and below the size of memory.
            let bytes = (rest as u64).min(part.length - inside) as usize;
            if !f(part.address().wrapping_add(inside as usize), bytes) {
                break;
            }
            offset += bytes as u64;
            rest -= bytes;
        }
        Ok(())
    }

    /// Copies up to `length` bytes from the start to `iter`; returns how many it took.
    ///
    /// May sleep: touches user memory. Nobody else may use the memory meanwhile, else what is
    /// copied is undefined, not unsound.
    pub(crate) fn copy_to_iter(&self, length: usize, iter: &mut IovIterDest<'_>) -> Result<usize> {
        let mut copied = 0;
        let iter = iter.as_raw();
        self.for_each_piece(0, length, |piece, bytes| {
            // SAFETY: `piece` is valid for `bytes` bytes and `iter` is a valid iterator.
            let done = unsafe { bindings::_copy_to_iter(piece.cast_const().cast(), bytes, iter) };
            copied += done;
            done == bytes
        })?;
        Ok(copied)
    }

    /// Copies up to `length` bytes from `iter` to the start; returns how many it gave.
    ///
    /// May sleep: touches user memory. See [`Scatter::copy_to_iter`].
    pub(crate) fn copy_from_iter(
        &self,
        length: usize,
        iter: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let mut copied = 0;
        let iter = iter.as_raw();
        self.for_each_piece(0, length, |piece, bytes| {
            // SAFETY: `piece` is valid for `bytes` bytes and `iter` is a valid iterator.
            let done = unsafe { bindings::_copy_from_iter(piece.cast(), bytes, iter) };
            copied += done;
            done == bytes
        })?;
        Ok(copied)
    }
}

#[kunit_tests(userdma_scatter)]
mod tests {
    use super::super::folio::Memory;
    use super::*;

    const HUGE: u64 = 2 << 20;
    const PAGE: u64 = PAGE_SIZE as u64;

    /// Memory of two huge pages; the machine has them, or the test says so.
    fn memory() -> Result<Memory> {
        Memory::alloc(2 * HUGE, 9, false, None, || Ok(()))
    }

    #[test]
    fn runs_are_the_memory_in_order() -> Result {
        let memory = memory()?;
        for max in [PAGE, 16 * PAGE, HUGE, 1 << 31] {
            for boundary in [PAGE, 16 * PAGE, 1 << 32] {
                if boundary < max {
                    continue;
                }
                let mut total = 0;
                memory.for_each_run(max, boundary, |run| {
                    assert!(run.length <= max);
                    assert_eq!(run.inside, 0);
                    let part = memory.find(total);
                    let page = part
                        .map(|part| part.page_at(((total - part.offset) >> PAGE_SHIFT) as usize));
                    assert_eq!(Some(run.page), page);
                    total += run.length;
                    true
                });
                assert_eq!(total, 2 * HUGE);
            }
        }
        Ok(())
    }

    #[test]
    fn a_run_ends_at_a_boundary() -> Result {
        let memory = memory()?;
        // A folio is aligned to its size, so every eighth of it ends at a boundary.
        assert_eq!(memory.count_runs(HUGE, HUGE / 8), 16);
        Ok(())
    }

    #[test]
    fn pages_that_lie_behind_each_other_are_one_part() -> Result {
        let memory = memory()?;
        let first = memory.parts().first().ok_or(ENOENT)?;
        // Not owned: the pages are those of `memory`, which lives longer.
        let mut scatter = Scatter::with_capacity(4)?;
        scatter.push_pages(first.page_at(0), 100, PAGE - 100, 1)?;
        scatter.push_pages(first.page_at(1), 0, PAGE, 1)?;
        scatter.push_pages(first.page_at(3), 0, PAGE, 1)?;
        scatter.push_pages(first.page_at(4), 0, 5, 1)?;
        assert_eq!(scatter.parts().len(), 2);
        assert_eq!(scatter.len(), 4 * PAGE - 100 - PAGE + 5);
        let counts = scatter.parts().iter().map(|part| part.refs).sum::<u32>();
        assert_eq!(counts, 4);
        // The cut one ends inside its page: nothing lies behind it.
        scatter.push_pages(first.page_at(5), 0, PAGE, 1)?;
        assert_eq!(scatter.parts().len(), 3);
        Ok(())
    }

    #[test]
    fn a_part_with_one_reference_for_many_pages_stays_alone() -> Result {
        let memory = memory()?;
        let first = memory.parts().first().ok_or(ENOENT)?;
        let mut scatter = Scatter::with_capacity(4)?;
        scatter.push(first.page_at(0), 0, 2 * PAGE, 1)?;
        scatter.push_pages(first.page_at(2), 0, PAGE, 1)?;
        assert_eq!(scatter.parts().len(), 2);
        // One run all the same: the card sees no difference.
        assert_eq!(scatter.count_runs(1 << 31, 1 << 32), 1);
        Ok(())
    }

    #[test]
    fn pieces_end_where_the_memory_ends() -> Result {
        let memory = memory()?;
        let mut seen = 0;
        memory.for_each_piece(HUGE - 7, 14, |_, bytes| {
            seen += bytes;
            true
        })?;
        assert_eq!(seen, 14);
        assert_eq!(
            memory.for_each_piece(2 * HUGE - 7, 8, |_, _| true),
            Err(ERANGE)
        );
        assert_eq!(memory.for_each_piece(u64::MAX, 2, |_, _| true), Err(ERANGE));
        Ok(())
    }
}

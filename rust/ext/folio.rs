// SPDX-License-Identifier: GPL-2.0

//! Memory in folios: large physically contiguous pages that user space can map.

use core::ptr::NonNull;

use kernel::{
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

use super::shim;

/// One reference to a folio.
///
/// # Invariants
///
/// `ptr` is a folio of `1 << order` pages, of which we own a reference.
pub(crate) struct Folio {
    ptr: NonNull<bindings::folio>,
    order: u32,
}

// SAFETY: A folio reference belongs to no thread.
unsafe impl Send for Folio {}
// SAFETY: All methods may be called by several threads at once.
unsafe impl Sync for Folio {}

impl Folio {
    /// Allocates `1 << order` zeroed pages, on `node` and nowhere else if one is named.
    ///
    /// The memory is charged to the caller's memory cgroup. Never wakes the OOM killer.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn alloc(order: u32, node: Option<u32>) -> Result<Self> {
        let nid = node.map_or(Ok(-1), c_int::try_from)?;
        // SAFETY: Any order and node are fine for the shim; a node was checked to exist.
        let ptr = unsafe { shim::userdma_folio_alloc(order, nid, node.is_some()) };
        // INVARIANT: A new folio comes with one reference.
        NonNull::new(ptr)
            .map(|ptr| Self { ptr, order })
            .ok_or(ENOMEM)
    }

    /// Returns the size in bytes.
    pub(crate) fn len(&self) -> usize {
        PAGE_SIZE << self.order
    }

    /// Returns the number of the first page frame.
    fn frame(&self) -> usize {
        // SAFETY: The folio is live.
        unsafe { shim::userdma_folio_pfn(self.ptr.as_ptr()) }
    }

    /// Returns the first page.
    fn first_page(&self) -> *mut bindings::page {
        // SAFETY: The folio is live and has a page 0.
        unsafe { shim::userdma_folio_page(self.ptr.as_ptr(), 0) }
    }

    /// Takes another reference.
    fn get(&self) -> Self {
        // SAFETY: The folio is live.
        unsafe { shim::userdma_folio_get(self.ptr.as_ptr()) };
        // INVARIANT: The reference was just taken.
        Self {
            ptr: self.ptr,
            order: self.order,
        }
    }
}

impl Drop for Folio {
    fn drop(&mut self) {
        // SAFETY: We own a reference.
        unsafe { shim::userdma_folio_put(self.ptr.as_ptr()) };
    }
}

/// A folio and its place in a [`Memory`].
struct Part {
    offset: u64,
    folio: Folio,
}

/// A run of memory made of folios.
///
/// # Invariants
///
/// `parts` is sorted by offset, starts at 0, has no gaps and `length` bytes in all.
pub(crate) struct Memory {
    parts: KVVec<Part>,
    length: u64,
    smallest: u32,
}

impl Memory {
    /// Allocates `length` bytes in folios of `order`.
    ///
    /// With `fallback`, takes folios of lower orders where there are none of that one. `stop` is
    /// asked between folios. May sleep, for as long as zeroing the memory takes.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], and whatever `stop` says.
    pub(crate) fn alloc(
        length: u64,
        order: u32,
        fallback: bool,
        node: Option<u32>,
        stop: impl Fn() -> Result,
    ) -> Result<Self> {
        let mut this = Self {
            parts: KVVec::new(),
            length: 0,
            smallest: order,
        };
        while this.length < length {
            stop()?;
            let rest = length - this.length;
            let fits = |order: u32| (PAGE_SIZE as u64) << order <= rest;
            let mut order = this.smallest;
            while order > 0 && !fits(order) {
                order -= 1;
            }
            let folio = loop {
                match Folio::alloc(order, node) {
                    Ok(folio) => break folio,
                    // Once 2 MiB are gone, ask for 64 KiB, then for single pages: the orders
                    // between gain little and each costs an attempt to compact memory.
                    Err(_) if fallback && order > 0 => order = if order > 4 { 4 } else { 0 },
                    Err(error) => return Err(error),
                }
            };
            this.smallest = this.smallest.min(order);
            let offset = this.length;
            // The memory manager maps a folio by a huge entry only if it ends inside the file, which
            // it sees by the folio's index: the last user has left something there.
            // CAST: Memory has fewer pages than an address has values.
            let index = (offset >> PAGE_SHIFT) as c_ulong;
            // SAFETY: The folio is live, and nobody else knows it yet.
            unsafe { shim::userdma_folio_set_index(folio.ptr.as_ptr(), index) };
            let bytes = folio.len() as u64;
            this.parts
                .push(Part { offset, folio }, GFP_KERNEL | __GFP_NOWARN)?;
            // INVARIANT: The new part begins where the others ended.
            this.length += bytes;
        }
        Ok(this)
    }

    /// Returns the size in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// Returns the size of the smallest folio in bytes.
    pub(crate) fn page_size(&self) -> u64 {
        (PAGE_SIZE as u64) << self.smallest
    }

    /// Returns the NUMA node of the first folio.
    pub(crate) fn node(&self) -> Option<u32> {
        let part = self.parts.first()?;
        // SAFETY: The folio is live.
        u32::try_from(unsafe { shim::userdma_folio_nid(part.folio.ptr.as_ptr()) }).ok()
    }

    /// Returns the first page and the length of each run of folios that are physically adjacent
    /// and together at most `max` bytes long.
    pub(super) fn runs(
        &self,
        max: usize,
    ) -> impl Iterator<Item = (*mut bindings::page, usize)> + '_ {
        let mut parts = self.parts.iter().peekable();
        core::iter::from_fn(move || {
            let first = &parts.next()?.folio;
            let mut length = first.len();
            while let Some(next) = parts.peek() {
                let behind = first.frame() + (length >> PAGE_SHIFT);
                if next.folio.frame() != behind || length + next.folio.len() > max {
                    break;
                }
                length += next.folio.len();
                parts.next();
            }
            Some((first.first_page(), length))
        })
    }

    fn find(&self, offset: u64) -> Option<&Part> {
        let index = self.parts.partition_point(|part| part.offset <= offset);
        let part = self.parts.get(index.checked_sub(1)?)?;
        (offset < self.length).then_some(part)
    }

    /// Calls `f` with the address and length of each contiguous piece of `length` bytes at
    /// `offset`, as long as it returns `true`.
    ///
    /// # Errors
    ///
    /// [`ERANGE`] if there are fewer; `f` has not been called then.
    pub(super) fn for_each_part(
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
            // CAST: Below the length of a folio.
            let inside = (offset - part.offset) as usize;
            let bytes = rest.min(part.folio.len() - inside);
            // SAFETY: The folio is live; 64-bit kernels have no high memory.
            let address = unsafe { shim::userdma_folio_address(part.folio.ptr.as_ptr()) };
            if !f(address.cast::<u8>().wrapping_add(inside), bytes) {
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
        self.for_each_part(0, length, |part, bytes| {
            // SAFETY: `part` is valid for `bytes` bytes and `iter` is a valid iterator.
            let part = unsafe { bindings::_copy_to_iter(part.cast_const().cast(), bytes, iter) };
            copied += part;
            part == bytes
        })?;
        Ok(copied)
    }

    /// Copies up to `length` bytes from `iter` to the start; returns how many it gave.
    ///
    /// May sleep: touches user memory. See [`Memory::copy_to_iter`].
    pub(crate) fn copy_from_iter(
        &self,
        length: usize,
        iter: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let mut copied = 0;
        let iter = iter.as_raw();
        self.for_each_part(0, length, |part, bytes| {
            // SAFETY: `part` is valid for `bytes` bytes and `iter` is a valid iterator.
            let part = unsafe { bindings::_copy_from_iter(part.cast(), bytes, iter) };
            copied += part;
            part == bytes
        })?;
        Ok(copied)
    }

    /// Waits until no page fault that began before holds a folio locked. May sleep.
    pub(crate) fn flush_faults(&self) {
        for part in &self.parts {
            let folio = part.folio.ptr.as_ptr();
            // SAFETY: The folio is live.
            unsafe { shim::userdma_folio_lock(folio) };
            // SAFETY: We hold its lock.
            unsafe { shim::userdma_folio_unlock(folio) };
        }
    }

    /// Returns the page that holds byte `offset`, its folio referenced and locked.
    ///
    /// May sleep.
    pub(super) fn lock_page(&self, offset: u64) -> Option<LockedPage> {
        let part = self.find(offset)?;
        let folio = part.folio.get();
        // SAFETY: The folio is live.
        unsafe { shim::userdma_folio_lock(folio.ptr.as_ptr()) };
        let n = (offset - part.offset) >> PAGE_SHIFT;
        // SAFETY: `n` is below the folio's number of pages, since `find()` found it there.
        let page = unsafe { shim::userdma_folio_page(folio.ptr.as_ptr(), n as c_ulong) };
        Some(LockedPage { folio, page })
    }
}

/// A page of a folio that is referenced and locked; unlocked and put on drop.
pub(super) struct LockedPage {
    folio: Folio,
    page: *mut bindings::page,
}

impl LockedPage {
    /// Hands the lock and the reference over to the memory manager.
    pub(super) fn into_raw(self) -> *mut bindings::page {
        let page = self.page;
        core::mem::forget(self);
        page
    }
}

impl Drop for LockedPage {
    fn drop(&mut self) {
        // SAFETY: `lock_page()` took the lock, and `into_raw()` was not called.
        unsafe { shim::userdma_folio_unlock(self.folio.ptr.as_ptr()) };
    }
}

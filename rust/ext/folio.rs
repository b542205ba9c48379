// SPDX-License-Identifier: GPL-2.0

//! Memory in folios: large physically contiguous pages that user space can map.

use core::{
    ops::Deref,
    ptr::NonNull, //
};

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

/// One reference to a folio.
///
/// # Invariants
///
/// `0` is a folio of which we own a reference.
struct Folio(NonNull<bindings::folio>);

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
    fn alloc(order: u32, node: Option<u32>) -> Result<Self> {
        let nid = node.map_or(Ok(-1), c_int::try_from)?;
        // SAFETY: Any order and node are fine for the shim; a node was checked to exist.
        let ptr = unsafe { shim::userdma_folio_alloc(order, nid, node.is_some()) };
        // INVARIANT: A new folio comes with one reference.
        NonNull::new(ptr).map(Self).ok_or(ENOMEM)
    }

    /// Takes over a reference to the folio that `page` is in.
    ///
    /// # Safety
    ///
    /// The caller owns the reference and gives it away.
    unsafe fn from_page(page: *mut bindings::page) -> Self {
        // SAFETY: The page is live, since the caller owns a reference.
        let ptr = unsafe { shim::userdma_page_folio(page) };
        // INVARIANT: As promised.
        // SAFETY: A live page is in a folio.
        Self(unsafe { NonNull::new_unchecked(ptr) })
    }

    /// Returns the first page.
    fn first_page(&self) -> *mut bindings::page {
        // SAFETY: The folio is live and has a page 0.
        unsafe { shim::userdma_folio_page(self.0.as_ptr(), 0) }
    }

    /// Takes another reference.
    fn get(&self) -> Self {
        // SAFETY: The folio is live.
        unsafe { shim::userdma_folio_get(self.0.as_ptr()) };
        // INVARIANT: The reference was just taken.
        Self(self.0)
    }

    /// Returns the folio that `page` is in, without a reference of its own.
    ///
    /// # Safety
    ///
    /// Somebody must own a reference for as long as what this returns is used.
    unsafe fn borrow(page: *mut bindings::page) -> core::mem::ManuallyDrop<Self> {
        // SAFETY: Never dropped, hence the reference is not given away.
        core::mem::ManuallyDrop::new(unsafe { Self::from_page(page) })
    }
}

impl Drop for Folio {
    fn drop(&mut self) {
        // SAFETY: We own a reference.
        unsafe { shim::userdma_folio_put(self.0.as_ptr()) };
    }
}

/// A run of memory made of folios of our own.
///
/// # Invariants
///
/// Each part of `scatter` is a folio of which we own one reference.
pub(crate) struct Memory {
    scatter: Scatter,
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
        // CAST: Memory has fewer folios than an address has values.
        let folios = (length >> (PAGE_SHIFT as u32 + order)) as usize;
        let mut this = Self {
            scatter: Scatter::with_capacity(folios)?,
            smallest: order,
        };
        while this.len() < length {
            stop()?;
            let rest = length - this.len();
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
            // The memory manager maps a folio by a huge entry only if it ends inside the file, which
            // it sees by the folio's index: the last user has left something there.
            // CAST: Memory has fewer pages than an address has values.
            let index = (this.len() >> PAGE_SHIFT) as c_ulong;
            // SAFETY: The folio is live, and nobody else knows it yet.
            unsafe { shim::userdma_folio_set_index(folio.0.as_ptr(), index) };
            let bytes = (PAGE_SIZE as u64) << order;
            this.scatter.push(folio.first_page(), 0, bytes, 1)?;
            // INVARIANT: The reference is the part's now.
            core::mem::forget(folio);
        }
        Ok(this)
    }

    /// Returns the size of the smallest folio in bytes.
    pub(crate) fn page_size(&self) -> u64 {
        (PAGE_SIZE as u64) << self.smallest
    }

    /// Returns the NUMA node of the first folio.
    pub(crate) fn node(&self) -> Option<u32> {
        let part = self.scatter.parts().first()?;
        // SAFETY: We own a reference.
        let folio = unsafe { Folio::borrow(part.page) };
        // SAFETY: The folio is live.
        u32::try_from(unsafe { shim::userdma_folio_nid(folio.0.as_ptr()) }).ok()
    }

    /// Waits until no page fault that began before holds a folio locked. May sleep.
    pub(crate) fn flush_faults(&self) {
        for part in self.scatter.parts() {
            // SAFETY: We own a reference.
            let folio = unsafe { Folio::borrow(part.page) };
            // SAFETY: The folio is live.
            unsafe { shim::userdma_folio_lock(folio.0.as_ptr()) };
            // SAFETY: We hold its lock.
            unsafe { shim::userdma_folio_unlock(folio.0.as_ptr()) };
        }
    }

    /// Returns the page that holds byte `offset`, its folio referenced and locked.
    ///
    /// May sleep.
    pub(super) fn lock_page(&self, offset: u64) -> Option<LockedPage> {
        let part = self.scatter.find(offset)?;
        // CAST: A number of pages that exist: `find()` found the offset in this part.
        let page = part.page_at(((offset - part.offset) >> PAGE_SHIFT) as usize);
        // SAFETY: We own a reference.
        let folio = unsafe { Folio::borrow(page) }.get();
        // SAFETY: The folio is live.
        unsafe { shim::userdma_folio_lock(folio.0.as_ptr()) };
        Some(LockedPage { folio, page })
    }
}

impl Deref for Memory {
    type Target = Scatter;

    fn deref(&self) -> &Scatter {
        &self.scatter
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for part in self.scatter.parts() {
            // SAFETY: By the type invariants the reference is ours, and it is given back once.
            drop(unsafe { Folio::from_page(part.page) });
        }
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
        unsafe { shim::userdma_folio_unlock(self.folio.0.as_ptr()) };
    }
}

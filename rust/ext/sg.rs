// SPDX-License-Identifier: GPL-2.0

//! Streaming DMA mappings of scattered memory.
//!
//! C headers: [`include/linux/scatterlist.h`](srctree/include/linux/scatterlist.h),
//! [`include/linux/dma-mapping.h`](srctree/include/linux/dma-mapping.h)

use kernel::{
    bindings,
    device,
    dma::{
        DataDirection,
        DmaAddress, //
    },
    error::to_result,
    prelude::*,
    sync::aref::ARef,
    types::Opaque, //
};

use super::{
    dma,
    scatter::{
        Run,
        Scatter, //
    }, //
};

/// The most bytes that one entry of a table may have: its length is an `unsigned int`.
const MAX_ENTRY: u64 = 1 << 31;

// What `sg_set_page()` and `sg_next()` do; to call them costs more than all else that is done with an entry.

const CHAIN: c_ulong = bindings::SG_CHAIN as c_ulong;
const END: c_ulong = bindings::SG_END as c_ulong;

/// Fills in an entry.
///
/// # Safety
///
/// `sg` must be an entry of a table, and no link to the next array.
unsafe fn set(sg: *mut bindings::scatterlist, run: Run) {
    // SAFETY: Promised by the caller.
    let sg = unsafe { &mut *sg };
    sg.page_link = sg.page_link & (CHAIN | END) | run.page as c_ulong;
    // CAST: Below the size of a page, and at most `MAX_ENTRY`.
    (sg.offset, sg.length) = (run.inside as c_uint, run.length as c_uint);
}

/// Returns the entry behind `sg`, or null behind the last.
///
/// # Safety
///
/// `sg` must be an entry of a table.
unsafe fn next(sg: *mut bindings::scatterlist) -> *mut bindings::scatterlist {
    // SAFETY: Promised by the caller.
    if unsafe { (*sg).page_link } & END != 0 {
        return core::ptr::null_mut();
    }
    // SAFETY: The last entry of an array is an end, or leads to the next array.
    let behind = unsafe { sg.add(1) };
    // SAFETY: As above.
    let link = unsafe { (*behind).page_link };
    match link & CHAIN {
        0 => behind,
        // CAST: The rest of the word is a pointer to an entry.
        _ => (link & !(CHAIN | END)) as *mut bindings::scatterlist,
    }
}

/// A scatter-gather table that is not mapped yet; freed on drop.
struct Table(Pin<KBox<Opaque<bindings::sg_table>>>);

impl Table {
    fn new(entries: u32) -> Result<Self> {
        let table = KBox::pin_init(Opaque::<bindings::sg_table>::zeroed(), GFP_KERNEL)?;
        let this = Self(table);
        // The number of entries depends on what a program asked for: it is charged, and may fail.
        const GFP: bindings::gfp_t = bindings::GFP_KERNEL_ACCOUNT | bindings::__GFP_NOWARN;
        // SAFETY: The table is valid. On error it is left empty, which `drop()` may free.
        to_result(unsafe { bindings::sg_alloc_table(this.0.get(), entries, GFP) })?;
        Ok(this)
    }
}

impl Table {
    /// Makes a table of the runs of `memory`. `None` if there are more than `entries`.
    fn fill(memory: &Scatter, entries: usize, max: u64, boundary: u64) -> Result<Option<Self>> {
        let table = Self::new(u32::try_from(entries)?)?;
        // SAFETY: The table has `entries` entries.
        let mut sg = unsafe { (*table.0.get()).sgl };
        let all = memory.for_each_run(max, boundary, |run| {
            if sg.is_null() {
                return false;
            }
            // SAFETY: `sg` is an entry of the table.
            unsafe { set(sg, run) };
            // SAFETY: As above; null behind the last.
            sg = unsafe { next(sg) };
            true
        });
        Ok(all.then_some(table))
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: The table was set up by `sg_alloc_table()`, or is all zeroes.
        unsafe { bindings::sg_free_table(self.0.get()) };
    }
}

/// Who keeps what the CPU and the device see in step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyncBy {
    /// Making and undoing the mapping, for all of it.
    Mapping,
    /// The owner, for what is moved: making the mapping costs nothing for the rest.
    Owner,
}

/// A streaming DMA mapping of a [`Scatter`]; undone on drop.
///
/// # Invariants
///
/// `table` is mapped for `dev`. The owner drops this while `dev` is bound, keeps the memory until
/// then, and makes sure that the device does not use the mapping any more.
pub(crate) struct Mapping {
    table: Table,
    dev: ARef<device::Device>,
    direction: DataDirection,
    attrs: c_ulong,
}

// SAFETY: A mapping belongs to no thread.
unsafe impl Send for Mapping {}
// SAFETY: Shared references only read.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps all of `memory` for `dev`.
    ///
    /// No segment is longer than `max_segment` or crosses a multiple of `boundary`, which are powers of
    /// two and at least a page. May sleep.
    ///
    /// # Safety
    ///
    /// The mapping must be dropped before `dev` is unbound and before `memory` is freed, and not
    /// before the device has stopped using it.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], or [`EIO`] if the device cannot reach the memory.
    pub(crate) unsafe fn new(
        dev: &device::Device<device::Bound>,
        memory: &Scatter,
        direction: DataDirection,
        sync: SyncBy,
        max_segment: u64,
        boundary: u64,
    ) -> Result<Self> {
        let mut attrs = bindings::DMA_ATTR_NO_WARN;
        if sync == SyncBy::Owner {
            // A program may name the same memory twice, which DMA_API_DEBUG would warn of.
            attrs |=
                bindings::DMA_ATTR_SKIP_CPU_SYNC | bindings::DMA_ATTR_DEBUGGING_IGNORE_CACHELINES;
        }
        let attrs = attrs as c_ulong;
        let max = max_segment.min(MAX_ENTRY);
        // Counting costs as much as filling in, and hardly ever tells more.
        let table = match Table::fill(memory, memory.whole_runs(), max, boundary)? {
            Some(table) => table,
            None => {
                let exact = memory.count_runs(max, boundary);
                Table::fill(memory, exact, max, boundary)?.ok_or(EIO)?
            }
        };
        // SAFETY: The device is bound and the table is filled.
        to_result(unsafe {
            bindings::dma_map_sgtable(dma::raw(dev), table.0.get(), direction.into(), attrs)
        })?;
        // INVARIANT: Just mapped; the rest is promised by the caller.
        let dev: &device::Device = dev;
        Ok(Self {
            table,
            dev: dev.into(),
            direction,
            attrs,
        })
    }

    /// Returns how many segments there are.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: The table is mapped.
        unsafe { (*self.table.0.get()).nents as usize }
    }

    /// Calls `f` with the bus address and the length of each segment.
    pub(crate) fn for_each_segment(&self, mut f: impl FnMut(DmaAddress, u64) -> Result) -> Result {
        // SAFETY: The table is mapped: its first `nents` entries have a bus address.
        let (mut sg, count) = unsafe { ((*self.table.0.get()).sgl, (*self.table.0.get()).nents) };
        for _ in 0..count {
            // SAFETY: `sg` is one of these entries.
            let (bus, length) = unsafe { (bindings::sg_dma_address(sg), bindings::sg_dma_len(sg)) };
            f(bus, u64::from(length))?;
            // SAFETY: As above.
            sg = unsafe { next(sg) };
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let dev: &device::Device = &self.dev;
        // SAFETY: By the type invariants the device is bound and the table is mapped for it.
        unsafe {
            bindings::dma_unmap_sgtable(
                core::ptr::from_ref(dev).cast_mut().cast(),
                self.table.0.get(),
                self.direction.into(),
                self.attrs,
            )
        };
    }
}

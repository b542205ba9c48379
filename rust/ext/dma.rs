// SPDX-License-Identifier: GPL-2.0

//! What the DMA API can tell about a device, and keeping CPU and device in step.
//!
//! C header: [`include/linux/dma-mapping.h`](srctree/include/linux/dma-mapping.h)

use kernel::{
    bindings,
    device,
    dma::{
        Coherent,
        DataDirection,
        DmaAddress, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};

use super::{
    scatter::Scatter,
    shim, //
};

pub(super) fn raw(dev: &device::Device<device::Bound>) -> *mut bindings::device {
    // `Device` is a transparent wrapper of `struct device`.
    core::ptr::from_ref(dev).cast_mut().cast()
}

/// Returns whether an IOMMU translates what the device addresses.
pub(crate) fn translated(dev: &device::Device<device::Bound>) -> bool {
    // SAFETY: The device is valid.
    unsafe { shim::userdma_use_dma_iommu(raw(dev)) }
}

/// Returns whether some memory lies beyond what the device can address.
pub(crate) fn limited(dev: &device::Device<device::Bound>) -> bool {
    // SAFETY: The device is valid and its masks were set in probe.
    unsafe { bindings::dma_addressing_limited(raw(dev)) }
}

/// Returns the highest address that the device must form to reach all memory.
pub(crate) fn required_mask(dev: &device::Device<device::Bound>) -> u64 {
    // SAFETY: The device is valid.
    unsafe { bindings::dma_get_required_mask(raw(dev)) }
}

/// Returns the most bytes that one mapping may have.
pub(crate) fn max_mapping(dev: &device::Device<device::Bound>) -> usize {
    // SAFETY: The device is valid.
    unsafe { bindings::dma_max_mapping_size(raw(dev)) }
}

/// Returns whether coherent memory of the device can be mapped as ordinary memory is: the device sees
/// what the CPU caches, and memory is not encrypted.
pub(crate) fn maps_as_memory(dev: &device::Device<device::Bound>) -> bool {
    // SAFETY: The device is valid.
    unsafe { shim::userdma_dev_is_coherent(raw(dev)) }
}

/// Lets no segment of the device cross a multiple of `boundary`, a power of two.
pub(crate) fn set_boundary(dev: &device::Device<device::Bound>, boundary: u64) {
    // CAST: Bus addresses have as many bits as an `unsigned long` on 64-bit machines.
    // SAFETY: The device is bound, hence valid; only its parameters change.
    unsafe { shim::userdma_set_seg_boundary(raw(dev), (boundary - 1) as c_ulong) };
}

/// Lets the device see what the CPU wrote to `length` mapped bytes at `bus`.
///
/// May be called in any context. `bus` must lie in a live streaming mapping; the DMA API ignores
/// or reports any other address, it does not touch memory for it that was not mapped.
pub(crate) fn sync_for_device(
    dev: &device::Device<device::Bound>,
    bus: DmaAddress,
    length: usize,
    direction: DataDirection,
) {
    // SAFETY: The device is bound; see above for `bus`.
    unsafe { shim::userdma_dma_sync_for_device(raw(dev), bus, length, direction as c_int) };
}

/// Lets the CPU see what the device wrote to `length` mapped bytes at `bus`.
///
/// May be called in any context; `bus` as for [`sync_for_device`].
pub(crate) fn sync_for_cpu(
    dev: &device::Device<device::Bound>,
    bus: DmaAddress,
    length: usize,
    direction: DataDirection,
) {
    // SAFETY: The device is bound; see above for `bus`.
    unsafe { shim::userdma_dma_sync_for_cpu(raw(dev), bus, length, direction as c_int) };
}

/// Copies `length` bytes at `offset` of `memory` to the start of `bounce`.
///
/// # Errors
///
/// [`ERANGE`] if either is shorter.
pub(crate) fn copy_out(
    memory: &Scatter,
    offset: u64,
    length: usize,
    bounce: &Coherent<[u8]>,
) -> Result {
    if length > bounce.size() {
        return Err(ERANGE);
    }
    let mut to: *mut u8 = bounce.as_mut_ptr().cast();
    memory.for_each_piece(offset, length, |piece, bytes| {
        // SAFETY: `piece` is valid for `bytes` bytes, which together are `length`, and so is `to`
        // by the check above. Both may be written by others at the same time (a program, the
        // card): no reference to either exists, and any value of a byte is valid.
        unsafe { core::ptr::copy_nonoverlapping(piece.cast_const(), to, bytes) };
        // SAFETY: In bounds or one past the end, as above.
        to = unsafe { to.add(bytes) };
        true
    })
}

/// Copies `length` bytes from the start of `bounce` to `offset` of `memory`.
///
/// # Errors
///
/// [`ERANGE`] if either is shorter.
pub(crate) fn copy_in(
    memory: &Scatter,
    offset: u64,
    length: usize,
    bounce: &Coherent<[u8]>,
) -> Result {
    if length > bounce.size() {
        return Err(ERANGE);
    }
    let mut from: *const u8 = bounce.as_ptr().cast();
    memory.for_each_piece(offset, length, |piece, bytes| {
        // SAFETY: As in `copy_out()`, the other way round.
        unsafe { core::ptr::copy_nonoverlapping(from, piece, bytes) };
        // SAFETY: In bounds or one past the end, as above.
        from = unsafe { from.add(bytes) };
        true
    })
}

/// Writes a pattern to the first page of each folio of `memory`: each byte is `seed` plus its offset.
pub(crate) fn fill_folios(memory: &Scatter, seed: u8) -> Result {
    memory.for_each_piece(0, usize::try_from(memory.len())?, |piece, bytes| {
        for offset in 0..bytes.min(PAGE_SIZE) {
            // CAST: The pattern repeats after 256 bytes.
            // SAFETY: In bounds.
            unsafe { piece.add(offset).write(seed.wrapping_add(offset as u8)) };
        }
        true
    })
}

/// Returns whether the first `length` bytes of `memory` hold what [`fill_folios`] wrote with `seed`.
pub(crate) fn filled(memory: &Coherent<[u8]>, seed: u8, length: usize) -> bool {
    let start: *const u8 = memory.as_ptr().cast();
    length <= memory.size()
        && (0..length).all(|offset| {
            // SAFETY: In bounds. Volatile, because the device may write to it.
            let byte = unsafe { start.add(offset).read_volatile() };
            // CAST: As in `fill_folios()`.
            byte == seed.wrapping_add(offset as u8)
        })
}

/// The page frames of a coherent allocation.
#[derive(Clone, Copy)]
pub(crate) struct Frames {
    address: usize,
    length: usize,
}

impl Frames {
    /// Describes `memory`, which must outlive every use of what [`Frames::get`] returns.
    pub(crate) fn of(memory: &Coherent<[u8]>) -> Self {
        Self {
            address: memory.as_ptr().cast::<u8>() as usize,
            length: memory.size(),
        }
    }

    /// Returns the number of the frame that holds byte `offset`, if there is one.
    pub(crate) fn get(&self, offset: usize) -> Option<usize> {
        if offset >= self.length {
            return None;
        }
        let address = (self.address + offset) as *const c_void;
        // SAFETY: Only looks at the address.
        let mapped = unsafe { bindings::is_vmalloc_addr(address) };
        Some(if mapped {
            // SAFETY: The address lies in a live mapping of the vmalloc area.
            unsafe { bindings::vmalloc_to_pfn(address) }
        } else {
            // SAFETY: The address lies in the direct map.
            unsafe { shim::userdma_virt_to_pfn(address) }
        })
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Memory that CPU and card share, as 64-bit words: rings of descriptors and completions.
//!
//! C header: [`include/linux/dma-mapping.h`](srctree/include/linux/dma-mapping.h)

use kernel::{
    device,
    dma::{
        attrs::DMA_ATTR_NO_WARN,
        Coherent, //
    },
    prelude::*, //
};

/// Coherent memory, zeroed at first. All numbers are little-endian for the card.
pub(crate) struct Words(Coherent<[u64]>);

// SAFETY: Coherent memory belongs to no thread.
unsafe impl Send for Words {}

impl Words {
    /// Allocates `count` words. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(dev: &device::Device<device::Bound>, count: usize) -> Result<Self> {
        Coherent::<u64>::zeroed_slice_with_attrs(dev, count, GFP_KERNEL, DMA_ATTR_NO_WARN).map(Self)
    }

    /// Returns where the card finds word `index`.
    pub(crate) fn bus(&self, index: usize) -> u64 {
        self.0.dma_address() + (index * size_of::<u64>()) as u64
    }

    fn at(&self, index: usize) -> Option<*mut u64> {
        if index >= self.0.size() / size_of::<u64>() {
            return None;
        }
        // SAFETY: In bounds.
        Some(unsafe { self.0.as_mut_ptr().cast::<u64>().add(index) })
    }

    /// Writes a word; nothing outside the memory.
    ///
    /// A write to a register of the card is ordered behind it.
    pub(crate) fn write(&mut self, index: usize, value: u64) {
        if let Some(word) = self.at(index) {
            // SAFETY: Valid and aligned. Volatile, because the card may read it at any time.
            unsafe { word.write_volatile(value.to_le()) };
        }
    }

    /// Writes words behind each other; none if they do not all lie in the memory. Else as [`Words::write`].
    pub(crate) fn write_all<const N: usize>(&mut self, index: usize, values: [u64; N]) {
        let last = index.checked_add(N).and_then(|end| end.checked_sub(1));
        if last.and_then(|last| self.at(last)).is_none() {
            return;
        }
        if let Some(first) = self.at(index) {
            for (at, value) in values.into_iter().enumerate() {
                // SAFETY: In bounds, for the last is, and aligned. Volatile, because the card may read it at any time.
                unsafe { first.add(at).write_volatile(value.to_le()) };
            }
        }
    }

    /// Reads a word; 0 outside the memory.
    ///
    /// Whoever reads others because of what this one says needs a barrier between.
    pub(crate) fn read(&self, index: usize) -> u64 {
        self.at(index).map_or(0, |word| {
            // SAFETY: Valid and aligned. Volatile, because the card may write it at any time.
            u64::from_le(unsafe { word.read_volatile() })
        })
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Positions in a ring that two sides walk around, each at its own pace.
//!
//! The entries that one side has written are told from older ones by a bit in them, the phase: 1 in the
//! first lap, 0 in the second, and so on. So neither side needs to read how far the other is.

/// A side's position: how many entries it has passed, modulo 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lap {
    count: u32,
    bits: u32,
}

impl Lap {
    /// The beginning of a ring of 2^`bits` entries; at most 2^31.
    pub(crate) const fn new(bits: u32) -> Self {
        Self { count: 0, bits }
    }

    /// Returns how many entries were passed.
    pub(crate) fn count(self) -> u32 {
        self.count
    }

    /// Returns the index of the entry that comes next.
    pub(crate) fn slot(self) -> usize {
        // CAST: `u32` fits.
        (self.count & ((1 << self.bits) - 1)) as usize
    }

    /// Returns the phase of the entry that comes next.
    pub(crate) fn phase(self) -> bool {
        (self.count >> self.bits) & 1 == 0
    }

    /// Passes one entry.
    pub(crate) fn advance(&mut self) {
        self.count = self.count.wrapping_add(1);
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where the registers are, and what is in them.

/// Channels of the card.
pub(crate) const CHANNELS: usize = 4;
/// The first channel with a digitiser.
pub(crate) const FIRST_DIGITISER: usize = 2;
/// Interrupts.
pub(crate) const VECTORS: u8 = 8;
/// Bytes of the card's memory, unless it is told otherwise.
pub(crate) const MEMORY: u32 = 4 << 20;
/// The base-2 logarithm of the most entries that a ring may have.
pub(crate) const MOST_ENTRIES: u32 = 12;
/// What the address of a ring is a multiple of.
pub(crate) const RING_ALIGNMENT: u32 = 4096;
/// Bytes of BAR 0.
pub(crate) const BAR: u64 = 32 << 10;

/// The registers of the card.
pub(crate) mod card {
    pub(crate) const ID: u64 = 0x00;
    pub(crate) const ID_VALUE: u32 = 0x11e9_0001;
    pub(crate) const LIVENESS: u64 = 0x04;
    pub(crate) const SHAPE: u64 = 0x08;
    pub(crate) const MEMORY: u64 = 0x0c;
    pub(crate) const CONTROL: u64 = 0x10;
    pub(crate) const CONTROL_RESET: u32 = 1;
    pub(crate) const VIOLATIONS: u64 = 0x14;
    pub(crate) const TIME_LOW: u64 = 0x18;
    pub(crate) const TIME_HIGH: u64 = 0x1c;
    pub(crate) const RAISE: u64 = 0x20;
}

/// Those of a channel, from its first on.
pub(crate) mod channel {
    pub(crate) const CONTROL: u64 = 0x00;
    pub(crate) const CONTROL_RUN: u32 = 1 << 0;
    pub(crate) const CONTROL_RESET: u32 = 1 << 1;
    pub(crate) const STATUS: u64 = 0x04;
    pub(crate) const STATUS_BUSY: u32 = 1 << 0;
    pub(crate) const STATUS_HALTED: u32 = 1 << 1;
    pub(crate) const STATUS_REASON: u32 = 8;
    pub(crate) const RING_LOW: u64 = 0x08;
    pub(crate) const RING_HIGH: u64 = 0x0c;
    pub(crate) const RING_SIZE: u64 = 0x10;
    pub(crate) const DONE_LOW: u64 = 0x14;
    pub(crate) const DONE_HIGH: u64 = 0x18;
    pub(crate) const DONE_SIZE: u64 = 0x1c;
    pub(crate) const DOORBELL: u64 = 0x20;
    pub(crate) const TAKEN: u64 = 0x24;
    pub(crate) const VECTOR: u64 = 0x28;
    pub(crate) const MODERATE_COUNT: u64 = 0x2c;
    pub(crate) const MODERATE_TIME: u64 = 0x30;
    pub(crate) const RAISED: u64 = 0x34;
}

/// Those of a digitiser, from its channel's first on.
pub(crate) mod digitiser {
    pub(crate) const ACQUIRE: u64 = 0x100;
    pub(crate) const ACQUIRE_ENABLE: u32 = 1 << 0;
    pub(crate) const ACQUIRE_SOURCE: u32 = 1;
    pub(crate) const ACQUIRE_TRIGGERED: u32 = 1 << 4;
    pub(crate) const ACQUIRE_FORCE: u32 = 1 << 5;
    pub(crate) const PERIOD: u64 = 0x104;
    pub(crate) const LEVEL: u64 = 0x108;
    pub(crate) const DROPPED_LOW: u64 = 0x10c;
    pub(crate) const DROPPED_HIGH: u64 = 0x110;
    pub(crate) const SINE_PERIOD: u64 = 0x114;
}

/// SHAPE.
pub(crate) const fn shape() -> u32 {
    CHANNELS as u32
        | ((VECTORS as u32) << 8)
        | (MOST_ENTRIES << 16)
        | ((FIRST_DIGITISER as u32) << 24)
}

/// Whose register is at an offset of the BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The card's own.
    Card,
    /// That of a channel, and the offset from its first on.
    Channel(usize, u64),
    /// Nobody's.
    Nobody,
}

/// Says whose register is at an offset of the BAR.
pub(crate) fn owner(offset: u64) -> Owner {
    match (offset >> 12, offset & 0xfff) {
        (0, _) => Owner::Card,
        // CAST: it is one of four.
        (page, rest) if page <= CHANNELS as u64 => Owner::Channel(page as usize - 1, rest),
        _ => Owner::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_register_has_an_owner() {
        assert_eq!(owner(0xffc), Owner::Card);
        assert_eq!(owner(0x1000), Owner::Channel(0, 0));
        assert_eq!(owner(0x4114), Owner::Channel(3, 0x114));
        assert_eq!(owner(0x5000), Owner::Nobody);
    }

    #[test]
    fn the_shape_is_that_of_the_page() {
        assert_eq!(shape(), 0x020c_0804);
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The registers, as the data sheet has them.

use kernel::io::register;

register! {
    /// Identification.
    pub(super) ID(u32) @ 0x000 {
        31:0 value;
    }

    /// Answers what is written to it, inverted.
    pub(super) LIVENESS(u32) @ 0x004 {
        31:0 value;
    }

    /// Size of its memory.
    pub(super) MEMORY(u32) @ 0x00c {
        31:0 bytes;
    }

    /// The whole card.
    pub(super) CARD_CONTROL(u32) @ 0x010 {
        /// Stops everything.
        0:0 reset => bool;
    }

    /// A channel, as all that follow.
    pub(super) CONTROL(u32)[4, stride = 0x1000] @ 0x1000 {
        /// Stops at once and forgets.
        1:1 reset => bool;
        /// Works on what it is given.
        0:0 run => bool;
    }

    /// What the channel is doing.
    pub(super) STATUS(u32)[4, stride = 0x1000] @ 0x1004 {
        /// It is at work, or will be.
        0:0 busy => bool;
    }

    /// Where its descriptors are.
    pub(super) RING_LOW(u32)[4, stride = 0x1000] @ 0x1008 {
        31:0 address;
    }

    /// The upper half.
    pub(super) RING_HIGH(u32)[4, stride = 0x1000] @ 0x100c {
        31:0 address;
    }

    /// How many they are.
    pub(super) RING_SIZE(u32)[4, stride = 0x1000] @ 0x1010 {
        31:0 log2;
    }

    /// Where its completions are.
    pub(super) DONE_LOW(u32)[4, stride = 0x1000] @ 0x1014 {
        31:0 address;
    }

    /// The upper half.
    pub(super) DONE_HIGH(u32)[4, stride = 0x1000] @ 0x1018 {
        31:0 address;
    }

    /// How many they are.
    pub(super) DONE_SIZE(u32)[4, stride = 0x1000] @ 0x101c {
        31:0 log2;
    }

    /// How many descriptors it was given since reset.
    pub(super) DOORBELL(u32)[4, stride = 0x1000] @ 0x1020 {
        31:0 count;
    }

    /// Its interrupt.
    pub(super) VECTOR(u32)[4, stride = 0x1000] @ 0x1028 {
        31:0 number;
    }

    /// An interrupt after so many quiet completions,
    pub(super) MODERATE_COUNT(u32)[4, stride = 0x1000] @ 0x102c {
        31:0 completions;
    }

    /// or so long after the first.
    pub(super) MODERATE_TIME(u32)[4, stride = 0x1000] @ 0x1030 {
        31:0 microseconds;
    }
}

/// The card, and the version of its specification.
pub(super) const IDENTITY: u32 = 0x11e9_0001;

/// Registers of four channels behind those of the card.
pub(super) const END: usize = 0x5000;

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The arithmetic of rings, and what is in their entries.

/// Bytes of an entry, in either ring.
pub(crate) const ENTRY: u64 = 32;

const PHASE: u16 = 1 << 15;
const MORE: u16 = 1 << 2;
const QUIET: u16 = 1 << 3;
const OPERATION: u16 = 0b11;
/// All that a descriptor may have in its FLAGS.
const KNOWN: u16 = PHASE | QUIET | MORE | OPERATION;
const GAP: u16 = 1 << 0;

/// A ring of the host's memory. Entries are counted from RESET, modulo 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ring {
    pub(crate) address: u64,
    /// The base-2 logarithm of the number of entries; 0 is no ring.
    pub(crate) size: u32,
}

impl Ring {
    /// Whether there is one.
    pub(crate) fn is_set(self) -> bool {
        self.address != 0 && self.size != 0
    }

    pub(crate) fn entries(self) -> u32 {
        1 << self.size
    }

    /// The bus address of an entry.
    pub(crate) fn entry(self, count: u32) -> u64 {
        let place = u64::from(count & (self.entries() - 1));
        self.address.wrapping_add(place * ENTRY)
    }

    /// The PHASE of an entry: true in the first pass, false in the second, and so on.
    pub(crate) fn phase(self, count: u32) -> bool {
        (count >> self.size) & 1 == 0
    }
}

/// What a doorbell that is refused would have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadDoorbell {
    /// Given more than the ring has entries: how many.
    TooMany(u32),
    /// Taken back what was given.
    Backwards,
}

/// How many descriptors a doorbell adds. `given` is what DOORBELL was, `ended` the
/// descriptors whose chains have ended: only their entries are free.
pub(crate) fn doorbell(given: u32, new: u32, ended: u32, ring: Ring) -> Result<u32, BadDoorbell> {
    let more = new.wrapping_sub(given);
    let outstanding = new.wrapping_sub(ended);
    if more > u32::MAX / 2 {
        Err(BadDoorbell::Backwards)
    } else if outstanding > ring.entries() {
        Err(BadDoorbell::TooMany(outstanding))
    } else {
        Ok(more)
    }
}

/// What a descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    HostToCard,
    CardToHost,
    HostToHost,
    Samples,
}

/// A descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) address: u64,
    pub(crate) target: u64,
    pub(crate) length: u32,
    pub(crate) flags: u16,
    /// What has to be 0.
    pub(crate) reserved: u16,
    pub(crate) cookie: u64,
}

impl Descriptor {
    /// What the four words of an entry say.
    pub(crate) fn from_words([address, target, third, cookie]: [u64; 4]) -> Self {
        // CAST: parts of the word, one after another.
        Self {
            address,
            target,
            length: third as u32,
            flags: (third >> 32) as u16,
            reserved: (third >> 48) as u16,
            cookie,
        }
    }

    pub(crate) fn operation(&self) -> Operation {
        match self.flags & OPERATION {
            0 => Operation::HostToCard,
            1 => Operation::CardToHost,
            2 => Operation::HostToHost,
            _ => Operation::Samples,
        }
    }

    pub(crate) fn has_more(&self) -> bool {
        self.flags & MORE != 0
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.flags & QUIET != 0
    }

    pub(crate) fn phase(&self) -> bool {
        self.flags & PHASE != 0
    }

    pub(crate) fn has_reserved_bits(&self) -> bool {
        self.flags & !KNOWN != 0 || self.reserved != 0
    }
}

/// How a chain ended, or why a channel halted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok = 0,
    Address = 1,
    Range = 2,
    Operation = 3,
    Stale = 4,
    Failed = 5,
    Master = 6,
}

/// A completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    pub(crate) cookie: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) bytes: u64,
    pub(crate) status: Status,
    pub(crate) gap: bool,
}

impl Completion {
    /// All but the last word, as bytes.
    pub(crate) fn head(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.cookie.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.start.to_le_bytes());
        bytes[16..].copy_from_slice(&self.end.to_le_bytes());
        bytes
    }

    /// The last word, which is written last.
    pub(crate) fn tail(&self, phase: bool) -> u64 {
        let gap = if self.gap { GAP } else { 0 };
        let phase = if phase { PHASE } else { 0 };
        let bytes = self.bytes & 0xffff_ffff;
        bytes | ((self.status as u64) << 32) | (u64::from(gap | phase) << 48)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring(size: u32) -> Ring {
        Ring {
            address: 0x10000,
            size,
        }
    }

    #[test]
    fn phases_change_with_each_pass_and_over_the_end_of_the_count() {
        let ring = ring(2);
        let phases: Vec<bool> = (0..12).map(|count| ring.phase(count)).collect();
        assert_eq!(phases, [[true; 4], [false; 4], [true; 4]].concat());
        assert_eq!(ring.entry(5), 0x10000 + ENTRY);
        // The number of passes is even.
        assert!(!ring.phase(u32::MAX));
        assert!(ring.phase(u32::MAX.wrapping_add(1)));
        assert!(!Ring::default().is_set());
    }

    #[test]
    fn a_doorbell_gives_no_more_than_the_ring_has() {
        let ring = ring(3);
        assert_eq!(doorbell(0, 8, 0, ring), Ok(8));
        assert_eq!(doorbell(0, 9, 0, ring), Err(BadDoorbell::TooMany(9)));
        assert_eq!(doorbell(8, 9, 1, ring), Ok(1));
        assert_eq!(doorbell(8, 9, 0, ring), Err(BadDoorbell::TooMany(9)));
        assert_eq!(doorbell(8, 7, 8, ring), Err(BadDoorbell::Backwards));
        assert_eq!(doorbell(8, 8, 4, ring), Ok(0));
        assert_eq!(doorbell(u32::MAX - 1, 3, u32::MAX - 1, ring), Ok(5));
    }

    #[test]
    fn words_are_those_of_the_page() {
        let third = 0x0000_8005_0000_1000;
        let descriptor = Descriptor::from_words([1, 2, third, 4]);
        assert_eq!(
            descriptor,
            Descriptor {
                address: 1,
                target: 2,
                length: 0x1000,
                flags: 0x8005,
                reserved: 0,
                cookie: 4,
            }
        );
        assert_eq!(descriptor.operation(), Operation::CardToHost);
        assert!(descriptor.has_more() && descriptor.phase() && !descriptor.has_reserved_bits());
        for bit in [1 << 36, 1 << 46, 1 << 48, 1 << 63] {
            let descriptor = Descriptor::from_words([0, 0, third | bit, 0]);
            assert!(descriptor.has_reserved_bits(), "{bit:#x}");
        }
        let completion = Completion {
            cookie: 0x0807_0605_0403_0201,
            start: 0x10,
            end: 0x20,
            bytes: 0x1_2345_6789,
            status: Status::Stale,
            gap: true,
        };
        assert_eq!(completion.tail(true), 0x8001_0004_2345_6789);
        let [first, .., last] = completion.head();
        assert_eq!((first, last), (1, 0));
        assert_eq!(completion.head()[16], 0x20);
    }

    proptest! {
        /// An entry of one pass is told from that of the pass before.
        #[test]
        fn neighbouring_passes_differ(count: u32, size in 1..=12_u32) {
            let ring = ring(size);
            let next = count.wrapping_add(ring.entries());
            prop_assert_eq!(ring.entry(count), ring.entry(next));
            prop_assert_ne!(ring.phase(count), ring.phase(next));
        }

        #[test]
        fn a_doorbell_that_is_taken_leaves_no_more_than_the_ring_outstanding(
            ended: u32, outstanding in 0..=4096_u32, new: u32, size in 1..=12_u32
        ) {
            let ring = ring(size);
            let given = ended.wrapping_add(outstanding.min(ring.entries()));
            match doorbell(given, new, ended, ring) {
                Ok(more) => {
                    prop_assert_eq!(given.wrapping_add(more), new);
                    prop_assert!(new.wrapping_sub(ended) <= ring.entries());
                }
                Err(BadDoorbell::Backwards) => prop_assert!(given.wrapping_sub(new) <= 1 << 31),
                Err(BadDoorbell::TooMany(many)) => prop_assert!(many > ring.entries()),
            }
        }
    }
}

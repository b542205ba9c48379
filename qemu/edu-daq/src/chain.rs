// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A chain of descriptors: one transfer.

use crate::ring::Descriptor;
use crate::ring::Operation;
use crate::ring::Status;

/// The longest that a descriptor may be, in bytes.
const LONGEST: u32 = 1 << 31;

/// A chain, perhaps not yet whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain(Vec<Descriptor>);

/// What is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) status: Status,
    /// The rule of the report.
    pub(crate) rule: &'static str,
    pub(crate) text: String,
}

impl Chain {
    pub(crate) fn push(&mut self, descriptor: Descriptor) {
        self.0.push(descriptor);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many descriptors there are.
    pub(crate) fn count(&self) -> u32 {
        // CAST: not more than a ring has.
        self.0.len() as u32
    }

    pub(crate) fn descriptors(&self) -> &[Descriptor] {
        &self.0
    }

    /// Whether the last descriptor is there; or as many as the ring has, which then
    /// cannot be a chain.
    pub(crate) fn is_whole(&self, entries: u32) -> bool {
        let last = self.0.last();
        last.is_some_and(|last| !last.has_more()) || self.count() >= entries
    }

    /// What it is for, once it has been checked.
    pub(crate) fn operation(&self) -> Operation {
        let first = self.0.first();
        first.map_or(Operation::HostToHost, Descriptor::operation)
    }

    /// All bytes.
    pub(crate) fn length(&self) -> u64 {
        self.0.iter().map(|one| u64::from(one.length)).sum()
    }

    /// What comes back in the completion.
    pub(crate) fn cookie(&self) -> u64 {
        self.0.last().map_or(0, |last| last.cookie)
    }

    /// Whether its completion needs no interrupt of its own.
    pub(crate) fn is_quiet(&self) -> bool {
        self.0.last().is_some_and(Descriptor::is_quiet)
    }

    /// Whether this is a chain for a channel of a card with so many bytes of memory.
    pub(crate) fn check(&self, memory: u64, has_digitiser: bool) -> Result<(), Malformed> {
        let operation = self.operation();
        for (place, one) in self.0.iter().enumerate() {
            let malformed = |status, rule, text: &str| Malformed {
                status,
                rule,
                text: format!("descriptor {place} of a chain of {}: {text}", self.count()),
            };
            if one.has_reserved_bits() {
                let text = "reserved bits are not 0";
                return Err(malformed(Status::Operation, "descriptor", text));
            }
            if one.operation() != operation {
                let text = "another OPERATION than the first";
                return Err(malformed(Status::Operation, "descriptor", text));
            }
            if operation == Operation::Samples && !has_digitiser {
                let text = "samples of a channel without a digitiser";
                return Err(malformed(Status::Operation, "descriptor", text));
            }
            if !(1..=LONGEST).contains(&one.length) {
                return Err(malformed(Status::Range, "range", "its LENGTH"));
            }
            let end = one.target.checked_add(one.length.into());
            let card = matches!(operation, Operation::HostToCard | Operation::CardToHost);
            if card && end.is_none_or(|end| end > memory) {
                let text = "outside the card's memory";
                return Err(malformed(Status::Range, "range", text));
            }
        }
        let malformed = |status, rule, text: &str| Malformed {
            status,
            rule,
            text: format!("a chain of {}: {text}", self.count()),
        };
        if self.0.last().is_some_and(Descriptor::has_more) {
            let text = "all of the ring, and still MORE";
            return Err(malformed(Status::Operation, "descriptor", text));
        }
        if operation == Operation::Samples && self.length() % 2 != 0 {
            let text = "half a sample";
            return Err(malformed(Status::Range, "range", text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registers::MEMORY;

    fn descriptor(flags: u16, length: u32) -> Descriptor {
        Descriptor {
            address: 0x1000,
            target: 0,
            length,
            flags,
            reserved: 0,
            cookie: 7,
        }
    }

    fn check(descriptors: &[Descriptor], has_digitiser: bool) -> Status {
        let chain = Chain(descriptors.to_vec());
        match chain.check(MEMORY.into(), has_digitiser) {
            Ok(()) => Status::Ok,
            Err(malformed) => malformed.status,
        }
    }

    #[test]
    fn a_chain_is_whole_with_its_last_descriptor() {
        let mut chain = Chain::default();
        assert!(!chain.is_whole(4));
        chain.push(descriptor(4, 1));
        assert!(!chain.is_whole(4));
        assert!(chain.is_whole(1));
        chain.push(Descriptor {
            cookie: 9,
            ..descriptor(0, 2)
        });
        assert!(chain.is_whole(4));
        assert_eq!((chain.length(), chain.cookie()), (3, 9));
    }

    #[test]
    fn operations_are_all_the_same_and_allowed() {
        assert_eq!(
            check(&[descriptor(4, 8), descriptor(0, 8)], false),
            Status::Ok
        );
        assert_eq!(
            check(&[descriptor(4, 8), descriptor(1, 8)], false),
            Status::Operation
        );
        assert_eq!(check(&[descriptor(3, 8)], false), Status::Operation);
        assert_eq!(check(&[descriptor(3, 8)], true), Status::Ok);
        assert_eq!(check(&[descriptor(8, 8)], false), Status::Ok);
        assert_eq!(check(&[descriptor(16, 8)], false), Status::Operation);
        assert_eq!(check(&[descriptor(4, 8)], false), Status::Operation);
    }

    #[test]
    fn ranges_are_inside() {
        assert_eq!(check(&[descriptor(0, 0)], false), Status::Range);
        assert_eq!(check(&[descriptor(2, 1 << 31)], false), Status::Ok);
        assert_eq!(check(&[descriptor(2, (1 << 31) + 1)], false), Status::Range);
        for (target, length, status) in [
            (0, MEMORY, Status::Ok),
            (1, MEMORY, Status::Range),
            (u64::from(MEMORY) - 1, 1, Status::Ok),
            (u64::from(MEMORY), 1, Status::Range),
            (u64::MAX, 1, Status::Range),
        ] {
            let one = Descriptor {
                target,
                ..descriptor(1, length)
            };
            assert_eq!(check(&[one], false), status, "{target:#x} {length:#x}");
        }
    }

    #[test]
    fn samples_are_whole_but_descriptors_need_not_be() {
        let odd = [descriptor(7, 3), descriptor(3, 5)];
        assert_eq!(check(&odd, true), Status::Ok);
        assert_eq!(
            check(&[descriptor(7, 3), descriptor(3, 4)], true),
            Status::Range
        );
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Transfers that wait behind others, on any card: one that moves 4 KiB in 100 ms
//! as well as one that is given many at once and moves them in no time.

use userdma::sys;

use crate::device::{from_card, tagged, Device, COHERENT};
use crate::memory::PAGE;
use crate::outcome::Outcome;
use crate::raw::{size, wide};

/// The tags of what is in front of a queue begin here.
pub(crate) const FRONT: u64 = 1 << 32;

/// The longest that are put in front, and how many: two such queues of one file have
/// places.
const LONGEST: usize = 4 << 20;
const MANY: usize = 50;
/// A channel is never given more bytes than these at once.
const GIVEN: usize = 16 << 20;
/// Of a card that takes one after the other, 100 ms each.
const FEW: usize = 4;

/// Transfers from the card that keep a channel at work while others are queued
/// behind them. Whether they did is seen afterwards.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) transfers: Vec<sys::userdma_transfer>,
    channel: u32,
    /// Of so many at the end one at least has not ended while nothing behind them
    /// is with the card.
    last: usize,
}

impl Front {
    /// Makes them, and does not submit them.
    pub(crate) fn new(device: &Device, channel: u16) -> Outcome<Self> {
        let length = size(device.info()?.out_max_transfer).min(LONGEST);
        let (count, last) = match length {
            ..=PAGE => (FEW, 1),
            _ => (MANY, GIVEN.div_ceil(length) + 1),
        };
        check!(last < count, "transfers of {length} bytes");
        let buffer = device.alloc(COHERENT, length)?;
        let transfers = (0..count).map(|number| sys::userdma_transfer {
            channel,
            ..tagged(from_card(buffer.handle, 0, length, 0), FRONT + wide(number))
        });
        Ok(Self {
            transfers: transfers.collect(),
            channel: channel.into(),
            last,
        })
    }

    /// Whether the card takes so long that somebody can fall asleep meanwhile.
    pub(crate) fn is_slow(&self) -> bool {
        self.transfers.len() == FEW
    }

    /// Whether what was queued behind them cannot have been with the card at
    /// `time`, by the records of all: too many were not done, or were withdrawn.
    pub(crate) fn kept_until(&self, time: u64, records: &[sys::userdma_completion]) -> bool {
        let last = FRONT + wide(self.transfers.len() - 1 - self.last);
        let of = |record: &&sys::userdma_completion| {
            record.user_data == last && record.channel == self.channel
        };
        let record = records.iter().find(of);
        record.is_some_and(|r| r.result == -libc::ECANCELED || r.end_ns > time)
    }
}

/// Tries until the attempt says that the queue was there for as long as it needed
/// it: a slow machine comes too late now and then, and not always.
pub(crate) fn until_in_time(mut attempt: impl FnMut() -> Outcome<bool>) -> Outcome {
    const TRIES: u32 = 20;
    for tried in 1..=TRIES {
        if attempt()? {
            println!("in time at attempt {tried}");
            return Ok(());
        }
    }
    fail!("the card was quicker {TRIES} times");
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! BARRIER on cards with several channels.

use userdma::sys;

use crate::device::{tagged, to_card, COHERENT};
use crate::memory::PAGE;
use crate::outcome::Outcome;
use crate::queue::{until_in_time, Front, FRONT};
use crate::raw::size;
use crate::registry::Context;

/// It begins when all that was submitted before has ended, on whichever channel;
/// what was submitted behind it on a third one does not wait.
pub(super) fn channels(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let channels = device.info()?.out_channels;
    if channels < 3 {
        skip!("needs a card with three channels, this one has {channels}");
    }
    let buffer = device.alloc(COHERENT, PAGE)?;
    until_in_time(|| {
        let front = Front::new(&device, 0)?;
        let mut transfers = front.transfers.clone();
        for (tag, channel, flags) in [(1, 1, sys::USERDMA_TRANSFER_BARRIER), (2, 2, 0)] {
            transfers.push(sys::userdma_transfer {
                channel,
                flags,
                ..tagged(to_card(buffer.handle, 0, 8, 0), tag)
            });
        }
        check_eq!(device.submit(&transfers)?, transfers.len());
        let records = device.collect(transfers.len())?;
        check!(records.iter().all(|record| record.result == 0));
        device.free(front.transfers[0].buffer)?;
        let of = |tag| match records.iter().find(|record| record.user_data == tag) {
            Some(record) => Ok(*record),
            None => fail!("no record of {tag}"),
        };
        let (barrier, free) = (of(1)?, of(2)?);
        let earlier = records.iter().filter(|record| record.user_data >= FRONT);
        let end = earlier.map(|record| record.end_ns).max().unwrap_or(0);
        check!(
            barrier.start_ns >= end,
            "it began {} ns before all had ended",
            end - barrier.start_ns
        );
        // Whether there was something to wait for.
        Ok(free.end_ns < end && size(free.bytes) == 8)
    })
}

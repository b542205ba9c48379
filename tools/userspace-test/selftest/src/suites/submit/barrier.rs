// SPDX-License-Identifier: GPL-2.0 OR MIT
//! BARRIER on cards with several channels.

use userdma::sys;

use crate::device::{tagged, to_card, Device, COHERENT};
use crate::memory::PAGE;
use crate::model::Faulty;
use crate::outcome::Outcome;
use crate::poll::{after, LONG};
use crate::queue::{until_in_time, Front, FRONT};
use crate::raw::size;
use crate::registry::Context;
use crate::suites::unbind::check_works;

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

/// A barrier that waits for a full channel 1, and one transfer behind it.
fn barred(device: &Device, handle: u32) -> Outcome<Front> {
    let front = Front::new(device, 1)?;
    let mut transfers = front.transfers.clone();
    for (tag, flags) in [(1, sys::USERDMA_TRANSFER_BARRIER), (2, 0)] {
        transfers.push(sys::userdma_transfer {
            flags,
            ..tagged(to_card(handle, 0, 8, 0), tag)
        });
    }
    check_eq!(device.submit(&transfers)?, transfers.len());
    Ok(front)
}

/// What stood behind a barrier goes on when that is withdrawn, at once: nothing else
/// happens on the card meanwhile that would start it.
pub(super) fn cancelled(context: &mut Context) -> Outcome {
    /// Within the card's time limit.
    const SLOW: u64 = 1000;
    let mut model = Faulty::of(context.card())?;
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    until_in_time(|| {
        model.inject_ms("slow", 1, SLOW)?;
        let transfers = [(0, 1, 0), (1, 0, sys::USERDMA_TRANSFER_BARRIER), (2, 0, 0)];
        let transfers = transfers.map(|(tag, channel, flags)| sys::userdma_transfer {
            channel,
            flags,
            ..tagged(to_card(buffer.handle, 0, 8, 0), tag)
        });
        check_eq!(device.submit(&transfers)?, 3);
        let withdrawn = device.cancel(0, 1)?;
        let records = device.collect(3)?;
        let ends: Vec<_> = records.iter().map(|r| (r.user_data, r.result)).collect();
        let barrier = if withdrawn == 1 { -libc::ECANCELED } else { 0 };
        for end in [(0, 0), (1, barrier), (2, 0)] {
            check!(ends.contains(&end), "{ends:?}, withdrawn: {withdrawn}");
        }
        Ok(withdrawn == 1 && ends.last() == Some(&(0, 0)))
    })
}

/// Unbind ends what a barrier kept waiting, too.
pub(super) fn unbound(context: &mut Context) -> Outcome {
    let mut card = context.card().clone();
    if Device::open(&card.path)?.info()?.out_channels < 2 {
        skip!("needs a card with two channels");
    }
    until_in_time(|| {
        let device = Device::open(&card.path)?;
        let buffer = device.alloc(COHERENT, PAGE)?;
        let front = barred(&device, buffer.handle)?;
        card.unbind()?;
        let records = device.collect(front.transfers.len() + 2)?;
        check_err!(device.wait(1, 1, after(LONG)), ENODEV);
        card = card.bind()?;
        check_works(&card)?;
        let barrier = records.iter().find(|record| record.user_data == 1);
        Ok(barrier.is_some_and(|record| record.result == -libc::ENODEV))
    })
}

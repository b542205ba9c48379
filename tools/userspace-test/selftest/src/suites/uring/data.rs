// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is moved, and what is told of it.

use io_uring::IoUring;
use userdma::sys;

use super::{length, Ring};
use crate::device::{from_card, tagged, to_card, COHERENT};
use crate::memory::PAGE;
use crate::model::is_slow;
use crate::outcome::{same_bytes, Outcome};
use crate::raw::{size, wide};
use crate::registry::Context;

pub(super) fn round_trip(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let mut ring = Ring::new(&device)?;
    let length = length(&device)?;
    let buffer = device.alloc(COHERENT, 2 * PAGE)?;
    let map = device.map(&buffer)?;
    let bytes = context.bytes(length);
    map.write(0, &bytes);
    ring.transfers(&[
        tagged(to_card(buffer.handle, 0, length, 0), 1),
        tagged(from_card(buffer.handle, PAGE, length, 0), 2),
    ])?;
    for (end, tag) in ring.ends(2)?.iter().zip([1, 2]) {
        check_eq!(end.tag, tag);
        check_eq!(end.result, i32::try_from(length)?);
        check_eq!(end.bytes, wide(length));
    }
    same_bytes(&map.read(PAGE, length), &bytes, "what came back")
}

pub(super) fn order(context: &mut Context) -> Outcome {
    const COUNT: u64 = 24;
    let device = context.open()?;
    let mut ring = Ring::new(&device)?;
    ring.fix(&device)?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let transfers: Vec<_> = (0..COUNT)
        .map(|tag| tagged(to_card(buffer.handle, 0, 8, 0), tag))
        .collect();
    ring.transfers(&transfers)?;
    let tags: Vec<_> = ring.ends(transfers.len())?.iter().map(|e| e.tag).collect();
    check_eq!(tags, Vec::from_iter(0..COUNT));
    device.check_idle()
}

pub(super) fn polled(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let mut builder = IoUring::builder();
    builder.setup_sqpoll(1000);
    let mut ring = Ring::with(&device, builder)?;
    ring.fix(&device)?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    for tag in 0..3 {
        ring.transfers(&[tagged(from_card(buffer.handle, 0, 8, 0), tag)])?;
        let end = ring.ends(1)?[0];
        check_eq!((end.tag, end.result, end.bytes), (tag, 8, 8));
    }
    Ok(())
}

/// Each way tells of its own; the places are shared.
pub(super) fn apart(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let mut ring = Ring::new(&device)?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let ours = |tag| tagged(to_card(buffer.handle, 0, 8, 0), tag);
    ring.transfers(&[ours(1), ours(2)])?;
    ring.ring.submit()?;
    // With only those of the ring outstanding there is nothing to wait for.
    device.check_idle()?;
    check_eq!(device.submit(&[ours(3)])?, 1);
    let records = device.collect(1)?;
    check_eq!(records[0].user_data, 3);
    check_eq!(records[0].result, 0);
    let mut ends = ring.ends(2)?;
    ends.sort_by_key(|end| end.tag);
    check_eq!(ends[0].tag, 1);
    check_eq!(ends[1].tag, 2);
    device.check_idle()
}

/// What has no place waits in threads of io_uring's, which come in any order: a barrier
/// and what was queued before it must not wait for each other.
pub(super) fn crowd(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let mut ring = Ring::new(&device)?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let depth = size(u64::from(device.info()?.out_depth));
    let count = if is_slow(&device)? {
        depth + 16
    } else {
        4 * depth
    };
    let tags = Vec::from_iter(0..wide(count));
    for some in tags.chunks(32) {
        for tag in some {
            let mut transfer = tagged(to_card(buffer.handle, 0, 8, 0), *tag);
            if tag % 4 == 3 {
                transfer.flags = sys::USERDMA_TRANSFER_BARRIER;
            }
            ring.transfers(&[transfer])?;
        }
        ring.ring.submit()?;
    }
    let ends = ring.ends(count)?;
    check!(ends.iter().all(|end| end.result == 8), "{ends:?}");
    let mut ended: Vec<_> = ends.iter().map(|end| end.tag).collect();
    ended.sort_unstable();
    check_eq!(ended, tags);
    device.check_idle()
}

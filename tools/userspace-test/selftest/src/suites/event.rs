// SPDX-License-Identifier: GPL-2.0 OR MIT
//! EVENTFD: counters that records and interrupts add to.

mod records;
mod refused;
mod unbind;
mod vector;

use crate::device::{tagged, to_card, Device, COHERENT};
use crate::memory::PAGE;
use crate::outcome::Outcome;
use crate::raw::wide;
use crate::registry::Test;

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "event.records",
        "as many as there are records, and no other file's",
        records::exact,
    )
    .seconds(120),
    Test::new(
        "event.poll",
        "epoll wakes when a record is there, and not before",
        records::poll,
    ),
    Test::new(
        "event.replace",
        "another one takes its place, -1 takes it away; none is lost in between",
        records::replace,
    )
    .seconds(120),
    Test::new(
        "event.closed",
        "the eventfd is closed, or the file, while transfers are under way",
        records::closed,
    )
    .seconds(120),
    Test::new(
        "event.full",
        "a counter at its maximum: no record is lost, nobody hangs",
        records::full,
    ),
    Test::new(
        "event.itself",
        "the node as its own eventfd, other files, no file: the one before stays",
        refused::itself,
    ),
    Test::new(
        "event.vector",
        "interrupts of each vector, as many as fdinfo says",
        vector::vectors,
    )
    .seconds(120),
    Test::new(
        "event.unbind",
        "each record of a card that goes is counted, and nobody sleeps on",
        unbind::unbind,
    )
    .seconds(120),
];

/// Short transfers to the card, tagged from `first` on, on a buffer of their own.
fn send(device: &Device, first: u64, count: usize) -> Outcome {
    let buffer = device.alloc(COHERENT, PAGE)?;
    let transfers: Vec<_> = (first..first + wide(count))
        .map(|tag| tagged(to_card(buffer.handle, 0, 8, 0), tag))
        .collect();
    check_eq!(device.submit(&transfers)?, count);
    device.free(buffer.handle)?;
    Ok(())
}

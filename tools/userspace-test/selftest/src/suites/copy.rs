// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Transfers from one buffer to another, of cards that can: HOST_TO_HOST.

mod data;
mod ends;
mod held;
mod refused;
mod ring;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;

use crate::kinds::{Kind, Memory};
use crate::memory::PAGE;
use crate::outcome::Outcome;
use crate::raw;
use crate::registry::{Need, Test};

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "copy.data",
        "any part of memory of each kind into any other: every byte",
        data::data,
    )
    .needs(&[Need::HostToHost])
    .seconds(120),
    Test::new(
        "copy.chain",
        "copies, to the card and back in one call: each has what the one before wrote",
        data::chain,
    )
    .needs(&[Need::HostToHost]),
    Test::new(
        "copy.large",
        "64 MiB between huge buffers: one doorbell, at most 64 descriptors",
        data::large,
    )
    .needs(&[Need::HostToHost, Need::Huge]),
    Test::new(
        "copy.refused",
        "what is wrong with an entry, two by two: the earlier wins",
        refused::refused,
    )
    .needs(&[Need::HostToHost]),
    Test::new(
        "copy.freed",
        "source and destination are freed and unmapped while copies are queued",
        ends::freed,
    )
    .needs(&[Need::HostToHost, Need::Debugfs, Need::Slow])
    .seconds(180),
    Test::new(
        "copy.held",
        "a card that sticks in a copy keeps both buffers, and gives both back",
        held::held,
    )
    .needs(&[Need::HostToHost, Need::Debugfs]),
    Test::new(
        "copy.counted",
        "copies have a counter of their own",
        ends::counted,
    )
    .needs(&[Need::HostToHost, Need::Debugfs]),
    Test::new(
        "copy.ring",
        "by io_uring, of buffers and of memory that the ring has",
        ring::ring,
    )
    .needs(&[Need::HostToHost]),
];

/// Memory of small pages that lie anywhere.
fn scattered(length: usize, rng: &mut SmallRng) -> Outcome<Memory> {
    let memory = Kind::Anonymous.make(length)?;
    raw::madvise(memory.address(), memory.length(), libc::MADV_DONTNEED)?;
    // The kernel gives them out in the order in which they are asked for.
    let mut pages: Vec<_> = (0..memory.length()).step_by(PAGE).collect();
    pages.shuffle(rng);
    for page in pages {
        memory.set_byte(page, 1);
    }
    Ok(memory)
}

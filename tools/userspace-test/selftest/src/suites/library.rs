// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the library adds to the system calls: batches, rings, futures.

mod futures;
mod rings;

use userdma::{Buffer, Device, Mapping, Transfer};

use crate::guest::Card;
use crate::outcome::Outcome;
use crate::registry::{Need, Test};

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "library.batch",
        "a batch on all channels, its completions one by one",
        rings::batch,
    ),
    Test::new(
        "library.ring",
        "a ring with little room: each transfer once, errors with their reason",
        rings::small,
    ),
    Test::new(
        "library.polled",
        "a ring whose entries a thread of the kernel's takes",
        rings::polled,
    ),
    Test::new(
        "library.ring_cancel",
        "withdrawn through the ring",
        rings::cancel,
    ),
    Test::new(
        "library.queue",
        "awaited in two threads, more than the ring has room for",
        futures::threads,
    ),
    Test::new(
        "library.thread_ends",
        "the thread that handed it over ends first",
        futures::thread_ends,
    ),
    Test::new(
        "library.dropped",
        "futures dropped and forgotten, buffers freed: the memory is given back when the card is done",
        futures::dropped,
    )
    .needs(&[Need::Debugfs]),
    Test::new(
        "library.cancel",
        "a future that is asked to be withdrawn",
        futures::cancel,
    ),
];

/// Bytes of a piece; small, as some cards are slow and have little memory.
const PIECE: usize = 512;

/// Memory of a card, cut into pieces.
struct Scene {
    device: Device,
    buffer: Buffer,
    memory: Mapping,
}

impl Scene {
    fn new(card: &Card, pieces: usize) -> Outcome<Self> {
        let device = Device::open(&card.path)?;
        let buffer = device.coherent(wide(pieces * PIECE)).allocate()?;
        let memory = buffer.map()?;
        Ok(Self {
            device,
            buffer,
            memory,
        })
    }

    fn put(&mut self, piece: usize, bytes: &[u8]) -> Outcome {
        Ok(self.memory.copy_from(piece * PIECE, bytes)?)
    }

    fn get(&self, piece: usize) -> Outcome<Vec<u8>> {
        let mut bytes = vec![0; PIECE];
        self.memory.copy_to(piece * PIECE, &mut bytes)?;
        Ok(bytes)
    }

    /// A piece into the card's memory, at the place of `at` pieces.
    fn send(&self, piece: usize, at: usize) -> Transfer {
        let begin = wide(piece * PIECE);
        let range = begin..begin + wide(PIECE);
        Transfer::to_card(&self.buffer, range, wide(at * PIECE))
    }

    /// The other way.
    fn fetch(&self, piece: usize, at: usize) -> Transfer {
        let begin = wide(piece * PIECE);
        let range = begin..begin + wide(PIECE);
        Transfer::from_card(&self.buffer, range, wide(at * PIECE))
    }
}

fn wide(size: usize) -> u64 {
    crate::raw::wide(size)
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `ahead`, with a card that takes a time for each chain and a time for each byte.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::config;
use crate::pure::ahead::{Ahead, MOST_BYTES};

/// As the module has it: 10 ms.
const LONGEST: u64 = 10_000_000;

/// A card that works on one chain at a time.
struct Card {
    chain_ns: u64,
    /// Nanoseconds of 1024 bytes.
    kib_ns: u64,
    /// From the end of a chain to when the driver sees it.
    late_ns: u64,
    now: u64,
    free_at: u64,
    /// Chains: when each ends, and its bytes.
    given: VecDeque<(u64, u64)>,
    bytes: u64,
    ahead: Ahead,
}

impl Card {
    fn new(chain_ns: u64, kib_ns: u64) -> Self {
        Self {
            chain_ns,
            kib_ns,
            late_ns: 20_000,
            now: 0,
            free_at: 0,
            given: VecDeque::new(),
            bytes: 0,
            ahead: Ahead::new(),
        }
    }

    fn time(&self, bytes: u64) -> u64 {
        self.chain_ns + bytes * self.kib_ns / 1024
    }

    /// Gives as much as is allowed of a queue without an end.
    fn fill(&mut self, bytes: u64) {
        while self.ahead.allows(self.given.len(), self.bytes) && self.given.len() < 128 {
            self.free_at = self.free_at.max(self.now) + self.time(bytes);
            self.given.push_back((self.free_at, bytes));
            self.bytes += bytes;
        }
        let now = self.now;
        self.ahead.given(self.given.len(), self.bytes, || now);
    }

    /// Until the oldest has ended and that was seen.
    fn step(&mut self) {
        let Some((end, bytes)) = self.given.pop_front() else {
            return;
        };
        self.now = self.now.max(end + self.late_ns);
        self.bytes -= bytes;
        let now = self.now;
        self.ahead.ended(1, bytes, || now);
    }

    /// Until all have ended, which is seen only then: one interrupt for a batch.
    fn step_over_all(&mut self) {
        let (chains, bytes) = (self.given.len(), self.bytes);
        self.given.clear();
        self.bytes = 0;
        self.now = self.now.max(self.free_at + self.late_ns);
        let now = self.now;
        self.ahead.ended(chains, bytes, || now);
    }

    /// How long somebody would wait who came now.
    fn wait(&self) -> u64 {
        self.free_at.saturating_sub(self.now)
    }
}

proptest! {
    #![proptest_config(config())]

    /// Whatever the card is like: when it is known nobody waits longer than that,
    /// or than two chains take.
    #[test]
    fn who_comes_later_does_not_wait_long(
        chain_ns in 100_u64..100_000_000,
        kib_ns in 0_u64..100_000,
        bytes in 1_u64..(4 << 20),
    ) {
        let mut card = Card::new(chain_ns, kib_ns);
        let bound = LONGEST.max(2 * card.time(bytes));
        for round in 0..600 {
            card.fill(bytes);
            // Twice what was fine may be too much, once.
            let bound = if round < 300 { u64::MAX } else { 2 * bound };
            prop_assert!(card.wait() <= bound, "round {round}: {} ns", card.wait());
            card.step();
        }
    }

    /// A card for which that is not too much is given all that it takes.
    #[test]
    fn a_quick_card_does_not_idle(
        chain_ns in 100_u64..1000,
        bytes in 1_u64..(4 << 20),
        at_once in any::<bool>(),
        stalled in any::<bool>(),
    ) {
        let mut card = Card::new(chain_ns, 200);
        if stalled {
            // Somebody else had the processor, once.
            card.fill(bytes);
            card.now += 50 * LONGEST;
            card.step_over_all();
        }
        for _ in 0..600 {
            card.fill(bytes);
            if at_once {
                card.step_over_all();
            } else {
                card.step();
            }
        }
        card.fill(bytes);
        let full = card.given.len() == 128 || card.bytes >= MOST_BYTES;
        prop_assert!(full, "{} chains, {} bytes", card.given.len(), card.bytes);
    }
}

#[test]
fn a_slow_card_is_known_by_its_first_chain() {
    let mut card = Card::new(100_000_000, 0);
    card.fill(8);
    assert_eq!(card.given.len(), 64);
    while !card.given.is_empty() {
        card.step();
    }
    card.fill(8);
    assert_eq!(card.given.len(), 2);
}

#[test]
fn one_that_is_quick_again_is_trusted_again() {
    let mut card = Card::new(100_000_000, 0);
    for _ in 0..100 {
        card.fill(8);
        card.step();
    }
    assert_eq!(card.given.len(), 1);
    card.chain_ns = 400;
    for _ in 0..300 {
        card.fill(8);
        card.step();
    }
    card.fill(8);
    assert_eq!(card.given.len(), 128);
}

#[test]
fn what_was_forgotten_is_not_timed() {
    let mut ahead = Ahead::new();
    ahead.given(1, 8, || 0);
    ahead.forget();
    ahead.given(1, 8, || 5 * LONGEST);
    ahead.ended(1, 8, || 5 * LONGEST + 1);
    assert!(ahead.allows(63, 8), "a minute that it was not at");
}

#[test]
fn long_chains_allow_no_more_than_the_most() {
    let mut ahead = Ahead::new();
    ahead.given(100, 1 << 40, || 0);
    ahead.ended(100, 1 << 40, || 2 * LONGEST);
    assert!(ahead.allows(10, MOST_BYTES - 1));
    assert!(!ahead.allows(10, MOST_BYTES));
}

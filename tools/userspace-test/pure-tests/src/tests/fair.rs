// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `fair`, used as `rust/queue.rs` uses it.
//!
//! Shares are counted in bytes. A file is *busy* while it has something queued
//! each time the next transfer is chosen. While a file is busy, no other one,
//! busy or not, is given more than two maximal transfers beyond what it is
//! given. From that follows the rule of 40 % for two busy files: as soon as
//! ten maximal transfers' worth of bytes has gone through the channel, neither
//! has less.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::config;
use crate::pure::fair::{pick, Clock, Share};

/// The longest transfer here.
const MAX: u64 = 4096;

#[derive(Default)]
struct Lane {
    queue: VecDeque<u64>,
    share: Share,
}

/// A channel and the files that use it.
struct Channel {
    lanes: Vec<Lane>,
    clock: Clock,
    last: usize,
}

impl Channel {
    fn new(files: usize) -> Self {
        Self {
            lanes: std::iter::repeat_with(Lane::default).take(files).collect(),
            clock: Clock::new(),
            last: 0,
        }
    }

    fn push(&mut self, file: usize, bytes: u64) {
        let lane = &mut self.lanes[file];
        if lane.queue.is_empty() {
            self.clock.wake(&mut lane.share);
        }
        lane.queue.push_back(bytes);
    }

    fn busy(&self, file: usize) -> bool {
        !self.lanes[file].queue.is_empty()
    }

    fn next(&mut self) -> Option<(usize, u64)> {
        let lanes = self.lanes.iter().enumerate();
        let waiting = lanes.filter(|(_, lane)| !lane.queue.is_empty());
        let file = pick(waiting.map(|(file, lane)| (file, lane.share)), self.last)?;
        let lane = &mut self.lanes[file];
        let bytes = lane.queue.pop_front()?;
        self.clock.charge(&mut lane.share, bytes);
        self.last = file;
        Some((file, bytes))
    }

    /// As `next()`, with a file that never runs out.
    fn next_of(&mut self, mut sizes: impl FnMut(usize) -> u64) -> (usize, u64) {
        for file in 0..self.lanes.len() {
            if !self.busy(file) {
                self.push(file, sizes(file));
            }
        }
        let (file, bytes) = self.next().expect("all files are busy");
        // At once, as if it had been queued before.
        self.lanes[file].queue.push_back(sizes(file));
        (file, bytes)
    }
}

/// What another file was given beyond what a busy one was given, since the
/// moment when that was least.
#[derive(Clone, Copy, Default)]
struct Lead(u64);

impl Lead {
    fn other(&mut self, bytes: u64) {
        self.0 += bytes;
    }

    fn busy_one(&mut self, bytes: u64) {
        self.0 = self.0.saturating_sub(bytes);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize, Vec<u64>),
    Next(usize),
}

const FILES: usize = 5;

fn bytes() -> impl Strategy<Value = u64> {
    prop_oneof![Just(1), Just(MAX), 1u64..=MAX]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let many = prop_oneof![Just(1..2), Just(1..20)];
    let sizes = many.prop_flat_map(|many| prop::collection::vec(bytes(), many));
    let step = prop_oneof![
        2 => (0..FILES, sizes).prop_map(|(file, sizes)| Step::Push(file, sizes)),
        1 => Just(Step::Next(1)),
        1 => (1usize..20).prop_map(Step::Next),
    ];
    prop::collection::vec(step, 1..120)
}

#[test]
fn nobody_waits_nobody_goes() {
    assert_eq!(pick(std::iter::empty(), 0), None);
    assert_eq!(Channel::new(3).next(), None);
}

#[test]
fn among_equals_it_goes_round() {
    let equals = |files: &[usize], last| {
        let waiting = files.iter().map(|file| (*file, Share::default()));
        pick(waiting, last)
    };
    assert_eq!(equals(&[0, 1, 2], 0), Some(1));
    assert_eq!(equals(&[0, 1, 2], 1), Some(2));
    assert_eq!(equals(&[0, 1, 2], 2), Some(0));
    assert_eq!(equals(&[2, 1, 0], 1), Some(2));
    // The one that went before is gone, or alone.
    assert_eq!(equals(&[0, 3], 2), Some(3));
    assert_eq!(equals(&[0, 3], 7), Some(0));
    assert_eq!(equals(&[4], 4), Some(4));

    let mut channel = Channel::new(4);
    let order: Vec<usize> = (0..12).map(|_| channel.next_of(|_| MAX).0).collect();
    assert_eq!(order, [1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0]);
}

#[test]
fn who_is_behind_goes_first() {
    let mut channel = Channel::new(2);
    for _ in 0..4 {
        channel.push(0, 1000);
        channel.push(1, 250);
    }
    let order: Vec<usize> = std::iter::from_fn(|| channel.next())
        .map(|next| next.0)
        .collect();
    // 250, 1000, then the small ones until they have as much.
    assert_eq!(order, [1, 0, 1, 1, 1, 0, 0, 0]);
}

/// Whoever was away gets half from now on, not all until it has caught up.
#[test]
fn who_was_idle_gains_nothing() {
    let mut channel = Channel::new(2);
    for _ in 0..10_000 {
        channel.push(0, MAX);
        assert_eq!(channel.next(), Some((0, MAX)));
    }
    let mut given = [0, 0];
    for _ in 0..100 {
        let (file, bytes) = channel.next_of(|_| MAX);
        given[file] += bytes;
    }
    assert!(given[0].abs_diff(given[1]) <= 2 * MAX, "{given:?}");
}

/// And the other way round: who worked alone owes nothing to who comes later.
#[test]
fn who_worked_alone_is_not_starved() {
    let mut channel = Channel::new(3);
    for _ in 0..10_000 {
        channel.push(0, MAX);
        channel.push(1, 1);
        channel.next();
        channel.next();
    }
    // All three are busy now; the third for the first time.
    let firsts: Vec<usize> = (0..6).map(|_| channel.next_of(|_| MAX).0).collect();
    for file in 0..3 {
        assert!(firsts.contains(&file), "{file} not in {firsts:?}");
    }
}

/// A file that asks for one transfer at a time, after the last has ended,
/// takes turns with one that always has many queued.
#[test]
fn one_at_a_time_takes_turns() {
    let mut channel = Channel::new(2);
    let mut given = [0, 0];
    channel.push(1, MAX);
    for _ in 0..200 {
        while channel.lanes[0].queue.len() < 8 {
            channel.push(0, MAX);
        }
        let (file, bytes) = channel.next().expect("file 0 is busy");
        given[file] += bytes;
        // While the card works on file 0's, file 1 submits again.
        if file == 0 && !channel.busy(1) {
            channel.push(1, MAX);
        }
    }
    assert!(given[0].abs_diff(given[1]) <= 2 * MAX, "{given:?}");
}

/// Whoever asks for one large transfer at a time is not forgiven them for
/// having nothing queued in between.
#[test]
fn one_at_a_time_is_no_trick() {
    let mut channel = Channel::new(2);
    let mut given = [0, 0];
    for _ in 0..1000 {
        while channel.lanes[0].queue.len() < 8 {
            channel.push(0, MAX / 16);
        }
        if !channel.busy(1) {
            channel.push(1, MAX);
        }
        let (file, bytes) = channel.next().expect("both are busy");
        given[file] += bytes;
    }
    assert!(given[0].abs_diff(given[1]) <= 2 * MAX, "{given:?}");
}

/// Virtual time ends after 16 EiB. From then on it is plain round robin.
#[test]
fn at_the_end_of_time_all_take_turns() {
    let mut channel = Channel::new(3);
    for _ in 0..2 {
        for file in 0..3 {
            channel.push(file, u64::MAX);
        }
        while channel.next().is_some() {}
    }
    let mut turns = [0; 3];
    for _ in 0..30 {
        turns[channel.next_of(|_| MAX).0] += 1;
    }
    assert_eq!(turns, [10, 10, 10]);
}

proptest! {
    #![proptest_config(config())]

    /// The whole promise, with files that come and go as they like.
    #[test]
    fn nobody_gains_on_a_busy_file(steps in steps()) {
        let mut channel = Channel::new(FILES);
        let mut leads = [[Lead::default(); FILES]; FILES];
        for step in steps {
            let turns = match step {
                Step::Push(file, sizes) => {
                    sizes.into_iter().for_each(|bytes| channel.push(file, bytes));
                    continue;
                }
                Step::Next(turns) => turns,
            };
            for _ in 0..turns {
                let Some((file, bytes)) = channel.next() else { break };
                for (one, leads) in leads.iter_mut().enumerate() {
                    for (other, lead) in leads.iter_mut().enumerate() {
                        if one == other || !channel.busy(one) {
                            *lead = Lead::default();
                        } else if file == one {
                            lead.busy_one(bytes);
                        } else if file == other {
                            lead.other(bytes);
                        }
                        prop_assert!(lead.0 <= 2 * MAX, "{other} over {one}: {}", lead.0);
                    }
                }
            }
        }
    }

    /// Whoever comes new waits for one transfer of each other file at most.
    #[test]
    fn who_comes_new_loses_nothing(steps in steps(), size in bytes()) {
        let mut channel = Channel::new(FILES + 1);
        for step in steps {
            match step {
                Step::Push(file, sizes) => {
                    sizes.into_iter().for_each(|bytes| channel.push(file, bytes));
                }
                Step::Next(turns) => (0..turns).for_each(|_| {
                    channel.next();
                }),
            }
        }
        channel.push(FILES, size);
        let mut before: Vec<usize> = std::iter::from_fn(|| channel.next())
            .map(|(file, _)| file)
            .take_while(|file| *file != FILES)
            .collect();
        let all = before.len();
        before.sort_unstable();
        before.dedup();
        prop_assert_eq!(before.len(), all);
    }

    /// While a file waits, each other one gets two maximal transfers at most.
    #[test]
    fn nobody_waits_for_ever(files in 2usize..9, sizes in prop::collection::vec(bytes(), 100)) {
        let mut channel = Channel::new(files);
        let mut sizes = sizes.into_iter().cycle();
        let mut waited = vec![0; files];
        for _ in 0..150 {
            let (file, bytes) = channel.next_of(|_| sizes.next().unwrap_or(MAX));
            for (other, bytes_of_others) in waited.iter_mut().enumerate() {
                *bytes_of_others = if other == file { 0 } else { *bytes_of_others + bytes };
            }
            let most = 2 * MAX * (files as u64 - 1);
            prop_assert!(waited.iter().all(|bytes| *bytes <= most), "{waited:?}");
        }
    }

    /// Ruling: of two busy files neither gets less than 40 %, over 100
    /// transfers of at least a quarter of the longest.
    #[test]
    fn of_two_neither_gets_less_than_40_percent(
        large in MAX / 4..=MAX,
        small in MAX / 4..=MAX,
        alone in 0usize..50,
    ) {
        let mut channel = Channel::new(2);
        for _ in 0..alone {
            channel.push(0, large);
            channel.next();
        }
        let mut given = [0, 0];
        for _ in 0..100 {
            let (file, bytes) = channel.next_of(|file| [large, small][file]);
            given[file] += bytes;
        }
        let least = (given[0] + given[1]) * 40 / 100;
        prop_assert!(given.iter().all(|bytes| *bytes >= least), "{given:?}");
    }

    /// The same for transfers of any lengths, from the tenth maximal one on.
    #[test]
    fn the_40_percent_hold_for_any_lengths(sizes in prop::collection::vec(bytes(), 200)) {
        let mut channel = Channel::new(2);
        let mut sizes = sizes.into_iter();
        let mut given = [0, 0];
        while sizes.len() > 2 {
            let (file, bytes) = channel.next_of(|_| sizes.next().unwrap_or(MAX));
            given[file] += bytes;
            let all = given[0] + given[1];
            if all >= 10 * MAX {
                prop_assert!(given.iter().all(|bytes| *bytes * 100 >= all * 40), "{given:?}");
            }
        }
    }

    /// Who is chosen waits, is furthest behind, and is the next in turn.
    #[test]
    fn pick_takes_the_least(shares in prop::collection::vec(0u64..4, 0..8), last in 0usize..9) {
        let share = |bytes: u64| {
            let mut share = Share::default();
            Clock::new().charge(&mut share, bytes);
            share
        };
        let waiting = shares.iter().map(|bytes| share(*bytes)).enumerate();
        let least = shares.iter().min();
        let mut order = (last + 1..shares.len()).chain(0..shares.len().min(last + 1));
        let expected = order.find(|file| shares.get(*file) == least);
        prop_assert_eq!(pick(waiting, last), expected);
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

use proptest::prelude::*;

use super::*;

const SINE: u32 = 1 << ACQUIRE_SOURCE;

fn sampler(period: u32, acquire: u32) -> Sampler {
    let mut sampler = Sampler::default();
    sampler.set_period(period, 0);
    sampler.set_acquire(acquire, 0, false);
    sampler
}

/// Samples that are taken, and when the first of them was.
type Taken = Option<(u64, u64, u64)>;

fn samples(first: u64, count: u64, time: u64) -> Taken {
    Some((first, count, time))
}

fn take(sampler: &mut Sampler, now: u64, most: u64) -> Taken {
    let time = sampler.next_time(now);
    let taken = sampler.take(now, most)?;
    Some((taken.first, taken.count, time))
}

#[test]
fn one_sample_comes_in_each_period() {
    let mut sampler = sampler(100, 1);
    assert_eq!(take(&mut sampler, 99, 10), None);
    assert_eq!(sampler.ready(99, 3), Some(300));
    assert_eq!(take(&mut sampler, 350, 2), samples(0, 2, 100));
    assert_eq!(take(&mut sampler, 350, 2), samples(2, 1, 300));
    assert_eq!(take(&mut sampler, 399, 2), None);
    assert_eq!(take(&mut sampler, 400, 2), samples(3, 1, 400));
}

#[test]
fn without_a_chain_they_are_dropped_and_the_next_one_has_a_gap() {
    let mut sampler = sampler(100, 1);
    sampler.drop_until(1050);
    assert_eq!(sampler.dropped(), 10);
    assert_eq!(take(&mut sampler, 1250, 9), samples(10, 2, 1100));
    assert!(sampler.take_gap());
    assert!(!sampler.take_gap());
    sampler.drop_until(1250);
    assert_eq!(sampler.dropped(), 10);
}

#[test]
fn no_period_is_as_fast_as_chains_come() {
    let mut sampler = sampler(0, 1);
    sampler.drop_until(1_000_000);
    assert_eq!(take(&mut sampler, 5, 1000), samples(0, 1000, 5));
    assert_eq!(take(&mut sampler, 6, 1 << 40), samples(1000, 1 << 40, 6));
    assert_eq!(sampler.dropped(), 0);
    sampler.set_acquire(0, 7, true);
    assert_eq!(take(&mut sampler, 8, 5), None);
    assert!(sampler.is_cut());
}

#[test]
fn disabling_ends_the_chain_with_what_was_due() {
    let mut sampler = sampler(10, 1);
    assert_eq!(take(&mut sampler, 25, 10), samples(0, 2, 10));
    sampler.set_acquire(0, 55, true);
    assert!(!sampler.is_cut() && sampler.has_last(56));
    assert_eq!(
        take(&mut sampler, 1000, 10).map(|(_, count, _)| count),
        Some(3)
    );
    assert!(sampler.is_cut());
    sampler.end_cut();
    // The count goes on where it was.
    sampler.set_acquire(1, 2000, false);
    assert_eq!(take(&mut sampler, 2010, 10), samples(5, 1, 2010));
    assert_eq!(sampler.dropped(), 0);
}

#[test]
fn disabling_without_a_chain_drops_and_enabling_at_once_loses_no_count() {
    let mut sampler = sampler(10, 1);
    sampler.set_acquire(0, 55, false);
    assert_eq!(sampler.dropped(), 5);
    sampler.set_acquire(1, 60, false);
    sampler.set_acquire(0, 75, true);
    // Nobody fetched it.
    sampler.set_acquire(1, 80, true);
    assert_eq!(sampler.dropped(), 6);
    assert!(sampler.is_cut());
    sampler.end_cut();
    assert_eq!(take(&mut sampler, 90, 10), samples(6, 1, 90));
}

#[test]
fn another_period_changes_nothing_about_what_was() {
    let mut sampler = sampler(100, 1);
    sampler.set_period(10, 350);
    assert_eq!(take(&mut sampler, 370, 3), samples(0, 3, 350));
    assert_eq!(take(&mut sampler, 370, 3), samples(3, 2, 360));
    sampler.set_period(0, 375);
    assert_eq!(take(&mut sampler, 375, 3), samples(5, 3, 375));
    sampler.set_period(10, 400);
    assert_eq!(take(&mut sampler, 405, 3), None);
    assert_eq!(take(&mut sampler, 410, 3), samples(8, 1, 410));
}

#[test]
fn the_trigger_is_a_level_that_is_reached_from_below() {
    for period in [0, 7] {
        let mut sampler = sampler(period, SINE | ACQUIRE_TRIGGERED | 1);
        sampler.level = 0;
        assert_eq!(take(&mut sampler, 100_000, 5), None);
        assert_eq!(sampler.is_looking(false), period != 0);
        assert!(sampler.is_looking(true));
        sampler.look(100_000);
        assert!(!sampler.is_looking(true));
        // The sine is 0 at its beginning, where nothing was before.
        let found = sampler.take(100_000, 5).expect("the trigger");
        assert_eq!((found.first, found.count), (256, 5));
        assert_eq!(sampler.dropped(), 0);
    }
}

#[test]
fn a_level_that_is_never_reached_is_waited_for() {
    let mut sampler = sampler(1, SINE | ACQUIRE_TRIGGERED | 1);
    sampler.level = 2048;
    assert!(sampler.look(100_000));
    while sampler.look(100_000) {}
    assert!(sampler.is_looking(false));
    sampler.drop_until(200_000);
    assert_eq!(sampler.dropped(), 0);
    assert_eq!(sampler.ready(5, 1), Some(5 + LOOK_EVERY));
    sampler.set_acquire(SINE | ACQUIRE_TRIGGERED | ACQUIRE_FORCE | 1, 200_000, true);
    assert_eq!(sampler.acquire() & ACQUIRE_FORCE, 0);
    assert_eq!(take(&mut sampler, 200_003, 9), samples(200_000, 3, 200_001));
}

#[test]
fn disabling_before_the_trigger_takes_and_drops_nothing() {
    let mut sampler = sampler(1, SINE | ACQUIRE_TRIGGERED | 1);
    sampler.level = 2048;
    sampler.look(500);
    sampler.set_acquire(0, 1000, true);
    assert_eq!(take(&mut sampler, 2000, 9), None);
    assert!(sampler.is_cut());
    sampler.end_cut();
    sampler.drop_until(3000);
    assert_eq!(sampler.dropped(), 0);
}

#[test]
fn what_is_given_back_comes_again() {
    let mut sampler = sampler(0, 1);
    assert_eq!(take(&mut sampler, 5, 100), samples(0, 100, 5));
    sampler.give_back(30);
    assert_eq!(take(&mut sampler, 6, 1), samples(70, 1, 6));
}

#[derive(Clone, Debug)]
enum Step {
    Take(u64),
    Drop,
    Period(u32),
    Toggle(bool),
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..50_u64).prop_map(Step::Take),
        Just(Step::Drop),
        (0..20_u32).prop_map(Step::Period),
        any::<bool>().prop_map(Step::Toggle),
        Just(Step::Cut),
    ]
}

proptest! {
    /// Each sample is taken once or dropped once, in order.
    #[test]
    fn no_sample_is_lost(steps in prop::collection::vec((0..100_u64, step()), 1..60)) {
        let mut sampler = sampler(5, 1);
        let (mut now, mut seen, mut dropped) = (0, 0, 0);
        for (time, step) in steps {
            now += time;
            match step {
                Step::Take(most) => {
                    let due_at = sampler.next_time(now);
                    let available = sampler.available(now, most);
                    let found = sampler.take(now, most);
                    prop_assert_eq!(available, found.map_or(0, |found| found.count));
                    if let Some(found) = found {
                        prop_assert_eq!(found.first, seen + sampler.dropped() - dropped);
                        prop_assert_eq!(sampler.take_gap(), sampler.dropped() != dropped);
                        prop_assert!(found.count <= most && due_at <= now);
                        seen = found.first + found.count;
                        dropped = sampler.dropped();
                    }
                    if sampler.is_cut() {
                        sampler.end_cut();
                    }
                }
                Step::Drop => sampler.drop_until(now),
                Step::Period(period) => sampler.set_period(period, now),
                Step::Toggle(chain) => {
                    let acquire = sampler.acquire() ^ 1;
                    sampler.set_acquire(acquire, now, chain);
                }
                Step::Cut => sampler.cut(now),
            }
        }
    }
}

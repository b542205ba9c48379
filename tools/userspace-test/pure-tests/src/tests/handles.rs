// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `handles::next`: never 0, never one that is taken, never one again before
//! all others had their turn.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::config;
use crate::pure::handles::next;

/// The steps from one handle to another, in the circle of all but 0.
fn distance(from: u32, to: u32) -> u64 {
    match from < to {
        true => u64::from(to - from),
        false => u64::from(u32::MAX) - u64::from(from - to),
    }
}

#[test]
fn from_the_start() {
    assert_eq!(next(0, |_| false), Some(1));
    assert_eq!(next(1, |_| false), Some(2));
    assert_eq!(next(1, |handle| handle < 10), Some(10));
}

#[test]
fn around_the_end_0_is_left_out() {
    assert_eq!(next(u32::MAX - 1, |_| false), Some(u32::MAX));
    assert_eq!(next(u32::MAX, |_| false), Some(1));
    assert_eq!(next(u32::MAX, |handle| handle == 1), Some(2));
    assert_eq!(next(u32::MAX - 2, |handle| handle > u32::MAX - 2), Some(1));
}

/// All but one are taken, and it is the last place to look.
#[test]
fn finds_the_last_free_one() {
    assert_eq!(next(77, |handle| handle != 77), Some(77));
}

#[test]
fn says_when_all_are_taken() {
    assert_eq!(next(77, |_| true), None);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Give,
    Free(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Give),
        2 => any::<prop::sample::Index>().prop_map(Step::Free),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    #![proptest_config(config())]

    /// As an open file does it, with most of the handles around the end.
    #[test]
    fn given_out_in_a_circle(
        start in prop_oneof![Just(0), 0u32..50, (0u32..100).prop_map(|by| u32::MAX - by)],
        old in prop::collection::btree_set(1u32..60, 0..30),
        steps in steps(),
    ) {
        let mut taken: BTreeSet<u32> = old;
        let mut last = start;
        // How far around the circle we are, and where each was given out.
        let mut way = 0;
        let mut given: Vec<(u32, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Free(index) if !taken.is_empty() => {
                    let all = Vec::from_iter(taken.iter().copied());
                    taken.remove(index.get(&all));
                }
                Step::Free(_) => {}
                Step::Give => {
                    let handle = next(last, |handle| taken.contains(&handle));
                    let handle = handle.ok_or_else(|| TestCaseError::fail("none is free"))?;
                    prop_assert_ne!(handle, 0);
                    prop_assert!(!taken.contains(&handle));
                    // None that was free was passed over.
                    let steps = distance(last, handle);
                    let passed = taken.iter().filter(|other| distance(last, **other) < steps);
                    prop_assert_eq!(passed.count() as u64, steps - 1);
                    way += steps;
                    for (_, at) in given.iter().filter(|(other, _)| *other == handle) {
                        prop_assert!(way - at >= u64::from(u32::MAX));
                    }
                    given.push((handle, way));
                    taken.insert(handle);
                    last = handle;
                }
            }
        }
    }
}

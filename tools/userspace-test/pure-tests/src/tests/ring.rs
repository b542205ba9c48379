// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `Ring` against `VecDeque`, and what it leaves in the storage it was lent.

use std::collections::VecDeque;
use std::rc::Rc;

use proptest::prelude::*;

use super::config;
use crate::pure::ring::Ring;

#[derive(Clone, Copy, Debug)]
enum Step {
    PushBack,
    PushFront,
    PopFront,
    /// Takes the first whose number leaves this rest when divided by 5.
    RemoveFirst(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::PushBack),
        2 => Just(Step::PushFront),
        2 => Just(Step::PopFront),
        2 => (0u32..5).prop_map(Step::RemoveFirst),
    ];
    prop::collection::vec(step, 0..200)
}

/// Does the same to a ring and to the model; returns what is left in both.
fn run(capacity: usize, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut slots: Vec<Option<Rc<u32>>> = vec![None; capacity];
    let mut model: VecDeque<Rc<u32>> = VecDeque::new();
    let mut ring = Ring::new(slots.as_mut_slice());
    for (number, step) in (0u32..).zip(steps) {
        let value = Rc::new(number);
        let room = model.len() < capacity;
        match *step {
            Step::PushBack if room => {
                model.push_back(value.clone());
                prop_assert_eq!(ring.push_back(value), Ok(()));
            }
            Step::PushFront if room => {
                model.push_front(value.clone());
                prop_assert_eq!(ring.push_front(value), Ok(()));
            }
            Step::PushBack => prop_assert_eq!(ring.push_back(value.clone()), Err(value)),
            Step::PushFront => prop_assert_eq!(ring.push_front(value.clone()), Err(value)),
            Step::PopFront => prop_assert_eq!(ring.pop_front(), model.pop_front()),
            Step::RemoveFirst(rest) => {
                let at = model.iter().position(|value| **value % 5 == rest);
                let expected = at.and_then(|at| model.remove(at));
                prop_assert_eq!(ring.remove_first(|value| **value % 5 == rest), expected);
            }
        }
        prop_assert_eq!(ring.is_empty(), model.is_empty());
        prop_assert_eq!(ring.len(), model.len());
        prop_assert_eq!(ring.is_full(), model.len() == capacity);
        prop_assert_eq!(ring.back(), model.back());
        prop_assert_eq!(ring.front(), model.front());
        prop_assert_eq!(ring.front_mut(), model.front_mut());
        let all: Vec<_> = ring.iter_mut().map(|value| value.clone()).collect();
        prop_assert_eq!(all, Vec::from_iter(model.iter().cloned()));
    }
    // The rest in order, by a ring that takes over the storage half-way.
    let half = model.len() / 2;
    for _ in 0..half {
        prop_assert_eq!(ring.pop_front(), model.pop_front());
    }
    // "All others are `None`": nothing that was taken out is still there, and
    // what is in there is owned once.
    let _ = ring;
    prop_assert_eq!(slots.iter().flatten().count(), model.len());
    for value in &model {
        prop_assert_eq!(Rc::strong_count(value), 2);
    }
    Ok(())
}

#[test]
fn without_storage_nothing_fits() {
    let mut ring = Ring::new(Vec::<Option<u8>>::new());
    assert_eq!(ring.push_back(1), Err(1));
    assert_eq!(ring.push_front(2), Err(2));
    assert_eq!(ring.pop_front(), None);
    assert_eq!(ring.remove_first(|_| true), None);
    assert!(ring.is_empty());
}

#[test]
fn a_full_ring_gives_the_value_back() {
    let mut ring = Ring::new([None; 2].to_vec());
    assert_eq!(ring.push_back(1), Ok(()));
    assert_eq!(ring.push_front(0), Ok(()));
    assert_eq!(ring.push_back(2), Err(2));
    assert_eq!(ring.push_front(3), Err(3));
    assert_eq!(ring.pop_front(), Some(0));
    assert_eq!(ring.push_back(2), Ok(()));
    assert_eq!(ring.pop_front(), Some(1));
    assert_eq!(ring.pop_front(), Some(2));
    assert_eq!(ring.pop_front(), None);
}

/// Every place of every element, at every position of the head: what is taken
/// out of the middle leaves the order of the others alone, across the end of
/// the storage too.
#[test]
fn remove_first_keeps_the_order() {
    const CAPACITY: usize = 5;
    for head in 0..CAPACITY {
        for length in 0..=CAPACITY {
            for victim in 0..=length {
                let mut ring = Ring::new(vec![None; CAPACITY]);
                for _ in 0..head {
                    assert_eq!(ring.push_back(0), Ok(()));
                    assert_eq!(ring.pop_front(), Some(0));
                }
                for value in 0..length {
                    assert_eq!(ring.push_back(value), Ok(()));
                }
                let taken = (victim < length).then_some(victim);
                assert_eq!(ring.remove_first(|value| *value == victim), taken);
                let rest: Vec<usize> = std::iter::from_fn(|| ring.pop_front()).collect();
                let expected: Vec<usize> = (0..length).filter(|value| *value != victim).collect();
                assert_eq!(rest, expected, "head {head}, {victim} of {length}");
                assert!(ring.is_empty());
            }
        }
    }
}

/// Of several that are wanted the first is taken, and the test is not asked
/// about those behind it.
#[test]
fn remove_first_takes_the_first() {
    let mut ring = Ring::new(vec![None; 4]);
    for value in [(1, 'a'), (2, 'b'), (2, 'c'), (3, 'd')] {
        assert_eq!(ring.push_back(value), Ok(()));
    }
    assert_eq!(ring.remove_first(|value| value.0 == 2), Some((2, 'b')));
    assert_eq!(ring.remove_first(|value| value.0 == 2), Some((2, 'c')));
    assert_eq!(ring.remove_first(|value| value.0 == 2), None);
    assert_eq!(ring.pop_front(), Some((1, 'a')));
    assert_eq!(ring.pop_front(), Some((3, 'd')));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn behaves_as_a_deque(capacity in 0usize..9, steps in steps()) {
        run(capacity, &steps)?;
    }

    /// Round and round: the head passes the end of the storage many times.
    #[test]
    fn wraps_around(capacity in 1usize..6, fill in 0usize..6, rounds in 0usize..40) {
        let mut steps = vec![Step::PushBack; fill.min(capacity - 1)];
        for round in 0..rounds {
            let push = if round % 3 == 0 { Step::PushFront } else { Step::PushBack };
            steps.extend([push, Step::PopFront]);
        }
        run(capacity, &steps)?;
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `handles::Window`: places are inside, aligned, free, and found if there is
//! one.

use proptest::prelude::*;

use super::config;
use crate::pure::handles::Window;

/// Ranges that are taken, and which of several that overlap is told.
#[derive(Clone, Debug)]
struct Taken {
    ranges: Vec<(u64, u64)>,
    which: usize,
}

impl Taken {
    fn overlap(&self, start: u64, end: u64) -> Option<u64> {
        let overlaps = |&&(from, to): &&(u64, u64)| from < end && start < to;
        let found: Vec<_> = self.ranges.iter().filter(overlaps).collect();
        let index = self.which.checked_rem(found.len())?;
        found.get(index).map(|range| range.1)
    }

    /// Free, inside and aligned: by looking at each byte.
    fn fits(&self, window: &Window, start: u64, length: u64) -> bool {
        let end = start.checked_add(length);
        let inside = start >= window.start && end.is_some_and(|end| end <= window.end);
        let free = |byte| {
            !self
                .ranges
                .iter()
                .any(|&(from, to)| (from..to).contains(&byte))
        };
        inside && start % window.align == 0 && (start..start + length).all(free)
    }
}

/// Makes ranges that do not overlap, out of gaps and lengths.
fn taken(base: u64) -> impl Strategy<Value = Taken> {
    let parts = prop::collection::vec((0u64..5, 1u64..6), 0..7);
    (parts, 0usize..7).prop_map(move |(parts, which)| {
        let mut at = base;
        let place = |(gap, length): (u64, u64)| {
            let from = at.checked_add(gap)?;
            at = from.checked_add(length)?;
            Some((from, at))
        };
        let ranges = parts.into_iter().map_while(place).collect();
        Taken { ranges, which }
    })
}

fn nothing(_: u64, _: u64) -> Option<u64> {
    None
}

const SMALL: Window = Window {
    start: 8,
    end: 40,
    align: 4,
};

#[test]
fn an_empty_window() {
    assert_eq!(SMALL.place(8, 32, nothing), Some(8));
    assert_eq!(SMALL.place(8, 33, nothing), None);
    assert_eq!(SMALL.place(8, 0, nothing), None);
    assert_eq!(SMALL.place(8, u64::MAX, nothing), None);
}

#[test]
fn from_anywhere() {
    assert_eq!(SMALL.place(0, 4, nothing), Some(8));
    assert_eq!(SMALL.place(9, 4, nothing), Some(12));
    assert_eq!(SMALL.place(36, 4, nothing), Some(36));
    // Not enough behind it: from the start.
    assert_eq!(SMALL.place(37, 4, nothing), Some(8));
    assert_eq!(SMALL.place(36, 5, nothing), Some(8));
    assert_eq!(SMALL.place(40, 4, nothing), Some(8));
    assert_eq!(SMALL.place(u64::MAX, 4, nothing), Some(8));
}

/// The window that the module has: a freed offset is not given out again
/// before the others had their turn.
#[test]
fn freed_offsets_rest() {
    const HUGE: u64 = 2 << 20;
    let window = Window {
        start: 8 << 40,
        end: 16 << 40,
        align: HUGE,
    };
    let mut last = window.start;
    let mut seen = Vec::new();
    for length in [4096, HUGE, HUGE + 4096, 4096] {
        let offset = window.place(last, length, nothing).expect("it is empty");
        seen.push((offset - window.start) / HUGE);
        last = offset + length;
    }
    assert_eq!(seen, [0, 1, 2, 4]);
    // The last place there is, and around.
    assert_eq!(
        window.place(window.end - HUGE, HUGE, nothing),
        Some(window.end - HUGE)
    );
    assert_eq!(
        window.place(window.end - HUGE + 4096, HUGE, nothing),
        Some(window.start)
    );
}

proptest! {
    #![proptest_config(config())]

    /// The first place from `from` on, else the first of all, else none.
    #[test]
    fn finds_the_place_that_brute_force_finds(
        base in prop_oneof![Just(0), Just(5), Just(u64::MAX - 50)],
        start in 0u64..8,
        room in 0u64..45,
        bits in 0u32..4,
        from in 0u64..55,
        length in 1u64..20,
        taken in prop_oneof![taken(0), taken(5), taken(u64::MAX - 50)],
    ) {
        let start = base.saturating_add(start);
        let window = Window { start, end: start.saturating_add(room), align: 1 << bits };
        let from = base.saturating_add(from);
        let fits = |at: &u64| taken.fits(&window, *at, length);
        let expected = (from..=window.end).find(fits).or_else(|| (start..=window.end).find(fits));
        let got = window.place(from, length, |start, end| taken.overlap(start, end));
        prop_assert_eq!(got, expected);
    }

    /// As an open file does it: places of live objects never overlap, and one
    /// is only refused if there is none.
    #[test]
    fn live_places_never_overlap(
        steps in prop::collection::vec((any::<bool>(), 1u64..9, any::<prop::sample::Index>()), 0..120),
        which in 0usize..4,
    ) {
        let window = Window { start: 16, end: 64, align: 4 };
        let mut taken = Taken { ranges: Vec::new(), which };
        let mut last = window.start;
        for (give, length, index) in steps {
            if !give && !taken.ranges.is_empty() {
                let index = index.index(taken.ranges.len());
                taken.ranges.remove(index);
                continue;
            }
            match window.place(last, length, |start, end| taken.overlap(start, end)) {
                Some(start) => {
                    prop_assert!(taken.fits(&window, start, length));
                    taken.ranges.push((start, start + length));
                    last = start + length;
                }
                None => {
                    let any = (window.start..window.end).any(|at| taken.fits(&window, at, length));
                    prop_assert!(!any);
                }
            }
        }
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `split`: the pieces of a range are the range, each where its segment says.

use proptest::prelude::*;

use super::config;
use crate::pure::split::{self, Piece, Segment};

/// The first piece, of a card without boundaries.
fn first(segments: &[Segment], offset: u64, length: u64, max: u64) -> Option<Piece> {
    split::first(segments, offset, length, max, 0)
}

/// Puts segments of these bus addresses and lengths one behind the other.
fn segments(parts: &[(u64, u64)]) -> Vec<Segment> {
    let mut offset = 0;
    let place = |&(bus, length): &(u64, u64)| {
        let segment = Segment {
            offset,
            bus,
            length,
        };
        offset += length;
        segment
    };
    parts.iter().map(place).collect()
}

/// Cuts a range into pieces as the engine does: one after the other, until
/// all is moved or there is none. No range here has more than a hundred.
fn pieces(segments: &[Segment], offset: u64, length: u64, max: u64, boundary: u64) -> Vec<Piece> {
    let mut done = 0;
    std::iter::from_fn(|| {
        let piece = split::first(segments, offset + done, length - done, max, boundary)?;
        done += piece.length;
        Some(piece)
    })
    .take(100)
    .collect()
}

fn total(segments: &[Segment]) -> u64 {
    segments.last().map_or(0, |last| last.offset + last.length)
}

/// Makes a boundary: none, or a power of two from `least` on.
fn boundary(least: u32) -> impl Strategy<Value = u64> {
    prop_oneof![
        1 => Just(0),
        3 => (least..least + 6).prop_map(|bits| 1 << bits),
        1 => (least..64).prop_map(|bits| 1 << bits),
    ]
}

/// Makes a buffer: whole units, empty segments among them, at bus addresses
/// that a segment does not run over the end of.
fn buffer(unit: u64) -> impl Strategy<Value = Vec<Segment>> {
    let bus = prop_oneof![
        0u64..1 << 28,
        any::<u64>(),
        (0u64..64).prop_map(|by| u64::MAX - by)
    ];
    let part = (bus, 0u64..9).prop_map(move |(bus, units)| {
        let length = units * unit;
        // The last byte may be the highest address there is.
        let highest = match length {
            0 => u64::MAX,
            _ => u64::MAX - (length - 1),
        };
        (bus.min(highest) / unit * unit, length)
    });
    prop::collection::vec(part, 0..8).prop_map(|parts| segments(&parts))
}

#[test]
fn a_segment_is_cut_at_the_maximum() {
    let one = segments(&[(0x1000, 10)]);
    let expected = [(0x1000, 4), (0x1004, 4), (0x1008, 2)];
    let expected = expected.map(|(bus, length)| Piece { bus, length });
    assert_eq!(pieces(&one, 0, 10, 4, 0), expected);
}

#[test]
fn a_piece_ends_with_its_segment() {
    // Neighbours on the bus, too: they may be different mappings.
    let two = segments(&[(0x1000, 6), (0x1006, 6)]);
    let expected = [(0x1002, 4), (0x1006, 3)].map(|(bus, length)| Piece { bus, length });
    assert_eq!(pieces(&two, 2, 7, 100, 0), expected);
}

#[test]
fn a_piece_ends_at_a_boundary() {
    let one = segments(&[(0x0ffe, 0x1004)]);
    let at = |offset, boundary| split::first(&one, offset, 0x1004, 0x4000, boundary);
    let piece = |bus, length| Some(Piece { bus, length });
    assert_eq!(at(0, 0x1000), piece(0x0ffe, 2));
    assert_eq!(at(2, 0x1000), piece(0x1000, 0x1000));
    assert_eq!(at(0x1002, 0x1000), piece(0x2000, 2));
    assert_eq!(at(0, 0x4000), piece(0x0ffe, 0x1004));
    let last = segments(&[(u64::MAX, 1)]);
    let piece = split::first(&last, 0, 1, 1, 1 << 63);
    assert_eq!(piece.map(|piece| piece.length), Some(1));
}

#[test]
fn nothing_to_move() {
    let two = segments(&[(0x1000, 6), (0x9000, 6)]);
    assert_eq!(first(&[], 0, 1, 1), None);
    assert_eq!(first(&two, 0, 0, 4), None);
    assert_eq!(first(&two, 6, 0, 4), None);
    assert_eq!(first(&two, 0, 4, 0), None);
    assert_eq!(first(&two, 12, 1, 4), None);
    assert_eq!(first(&two, u64::MAX, 1, 4), None);
}

#[test]
fn before_the_first_segment() {
    let part = [Segment {
        offset: 8,
        bus: 0x1000,
        length: 8,
    }];
    assert_eq!(first(&part, 7, 4, 4), None);
    assert_eq!(
        first(&part, 8, 4, 4),
        Some(Piece {
            bus: 0x1000,
            length: 4
        })
    );
}

#[test]
fn the_end_of_64_bits() {
    // A buffer, and addresses, that end where 64 bits do.
    let all = segments(&[(1, u64::MAX - 1), (u64::MAX, 1)]);
    let last = Piece {
        bus: u64::MAX,
        length: 1,
    };
    assert_eq!(first(&all, u64::MAX - 1, u64::MAX, u64::MAX), Some(last));
    let whole = Piece {
        bus: 1,
        length: u64::MAX - 1,
    };
    assert_eq!(first(&all, 0, u64::MAX, u64::MAX), Some(whole));
    // A segment whose addresses wrap does not exist; it gives no address.
    let wraps = segments(&[(u64::MAX, 2)]);
    assert_eq!(first(&wraps, 1, 1, 1), None);
}

proptest! {
    #![proptest_config(config())]

    /// Byte by byte: the pieces reach what the range names, in order, and
    /// nothing else; none is empty, too long, across a boundary, or shorter than
    /// it must be.
    #[test]
    fn pieces_are_the_range(
        segments in buffer(1),
        offset in 0u64..70,
        length in 0u64..70,
        max in prop_oneof![1u64..12, Just(u64::MAX)],
        boundary in boundary(0),
    ) {
        let all: Vec<u64> = segments
            .iter()
            .flat_map(|segment| (0..segment.length).map(|byte| segment.bus + byte))
            .collect();
        let end = all.len().min(usize::try_from(offset + length)?);
        let expected = all.get(usize::try_from(offset)?..end).unwrap_or_default();

        let pieces = pieces(&segments, offset, length, max, boundary);
        let moved: Vec<u64> = pieces
            .iter()
            .flat_map(|piece| (0..piece.length).map(|byte| piece.bus + byte))
            .collect();
        prop_assert_eq!(&moved[..], expected);

        let mut at = offset;
        for piece in &pieces {
            prop_assert!((1..=max).contains(&piece.length));
            let last = piece.bus + (piece.length - 1);
            if boundary > 0 {
                prop_assert_eq!(piece.bus / boundary, last / boundary);
            }
            let holds = |s: &&Segment| s.offset <= at && at < s.offset + s.length;
            let segment = segments.iter().find(holds);
            let segment = segment.ok_or_else(|| TestCaseError::fail("in no segment"))?;
            // As long as can be: else a card would be asked too often.
            let rest = offset + length - at;
            let bus = segment.bus + (at - segment.offset);
            let below = if boundary > 0 { boundary - bus % boundary } else { u64::MAX };
            let most = rest.min(max).min(segment.offset + segment.length - at).min(below);
            prop_assert_eq!(*piece, Piece { bus, length: most });
            at += piece.length;
        }
        prop_assert_eq!(at, total(&segments).clamp(offset, offset + length));
    }

    /// If buffer, range, maximum and boundary are aligned, so is every piece.
    #[test]
    fn pieces_stay_aligned(
        segments in buffer(64),
        offset in 0u64..70,
        length in 0u64..70,
        max in 1u64..12,
        boundary in boundary(6),
    ) {
        for piece in pieces(&segments, offset * 64, length * 64, max * 64, boundary) {
            prop_assert_eq!(piece.bus % 64, 0);
            prop_assert_eq!(piece.length % 64, 0);
        }
    }
}

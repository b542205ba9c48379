// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where in the buffers the blocks lie. Arithmetic only.

use std::ops::Range;

use rand::Rng;

use super::HUGE_PAGE;

/// Bytes on each side of a destination that must not change.
pub(super) const GUARD: u64 = 64;

/// One block: from a place in one buffer to a place in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) name: &'static str,
    pub(super) from: Range<u64>,
    pub(super) to: Range<u64>,
}

/// Chooses three blocks of at most `block` bytes: at the beginning of the
/// source, at its end, and across the boundary of a huge page (or of the
/// middle, if it has none). Their destinations are random places in the
/// sixteenths 9, 11 and 13 of theirs, so that none touches another's source or
/// guards even if both buffers are the same. Nothing if a buffer is too small.
pub(super) fn blocks(
    source: u64,
    destination: u64,
    block: u64,
    alignment: u64,
    random: &mut impl Rng,
) -> Vec<Block> {
    let alignment = alignment.max(1);
    let down = |value: u64| value - value % alignment;
    let room = destination / 16;
    // A sixteenth holds a block with its guards, and then some.
    let length = down(block.min(room / 4).min(source / 16));
    if length == 0 || room < length + 2 * GUARD + alignment {
        return Vec::new();
    }
    let across = if source >= 2 * HUGE_PAGE {
        HUGE_PAGE
    } else {
        source / 2
    };
    let sources = [
        ("first", 0),
        ("last", down(source - length)),
        ("across", down(across - length / 2)),
    ];
    sources
        .into_iter()
        // Behind the middle: a boundary of huge pages lies before it.
        .zip([9, 11, 13])
        .map(|((name, from), sixteenth)| {
            let jitter = random.random_range(0..=room - length - 2 * GUARD - alignment);
            let to = down(sixteenth * room + GUARD + alignment + jitter);
            Block {
                name,
                from: from..from + length,
                to: to..to + length,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::SeedableRng as _;

    use super::*;

    fn widened(range: &Range<u64>) -> Range<u64> {
        range.start - GUARD..range.end + GUARD
    }

    fn apart(a: &Range<u64>, b: &Range<u64>) -> bool {
        a.end <= b.start || b.end <= a.start
    }

    #[test]
    fn blocks_stay_inside_and_apart() {
        let sizes = [
            64 << 10,
            1 << 20,
            2 << 20,
            4 << 20,
            32 << 20,
            64 << 20,
            (64 << 20) + 4096,
        ];
        for seed in 0..50 {
            for source in sizes {
                for destination in sizes {
                    for alignment in [1, 4, 64] {
                        let mut random = SmallRng::seed_from_u64(seed);
                        let blocks = blocks(source, destination, 4096, alignment, &mut random);
                        assert_eq!(blocks.len(), 3, "{source} {destination}");
                        for block in &blocks {
                            assert!(block.from.end <= source, "{block:?}");
                            assert!(widened(&block.to).end <= destination, "{block:?}");
                            assert_eq!(block.from.start % alignment, 0);
                            assert_eq!(block.to.start % alignment, 0);
                            assert_eq!((block.from.end - block.from.start) % alignment, 0);
                        }
                        for (index, block) in blocks.iter().enumerate() {
                            for other in &blocks[index + 1..] {
                                assert!(
                                    apart(&widened(&block.to), &widened(&other.to)),
                                    "{blocks:?}"
                                );
                            }
                            for other in &blocks {
                                let same = source == destination;
                                assert!(
                                    !same || apart(&widened(&block.to), &other.from),
                                    "{source}: {blocks:?}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_last_ends_at_the_end_and_one_crosses() {
        let mut random = SmallRng::seed_from_u64(1);
        let blocks = blocks(32 << 20, 64 << 20, 4096, 1, &mut random);
        assert_eq!(blocks[0].from, 0..4096);
        assert_eq!(blocks[1].from, (32 << 20) - 4096..32 << 20);
        assert_eq!(blocks[2].from, HUGE_PAGE - 2048..HUGE_PAGE + 2048);
    }

    #[test]
    fn too_small_gives_nothing() {
        let mut random = SmallRng::seed_from_u64(1);
        assert!(blocks(0, 1 << 20, 4096, 4, &mut random).is_empty());
        assert!(blocks(1 << 20, 512, 4096, 4, &mut random).is_empty());
    }
}

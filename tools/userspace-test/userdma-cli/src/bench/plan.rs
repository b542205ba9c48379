// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is measured: arithmetic only.

use std::ops::Range;
use std::time::Duration;

use anyhow::bail;
use serde::Serialize;
use userdma::Bytes;
use userdma::Info;

use crate::cli;
use crate::cli::Channels;
use crate::cli::Direction;

/// The smallest transfer, unless others are asked for, and by what the next is larger.
const FIRST: u64 = 4096;
const STEP: u64 = 4;

/// The largest, unless others are asked for: beyond it nothing changes.
const LAST: u64 = 64 << 20;

/// Memory that is used, if the transfers in flight have that much: more than
/// processors keep in their caches.
const ROOM: u64 = 16 << 20;

/// What is measured, of each kind of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) groups: Vec<Group>,
    /// Bytes of a transfer: a row for each.
    pub(super) blocks: Vec<u64>,
    /// Transfers in flight where the queue is kept full.
    pub(super) flight: usize,
    /// Transfers that are submitted together, at least.
    pub(super) batch: usize,
    /// Time of each of the two parts of a row.
    pub(super) time: Duration,
    /// Bytes of memory.
    pub(super) memory: u64,
    /// The part of the card's memory.
    pub(super) card: Range<u64>,
}

/// What rows have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Group {
    pub(super) direction: Direction,
    /// Used at once.
    pub(super) channels: Vec<u16>,
}

impl Plan {
    /// Plans for a card, of whose memory `card` is used.
    pub(super) fn new(options: &cli::Bench, info: &Info, card: Range<u64>) -> anyhow::Result<Self> {
        let blocks = blocks(options, info, card.end - card.start)?;
        let flight = flight(options, info)?;
        let batch = options.batch;
        if batch > u64::from(flight) {
            bail!(
                "--batch {batch} is more than are in flight\n  limit: --flight, which is {flight}"
            );
        }
        let largest = blocks.iter().copied().max().unwrap_or(FIRST);
        Ok(Self {
            groups: groups(options, info)?,
            memory: largest.max(ROOM.min(largest.saturating_mul(flight.into()))),
            blocks,
            flight: usize::try_from(flight)?,
            batch: usize::try_from(batch)?,
            time: options.time / 2,
            card,
        })
    }

    /// Gives where the transfer with this number is in the memory, of which there are `length`
    /// bytes, and where in the card's: each begins behind the one before it.
    pub(super) fn place(&self, number: u64, block: u64, length: u64) -> (Range<u64>, u64) {
        let turn = |room: u64| number % (room / block).max(1) * block;
        let begin = turn(length);
        let card = self.card.start + turn(self.card.end - self.card.start);
        (begin..begin + block, card)
    }

    /// Gives whether the card's memory is written to.
    pub(super) fn writes(&self) -> bool {
        let mut groups = self.groups.iter();
        groups.any(|group| group.direction == Direction::ToCard)
    }
}

fn blocks(options: &cli::Bench, info: &Info, room: u64) -> anyhow::Result<Vec<u64>> {
    let alignment = u64::from(info.alignment.max(1));
    let largest = info.max_transfer.min(room);
    let largest = largest - largest % alignment;
    if largest == 0 {
        bail!(
            "there is nothing to move: {} of the card's memory were given\n  limit: multiples of {}",
            Bytes(room),
            Bytes(alignment)
        );
    }
    if options.block.is_empty() {
        // Whatever the limit is, something is tried: the driver then says what it is.
        let last = largest.min(LAST).min(info.limits.file.max(alignment));
        let first = FIRST.next_multiple_of(alignment).min(last);
        let blocks = std::iter::successors(Some(first), |block| block.checked_mul(STEP));
        return Ok(blocks.take_while(|block| *block <= last).collect());
    }
    let wrong = |block: &&u64| **block == 0 || **block > largest || **block % alignment != 0;
    if let Some(block) = options.block.iter().find(wrong) {
        let steps = match alignment {
            1 => String::new(),
            bytes => format!(", in steps of {bytes}"),
        };
        bail!(
            "--block {block} is not what one transfer can move here\n  limit: {alignment} to {largest} \
             bytes{steps}, as one transfer may have {}, and the part of the card's memory has {}\n  \
             try: --block {largest}",
            Bytes(info.max_transfer),
            Bytes(room)
        );
    }
    Ok(options.block.clone())
}

fn flight(options: &cli::Bench, info: &Info) -> anyhow::Result<u32> {
    let most = info.depth.max(1);
    match options.flight {
        None => Ok(most),
        Some(flight) => match u32::try_from(flight) {
            Ok(flight) if flight <= most => Ok(flight),
            _ => bail!("--flight {flight} is more than an open file may have\n  limit: {most}"),
        },
    }
}

fn groups(options: &cli::Bench, info: &Info) -> anyhow::Result<Vec<Group>> {
    let directions = match options.direction {
        Direction::Both => vec![Direction::FromCard, Direction::ToCard],
        one => vec![one],
    };
    for direction in &directions {
        let (able, other) = match direction {
            Direction::ToCard => (info.capabilities.to_card, "from-card"),
            _ => (
                info.capabilities.from_card,
                "to-card, which overwrites its memory",
            ),
        };
        if !able {
            bail!(
                "the card does not move data {}\n  try: --direction {other}",
                cli::name(direction)
            );
        }
    }
    let all = 0..u16::try_from(info.channels.max(1)).unwrap_or(u16::MAX);
    let channels = match &options.channels {
        Channels::All => vec![all.collect()],
        Channels::Each => all.map(|channel| vec![channel]).collect(),
        Channels::These(list) => {
            if let Some(channel) = list.iter().find(|channel| !all.contains(channel)) {
                bail!(
                    "the card has no channel {channel}\n  limit: channels 0 to {}",
                    all.end - 1
                );
            }
            vec![list.clone()]
        }
    };
    let group = |direction: Direction| {
        channels.iter().map(move |channels| Group {
            direction,
            channels: channels.clone(),
        })
    };
    Ok(directions.into_iter().flat_map(group).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use userdma::sys;

    use super::*;

    /// A card with a few channels, as the kernel tells of it.
    fn info(card_size: u64, max_transfer: u64, alignment: u32) -> Info {
        Info::from(&sys::userdma_info {
            out_capabilities: u64::from(sys::USERDMA_CAP_TO_CARD | sys::USERDMA_CAP_FROM_CARD),
            out_card_size: card_size,
            out_max_transfer: max_transfer,
            out_alignment: alignment,
            out_channels: 4,
            out_depth: 128,
            out_limit_file: 240 << 20,
            ..sys::userdma_info::default()
        })
    }

    /// The plan for `userdma bench` with these arguments, or why there is none.
    fn plan(info: &Info, arguments: &str) -> Result<Plan, String> {
        let words = ["userdma", "bench"].into_iter();
        let cli = cli::Cli::try_parse_from(words.chain(arguments.split_whitespace()));
        let cli::Command::Bench(options) = cli.map_err(|error| error.to_string())?.command else {
            return Err("another command".to_owned());
        };
        let length = options.length.unwrap_or(info.card_size - options.offset);
        let card = options.offset..options.offset + length;
        Plan::new(&options, info, card).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_asks_for_nothing_that_the_card_cannot() {
        // One of which no user may have memory.
        let mut forbidden = info(4096, 4096, 1);
        forbidden.limits.file = 0;
        let kib = |sizes: &[u64]| sizes.iter().map(|size| size << 10).collect::<Vec<_>>();
        for (info, blocks) in [
            (
                info(4 << 20, 4 << 20, 1),
                kib(&[4, 16, 64, 256, 1024, 4096]),
            ),
            // QEMU's, one that takes little at once, and one that is very large.
            (info(4096, 4096, 4), kib(&[4])),
            (info(1 << 30, 100_000, 64), kib(&[4, 16, 64])),
            (
                info(1 << 40, 1 << 40, 8192),
                kib(&[8, 32, 128, 512, 2048, 8192, 32768]),
            ),
            (info(2050, 4096, 4), vec![2048]),
            (forbidden, vec![1]),
        ] {
            let plan = plan(&info, "").expect("a card that moves data");
            assert_eq!(plan.blocks, blocks);
            assert!(!plan.writes());
            assert_eq!((plan.flight, plan.batch), (128, 1));
            assert_eq!(plan.time, Duration::from_millis(500));
            assert_eq!(plan.groups.len(), 1);
            assert_eq!(plan.groups[0].channels, [0, 1, 2, 3]);
        }
        let info = info(4 << 20, 4 << 20, 1);
        assert_eq!(
            plan(&info, "--length 64k").map(|plan| plan.blocks.len()),
            Ok(3)
        );
    }

    #[test]
    fn what_is_asked_for_is_planned() {
        let info = info(4 << 20, 4 << 20, 1);
        let arguments =
            "--size 100,1MiB --direction both --channels each --depth 8 --batch 4 --time 3s";
        let plan = plan(&info, arguments).expect("all of it is possible");
        assert_eq!(plan.blocks, [100, 1 << 20]);
        assert_eq!((plan.flight, plan.batch), (8, 4));
        assert_eq!(plan.time, Duration::from_millis(1500));
        assert!(plan.writes());
        let groups: Vec<_> = plan
            .groups
            .iter()
            .map(|it| (it.direction, &*it.channels))
            .collect();
        assert_eq!(groups.len(), 8);
        assert_eq!(groups[3], (Direction::FromCard, &[3][..]));
        assert_eq!(groups[4], (Direction::ToCard, &[0][..]));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_limit() {
        let card = info(4 << 20, 1 << 20, 4);
        for (arguments, words) in [
            (
                "--block 4k,2MiB",
                "limit: 4 to 1048576 bytes, in steps of 4",
            ),
            ("--block 4k,2MiB", "try: --block 1048576"),
            ("--block 0", "--block 0 is not"),
            ("--block 4098", "--block 4098 is not"),
            ("--block 64k --length 4k", "try: --block 4096"),
            ("--length 3", "nothing to move"),
            ("--flight 129", "limit: 128"),
            ("--flight 0", "not in"),
            ("--flight 4 --batch 5", "--flight, which is 4"),
            ("--channels 1,4", "limit: channels 0 to 3"),
            ("--channels some", "give all, each, or numbers"),
            ("--memory cotton", "memfd-hugetlb"),
            ("--block 4k,many", "give bytes"),
            ("--time soon", "--time"),
        ] {
            let error = plan(&card, arguments).expect_err(arguments);
            assert!(error.contains(words), "{arguments}: {error}");
        }
        let mute = Info::from(&sys::userdma_info {
            out_card_size: 4096,
            out_max_transfer: 4096,
            ..sys::userdma_info::default()
        });
        let error = plan(&mute, "").expect_err("it moves nothing");
        assert!(
            error.contains("from-card\n  try: --direction to-card"),
            "{error}"
        );
    }

    #[test]
    fn places_stay_inside_and_differ() {
        let info = info(4 << 20, 4 << 20, 1);
        for arguments in [
            "--block 1MiB --offset 512k",
            "--block 100000 --offset 3",
            "--block 4k",
        ] {
            let plan = plan(&info, arguments).expect("all of it is possible");
            let block = plan.blocks[0];
            assert!(plan.memory >= block);
            let places: Vec<_> = (0..200)
                .map(|number| plan.place(number, block, plan.memory))
                .collect();
            for (memory, card) in &places {
                assert_eq!(memory.end - memory.start, block);
                assert!(memory.end <= plan.memory);
                assert!(*card >= plan.card.start && card + block <= plan.card.end);
            }
            assert!(places
                .windows(2)
                .all(|two| two[0].0 != two[1].0 && two[0].1 != two[1].1));
        }
    }
}

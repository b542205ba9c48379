// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The command that measures: `bench`.

use std::time::Duration;

use clap::builder::PossibleValue;
use clap::Args;
use clap::ValueEnum;
use serde::Serialize;

use super::Kind;
use super::Own;
use crate::number;

#[derive(Debug, Args)]
#[command(after_help = "\
A row for each size, direction and kind of memory. In the first half of its
time one transfer is made at a time: how long it takes, as the program sees it
and as the card does. In the second half the queue is kept full: how much is
moved. --way uring and sqpoll do not tell the card's part of the time.

With --direction to-card and both it OVERWRITES the card's memory, from
--offset on. Else the card is opened for reading only. Nothing is compared:
`userdma demo` and `userdma copy --verify` do that. Whatever else uses the
card, or the machine, is in the figures.

Ctrl-C ends it, with what was measured until then.

Examples:
  userdma bench                              from the card, by size
  userdma bench --block 4k,1MiB --direction both
  userdma bench --memory coherent,huge,thp   which memory is best
  userdma bench --channels each              each channel by itself
  userdma bench --flight 1 --block 4k        no queue
  userdma bench --json | jq '.rows[].bytes_per_second'")]
pub(crate) struct Bench {
    /// Which way the data goes; to-card overwrites the card's memory
    #[arg(long, value_name = "WAY", default_value = "from-card")]
    pub(crate) direction: Direction,

    /// Bytes of one transfer: one or several, a row for each [default: from 4KiB
    /// on by fours, as far as the card goes, at most 64MiB]
    #[arg(long, visible_alias = "size", value_name = "SIZE", value_delimiter = ',',
        value_parser = number::size)]
    pub(crate) block: Vec<u64>,

    /// Kind of memory: one or several
    #[arg(
        long,
        value_name = "KIND",
        value_delimiter = ',',
        default_value = "huge"
    )]
    pub(crate) memory: Vec<AnyKind>,

    /// Channels: all at once, each by itself, or these at once, as 0,2
    #[arg(long, value_name = "all|each|N,N", default_value = "all",
        value_parser = Channels::parse)]
    pub(crate) channels: Channels,

    /// Transfers in flight where the queue is kept full [default: as many as an open
    /// file may have]
    #[arg(long, visible_alias = "depth", value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) flight: Option<u64>,

    /// Transfers that are submitted together, and waited for together, at least
    #[arg(long, value_name = "N", default_value = "1",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) batch: u64,

    /// By which calls
    #[arg(long, value_name = "CALLS", default_value = "ioctl")]
    pub(crate) way: Way,

    /// Time for each row, as 500ms or 1min
    #[arg(long, value_name = "TIME", default_value = "1s",
        value_parser = humantime::parse_duration)]
    pub(crate) time: Duration,

    /// First byte of the card's memory to use
    #[arg(long, short = 's', default_value = "0", value_parser = number::size)]
    pub(crate) offset: u64,

    /// Bytes of the card's memory to use [default: to its end]
    #[arg(long, short, value_parser = number::size)]
    pub(crate) length: Option<u64>,

    /// Print JSON; sizes are in bytes, times in nanoseconds
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Direction {
    /// From the card's memory, which stays as it is
    FromCard,
    /// To the card's memory, which is overwritten
    ToCard,
    /// First from the card, then to it; its memory is overwritten
    Both,
}

/// By which calls transfers are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    /// The ioctls SUBMIT and WAIT
    Ioctl,
    /// io_uring
    Uring,
    /// io_uring, with a thread of the kernel's that submits (SQPOLL)
    Sqpoll,
}

/// Memory of any kind: the driver's, or the program's own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AnyKind {
    Driver(Kind),
    Own(Own),
}

impl ValueEnum for AnyKind {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Driver(Kind::Coherent),
            Self::Driver(Kind::Huge),
            Self::Own(Own::Anonymous),
            Self::Own(Own::Thp),
            Self::Own(Own::Hugetlb),
            Self::Own(Own::Memfd),
            Self::Own(Own::MemfdHugetlb),
            Self::Own(Own::Gigantic),
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Driver(kind) => kind.to_possible_value(),
            Self::Own(kind) => kind.to_possible_value(),
        }
    }
}

/// Which channels are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Channels {
    /// All of the card's at once.
    All,
    /// All of the card's, one after the other.
    Each,
    /// These at once.
    These(Vec<u16>),
}

impl Channels {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "all" => return Ok(Self::All),
            "each" => return Ok(Self::Each),
            _ => {}
        }
        let mut channels = text
            .split(',')
            .map(|number| number.trim().parse())
            .collect::<Result<Vec<u16>, _>>()
            .map_err(|error| format!("{error}; give all, each, or numbers, as 0,2"))?;
        channels.sort_unstable();
        channels.dedup();
        Ok(Self::These(channels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_read() {
        assert_eq!(Channels::parse("all"), Ok(Channels::All));
        assert_eq!(Channels::parse("each"), Ok(Channels::Each));
        let these = |list: &[u16]| Ok(Channels::These(list.to_vec()));
        assert_eq!(Channels::parse("2"), these(&[2]));
        // One channel is used once, however often it is named.
        assert_eq!(Channels::parse("3, 0,3"), these(&[0, 3]));
        for wrong in ["", "some", "-1", "0,", "65536"] {
            assert!(Channels::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_kinds_of_memory_can_be_measured() {
        let names = |values: Vec<Option<PossibleValue>>| -> Vec<_> {
            let names = values.into_iter().flatten();
            names.map(|value| value.get_name().to_owned()).collect()
        };
        let driver = Kind::value_variants().iter().map(Kind::to_possible_value);
        let own = Own::value_variants().iter().map(Own::to_possible_value);
        let all = AnyKind::value_variants();
        assert_eq!(
            names(all.iter().map(AnyKind::to_possible_value).collect()),
            names(driver.chain(own).collect())
        );
    }
}

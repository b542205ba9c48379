// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What can be asked of the command, and how it explains itself.

mod bench;
mod card;
mod memory;

use std::path::PathBuf;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;
use clap_complete::Shell;

pub(crate) use self::bench::AnyKind;
pub(crate) use self::bench::Bench;
pub(crate) use self::bench::Channels;
pub(crate) use self::bench::Direction;
pub(crate) use self::bench::Way;
pub(crate) use self::card::Copy;
pub(crate) use self::card::Inject;
pub(crate) use self::card::Injection;
pub(crate) use self::card::Read;
pub(crate) use self::card::Write;
pub(crate) use self::memory::Alloc;
pub(crate) use self::memory::Kind;
pub(crate) use self::memory::Own;
pub(crate) use self::memory::Register;
use crate::number;

const EXAMPLES: &str = "\
Examples:
  userdma info                      what cards there are and what they can do
  userdma demo                      try each card from end to end
  userdma alloc huge 64MiB --touch  a buffer in huge pages, and what it costs
  userdma register thp 64MiB        the program's own memory, and what it costs
  userdma read                      the card's memory as a hex dump
  userdma write firmware.bin        a file into the card's memory
  userdma copy card:0+1M data.bin   the same and back, fast, on all channels
  userdma bench                     how fast the card is, on this machine

Units:
  Sizes and offsets are bytes, or have a suffix: 4k, 32MiB, 1G (all binary), or
  are hexadecimal: 0x1000.

Exit status:
  0  it worked
  1  it did not, and the reason was printed
  2  the command line makes no sense
  3  there is no device, or this user may not open it";

/// Zero-copy access to the DMA buffers of PCI cards
///
/// Needs the kernel module userdma, and a card that it drives: QEMU's `edu`
/// device is one. Each card has a node /dev/userdmaN.
#[derive(Debug, Parser)]
#[command(name = "userdma", version, after_help = EXAMPLES, propagate_version = true)]
#[command(
    max_term_width = 80,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// The card: a node, or the N of /dev/userdmaN [default: the lowest N]
    #[arg(
        long,
        short,
        global = true,
        value_name = "N|PATH",
        env = "USERDMA_DEVICE",
        hide_env_values = true
    )]
    pub(crate) device: Option<String>,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what the cards are and what they can do
    Info(Info),
    /// Try each card from end to end, in a few seconds
    Demo(Demo),
    /// Allocate a buffer and show what was got
    Alloc(Alloc),
    /// Register a program's own memory, show what it costs, and try it
    Register(Register),
    /// Read the card's own memory
    Read(Read),
    /// Write the card's own memory
    Write(Write),
    /// Copy between the card's memory and files, without a copy in between
    Copy(Copy),
    /// Measure how fast a card is: throughput and latency by size
    Bench(Bench),
    /// Make a card go wrong (in the laboratory, models of cards)
    Inject(Inject),
    /// Run the test suites of the driver (KTAP output; as root, in a guest)
    #[command(after_help = SELFTEST_EXAMPLES)]
    Selftest(userdma_selftest::Options),
    /// Print a script that lets a shell complete this command
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print a page of the manual
    #[command(after_help = MAN_EXAMPLES)]
    Man(Man),
}

const SELFTEST_EXAMPLES: &str = "\
The tests unbind, rebind and reload the module, and fill memory: run them in a
virtual machine, as root. Output is KTAP version 1, one line for each test.

Examples:
  userdma selftest --list           the names of the tests
  userdma selftest 'abi.*'          only those
  userdma selftest --seed 7         repeat a run";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  userdma completions bash > /etc/bash_completion.d/userdma
  userdma completions fish > ~/.config/fish/completions/userdma.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  userdma man | man -l -            read it now
  userdma man alloc | man -l -      the page of one command
  userdma man --directory /usr/local/share/man/man1";

/// Shows all cards, or the one that --device names.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  userdma info
  userdma info --json | jq -r '.[].bus_name'")]
pub(crate) struct Info {
    /// Print JSON: an array with an object for each card; sizes are in bytes
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Shows all cards, or the one that --device names. For each it allocates a coherent
and a huge buffer, registers memory of its own, sends random blocks from each
through the card to the next, compares them, moves all of the huge buffer in one
batch (some transfers only, if the card is slow), and counts page faults,
descriptors, doorbells and interrupts.
What cannot be had is explained, the rest is tried with less; the last line is
OK or FAILED, and the exit status says the same.

Examples:
  userdma demo
  userdma demo --seed 42            the same blocks at the same places
  userdma demo --coherent 4MiB --huge 16MiB")]
pub(crate) struct Demo {
    /// Begin the random numbers here; shown by each run
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Size of the coherent buffer
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = number::size)]
    pub(crate) coherent: u64,

    /// Size of the huge buffer
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = number::size)]
    pub(crate) huge: u64,

    /// Size of the memory that is registered
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = number::size)]
    pub(crate) registered: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The page of this command, as alloc [default: the first page]
    #[arg(conflicts_with = "directory")]
    pub(crate) page: Option<String>,

    /// Write all pages into this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
}

/// What a value is called on the command line.
pub(crate) fn name(value: &impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or(String::new(), |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_fits_a_narrow_terminal() {
        let mut command = Cli::command();
        command.build();
        for page in std::iter::once(&mut command.clone()).chain(command.get_subcommands_mut()) {
            let text = page.render_long_help().to_string();
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", page.get_name());
            }
        }
    }

    #[test]
    fn arguments_are_understood() {
        let cli = Cli::try_parse_from(["userdma", "alloc", "huge", "64MiB", "--touch", "-d", "1"]);
        let cli = cli.expect("a good command line");
        assert_eq!(cli.device.as_deref(), Some("1"));
        assert!(matches!(
            cli.command,
            Command::Alloc(Alloc {
                size: 0x400_0000,
                touch: true,
                ..
            })
        ));
        let cli = Cli::try_parse_from(["userdma", "register", "malloc", "1M", "--times", "3"]);
        assert!(matches!(
            cli.expect("a good command line").command,
            Command::Register(Register {
                kind: Own::Anonymous,
                times: 3,
                ..
            })
        ));
        let cli = Cli::try_parse_from(["userdma", "inject", "slow", "--channel", "2", "--ms", "9"]);
        assert!(matches!(
            cli.expect("a good command line").command,
            Command::Inject(Inject {
                what: Injection::Slow,
                channel: 2,
                count: 1,
                ms: Some(9),
                ..
            })
        ));
        for wrong in [
            &["userdma", "register", "thp", "1M", "--times", "0"][..],
            &["userdma", "inject", "slow"],
            &["userdma", "inject", "coffee"],
            &["userdma", "copy", "card"],
            &["userdma", "copy", "card:x", "file"],
            &["userdma"],
            &["userdma", "alloc", "huge"],
            &["userdma", "alloc", "big", "1"],
        ] {
            assert!(Cli::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What can be asked of the command, and how it explains itself.

use std::path::PathBuf;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;
use clap_complete::Shell;

use crate::number;

const EXAMPLES: &str = "\
Examples:
  userdma info                      what cards there are and what they can do
  userdma demo                      try each card from end to end
  userdma alloc huge 64MiB --touch  a buffer in huge pages, and what it costs
  userdma register thp 64MiB        the program's own memory, and what it costs
  userdma read                      the card's memory as a hex dump
  userdma write firmware.bin        a file into the card's memory

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

/// Kinds of buffers.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// Memory that card and program see alike at all times
    Coherent,
    /// Pages of 2 MiB or 1 GiB: ordinary memory to programs, few segments to
    /// the card
    Huge,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The buffer is freed when the command ends, so this tells whether an allocation
would work, and what it costs. When it does not work, it tells why.

Examples:
  userdma alloc coherent 32MiB
  userdma alloc huge 64MiB --touch  and count the page faults of using it all
  userdma alloc huge 1G --fallback  smaller pages rather than none
  userdma alloc huge 4G --page-size 1GiB   one segment a page (as root)
  userdma alloc huge 1G --hold      keep it until Enter or Ctrl-C")]
pub(crate) struct Alloc {
    /// Kind of buffer
    pub(crate) kind: Kind,

    /// Bytes wanted; rounded up to whole pages
    #[arg(value_parser = number::size)]
    pub(crate) size: u64,

    /// Size of a huge buffer's pages: 2MiB or 1GiB [default: 2MiB]
    #[arg(long, value_name = "SIZE", value_parser = number::size)]
    pub(crate) page_size: Option<u64>,

    /// Allocate on this NUMA node and nowhere else
    #[arg(long, value_name = "N")]
    pub(crate) node: Option<u32>,

    /// Take smaller pages where there are no huge ones
    #[arg(long)]
    pub(crate) fallback: bool,

    /// Fail if the driver would have to copy each transfer, as the card
    /// cannot reach the memory
    #[arg(long)]
    pub(crate) no_bounce: bool,

    /// Map it, touch each page, and show how many page faults that took
    #[arg(long)]
    pub(crate) touch: bool,

    /// Keep it until Enter, the end of standard input, or a signal
    #[arg(long)]
    pub(crate) hold: bool,

    /// Print JSON; sizes are in bytes
    #[arg(long)]
    pub(crate) json: bool,
}

/// Kinds of memory.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Own {
    /// As malloc gives it, in pages of 4 KiB
    #[value(alias = "malloc")]
    Anonymous,
    /// As malloc gives it, in transparent huge pages where there are some
    Thp,
    /// Anonymous, in pages of 2 MiB from the kernel's pool
    Hugetlb,
    /// A memfd in pages of 4 KiB
    Memfd,
    /// A memfd in pages of 2 MiB from the kernel's pool
    MemfdHugetlb,
    /// A memfd in pages of 1 GiB from the kernel's pool
    #[value(name = "1g")]
    Gigantic,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Memory that a program already has is pinned, so that the card reaches it without
a copy. How much a process may pin is RLIMIT_MEMLOCK (ulimit -l); what it has
pinned is VmLck in /proc/PID/status. The larger the pages, the fewer the segments
that the card sees, and the less it costs.

Blocks of random data go from the memory through the card and back, and are
compared. Huge pages that the pool lacks are made, if this user may, and go back
to the system afterwards.

Examples:
  userdma register anonymous 64MiB
  userdma register thp 64MiB --times 20    what it costs, more exactly
  userdma register 1g 1GiB                 one segment a page (as root)
  userdma register thp 64MiB --limit 8MiB  what a user meets whose limit that is")]
pub(crate) struct Register {
    /// Kind of memory
    pub(crate) kind: Own,

    /// Bytes; rounded up to whole pages
    #[arg(value_parser = number::size)]
    pub(crate) size: u64,

    /// Let the card only read it
    #[arg(long)]
    pub(crate) source: bool,

    /// Fail if the driver would have to copy each transfer, as the card
    /// cannot reach the memory
    #[arg(long)]
    pub(crate) no_bounce: bool,

    /// Take only huge pages that are set aside, and make none
    #[arg(long)]
    pub(crate) no_reserve: bool,

    /// Do it with this RLIMIT_MEMLOCK and without CAP_IPC_LOCK, which would
    /// lift it
    #[arg(long, value_name = "SIZE", value_parser = number::size)]
    pub(crate) limit: Option<u64>,

    /// Register and unregister it so often, and show the times
    #[arg(long, value_name = "N", default_value = "1",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) times: u32,

    /// Print JSON; sizes are in bytes
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Prints a hex dump, or with --output the bytes as they are. A progress bar is
shown on a terminal: QEMU's card moves 40 KiB a second.

Examples:
  userdma read --offset 0x100 --length 64
  userdma read --output card.bin
  userdma read --output - | sha256sum")]
pub(crate) struct Read {
    /// First byte to read
    #[arg(long, short = 's', default_value = "0", value_parser = number::size)]
    pub(crate) offset: u64,

    /// Bytes to read [default: to the end of the card's memory]
    #[arg(long, short, value_parser = number::size)]
    pub(crate) length: Option<u64>,

    /// Write the bytes to this file; - is standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A file that does not fit is refused before anything is written; of a pipe what
fits is written.

Examples:
  userdma write firmware.bin
  userdma write --offset 0x800 --length 16 /dev/zero
  echo hello | userdma write -")]
pub(crate) struct Write {
    /// Where the bytes come from; - is standard input
    pub(crate) input: PathBuf,

    /// First byte of the card's memory to write
    #[arg(long, short = 's', default_value = "0", value_parser = number::size)]
    pub(crate) offset: u64,

    /// Bytes to write [default: to the end of the input]
    #[arg(long, short, value_parser = number::size)]
    pub(crate) length: Option<u64>,
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
        for wrong in [
            &["userdma", "register", "thp", "1M", "--times", "0"][..],
            &["userdma"],
            &["userdma", "alloc", "huge"],
            &["userdma", "alloc", "big", "1"],
        ] {
            assert!(Cli::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }
}

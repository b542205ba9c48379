// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Commands about the card's own memory, `read`, `write` and `copy`, and about what
//! is to go wrong with the card, `inject`.

use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;

use crate::copy::Place;
use crate::number;

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
#[command(after_help = "\
A place is card:OFFSET, card:OFFSET+LENGTH or card (from 0 on), else the name of a
file; - is standard input or output, and ./card is a file. One of the two is the
card, or both are. Without a length all of a file is copied, and from the card all
to the end of its memory.

The data goes through huge pages that the card reaches itself: a file is read into
them and written from them, and nothing is copied in between. Several transfers
are in flight, on all channels that the card has. `read` and `write` do the same
with read() and write(), one transfer at a time.

Examples:
  userdma copy firmware.bin card
  userdma copy card:0x100000+1MiB samples.bin
  userdma copy card:0+1MiB card:2MiB
  userdma copy card - | sha256sum
  zcat bitstream.gz | userdma copy --verify - card:4k")]
pub(crate) struct Copy {
    /// Where the bytes come from
    #[arg(value_parser = Place::parse)]
    pub(crate) source: Place,

    /// Where they go
    #[arg(value_parser = Place::parse)]
    pub(crate) destination: Place,

    /// Read back what was written, and compare
    #[arg(long)]
    pub(crate) verify: bool,

    /// Bytes of one transfer [default: 1MiB, or what the card can]
    #[arg(long, value_name = "SIZE", value_parser = number::size)]
    pub(crate) block: Option<u64>,

    /// Pieces in flight at once [default: two for each channel]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) flight: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
For the laboratory: cards that are models (edu-daq) can be told to go wrong, so
that a program or a driver can be tried against it. `make shell` gives a guest
with such a card. Elsewhere there is nobody to tell.

late-interrupt, slow and slow-all need --ms. A fault waits on its channel for the
next chain of descriptors, or the next interrupt. What the driver makes of each is
in Documentation/edu-daq.rst and in its log (dmesg).

Examples:
  userdma inject list                        the faults, and the models there are
  userdma inject error --channel 2           a transfer of channel 2 fails
  userdma inject lost-interrupt --count 3
  userdma inject slow-all --ms 20            until userdma inject heal
  userdma inject report                      what the card found fault with")]
pub(crate) struct Inject {
    /// A fault, or what to do
    pub(crate) what: Injection,

    /// The channel that it befalls
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) channel: u32,

    /// How many times, one after the other
    #[arg(long, value_name = "K", default_value = "1",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,

    /// How late, or how slow, in milliseconds
    #[arg(long, value_name = "T",
        required_if_eq_any = [("what", "late-interrupt"), ("what", "slow"), ("what", "slow-all")])]
    pub(crate) ms: Option<u64>,

    /// Print what the card answers, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What can be asked of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Injection {
    /// The interrupt comes later
    LateInterrupt,
    /// The interrupt does not come
    LostInterrupt,
    /// The interrupt comes twice
    DoubleInterrupt,
    /// An interrupt comes now, for nothing
    SpuriousInterrupt,
    /// A transfer fails, after half of it
    Error,
    /// A transfer ends well, after half of it
    Short,
    /// The channel stops in the middle of a transfer, until it is reset
    Stuck,
    /// The same, and a reset does not help
    StuckHard,
    /// A transfer takes longer
    Slow,
    /// Each transfer takes longer, until heal
    SlowAll,
    /// End all faults
    Heal,
    /// Show what the driver did that a card does not forgive
    Report,
    /// Show what the card has done so far
    Counters,
    /// Show the faults, and the models there are
    List,
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A model of `edu-daq`, the data acquisition card of Documentation/edu-daq.rst,
//! which says what everything here means. The way of a transfer:
//!
//! ```text
//! card ── channel ── worker ─┬─ copying ──┬── worker ── interrupts
//!                            └─ sampling ─┘
//! ```
//!
//! * [`registers`]: where they are;
//! * [`card`]: the card as QEMU sees it, and the registers of the card;
//! * [`channel`]: the registers of a channel; answers at once;
//! * [`worker`]: a thread for each channel: takes chains, writes completions;
//! * [`copying`], [`sampling`]: what it does with a chain;
//! * [`interrupts`]: a thread for those that come later;
//! * [`control`]: the requests of the control socket;
//! * [`ring`], [`chain`], [`moderation`], [`sampler`], [`source`]: what can be
//!   computed, without threads, memory or time of their own;
//! * [`faults`], [`counters`], [`clock`]: small things that all of them use.
//!
//! Lock order: the state of a channel, then interrupts, then faults.

mod card;
mod chain;
mod channel;
mod clock;
mod control;
mod copying;
mod counters;
mod faults;
mod interrupts;
mod moderation;
mod registers;
mod ring;
mod sampler;
mod sampling;
mod source;
mod worker;

use clap::Parser;
use userdma_model::Options;

/// A model of edu-daq, a data acquisition card that does not exist, for QEMU's
/// vfio-user-pci.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Size of the card's memory in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = registers::MEMORY,
        value_parser = clap::value_parser!(u32).range(1..))]
    memory: u32,
}

fn main() -> anyhow::Result<()> {
    let Arguments { options, memory } = Arguments::parse();
    let make = move |host| card::EduDaq::new(host, memory);
    Ok(userdma_model::serve(&options, make)?)
}

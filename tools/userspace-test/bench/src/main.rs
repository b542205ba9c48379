// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Counts the instructions that the kernel takes for userdma, and for VFIO and
//! plain copying beside it. `make bench` starts it in a guest whose clock counts
//! instructions, and judges what it prints: a line of JSON for each row.
//!
//! * [`counter`]: how instructions are counted; [`report`]: what is printed
//! * [`memory`]: the kinds of memory; [`card`]: userdma's calls, one by one;
//!   [`vfio`], [`uio`]: the peers; [`registers`]: a card's, mapped; [`guest`]: cards and modules; [`lab`]: models of cards
//! * [`keeper`]: a program that runs when no other does
//! * [`tables`]: what is measured

mod card;
mod counter;
mod guest;
mod keeper;
mod lab;
mod memory;
mod registers;
mod report;
mod tables;
mod uio;
mod vfio;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::counter::Counter;
use crate::report::Report;
use crate::tables::Group;

/// Counts the instructions of userdma's calls; `make bench` starts it.
#[derive(Debug, Parser)]
struct Options {
    /// Parameters with which userdma.ko was loaded; it is loaded anew.
    #[arg(long, default_value = "")]
    parameters: String,
    /// Only these groups of tables, such as 'transfer,uring'.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Group>,
    /// Measure throughput by the clock, and count nothing.
    #[arg(long)]
    bulk: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let mut report = Report::default();
    if options.bulk {
        tables::bulk(&mut report)?;
    } else {
        let counter = Counter::new()?;
        tables::run(&counter, &options.parameters, &options.only, &mut report)?;
    }
    // Only now: output is work for the kernel, and some of it is done later.
    report.print()
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The command `userdma`: looks at cards, tries them, moves data through them.
//!
//! `cli` says what can be asked; each other room answers one question: `info`,
//! `demo`, `alloc`, `register`, `card` (read and write), `copy`, `bench`,
//! `inject`, `generate` (completions and man pages). `select` finds the device, `report` tells errors, `number`
//! reads sizes, `stream` knows files and pipes, `touch` counts page faults, `trip`
//! sends data through the card and back, from and to what `memory` is.

mod alloc;
mod bench;
mod card;
mod cli;
mod copy;
mod demo;
mod generate;
mod info;
mod inject;
mod interrupts;
mod memory;
mod number;
mod register;
mod report;
mod select;
mod stream;
mod touch;
mod trip;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;
use crate::cli::Command;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if !matches!(cli.command, Command::Selftest(_)) {
        // `userdma info | head` ends quietly, as other commands do. The tests
        // write into closed pipes and want the error.
        sigpipe::reset();
    }
    let device = cli.device.as_deref();
    let done = |()| ExitCode::SUCCESS;
    let result = match &cli.command {
        Command::Info(options) => info::run(device, options).map(done),
        Command::Demo(options) => demo::run(device, options),
        Command::Alloc(options) => alloc::run(device, options).map(done),
        Command::Register(options) => register::run(device, options).map(done),
        Command::Read(options) => card::read(device, options).map(done),
        Command::Write(options) => card::write(device, options).map(done),
        Command::Copy(options) => copy::run(device, options).map(done),
        Command::Bench(options) => bench::run(device, options).map(done),
        Command::Inject(options) => inject::run(device, options).map(done),
        Command::Selftest(options) => return userdma_selftest::main(options),
        Command::Completions { shell } => generate::completions(*shell).map(done),
        Command::Man(options) => generate::man(options).map(done),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {}", report::text(&error));
        report::exit_code(&error)
    })
}

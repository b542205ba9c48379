// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The laboratory: builds userdma against Debian's unmodified stock kernel and
//! against a debug kernel of its own, and runs it in QEMU.
//!
//! `qemu/enter` starts this program inside the Debian root. The way through:
//!
//! ```text
//! cli ── prepare ── apt ── kernel ── module ─┐
//!           ├────── userspace ───────────────┴─ image ── suite ── guest ── report
//!           └────── models ───────────────────────────────────────┘
//! ```
//!
//! * [`cache`], [`step`], [`exec`]: what every step of the preparation shares:
//!   content keys, locks, logs, progress;
//! * [`apt`], [`kernel`], [`module`], [`userspace`], [`image`]: the steps;
//! * [`models`]: cards that QEMU does not have, each a process of its own;
//! * [`config`]: `guests.toml` and `suites.toml`;
//! * [`guest`], [`qemu`], [`ktap`], [`gates`]: one boot and its judgement;
//! * [`suite`], [`checks`], [`tally`], [`soak`]: what `make test` and `make soak`
//!   add up;
//! * [`bench`]: what `make bench` counts;
//! * [`mutants`]: the module, broken in known ways, and who notices.

mod apt;
mod bench;
mod cache;
mod checks;
mod cli;
mod config;
mod exec;
mod gates;
mod guest;
mod image;
mod kernel;
mod kselftest;
mod ktap;
mod models;
mod module;
mod mutants;
mod prepare;
mod qemu;
mod soak;
mod step;
mod suite;
mod tally;
mod userspace;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    stop_on_signals();
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ends the run on Ctrl-C. This is process 1 of its name space: the kernel
/// ignores signals that it does not handle, and ends all it started with it.
fn stop_on_signals() {
    use signal_hook::consts::SIGHUP;
    use signal_hook::consts::SIGINT;
    use signal_hook::consts::SIGTERM;
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM]) else {
        return;
    };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            eprintln!("\nlab: stopped; what is complete is kept, the next run goes on from there");
            std::process::exit(128 + signal);
        }
    });
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The test suites that run as root in a guest, against the real module and
//! real (emulated) cards. The command `userdma selftest` is a thin shell around
//! [`main`].
//!
//! Every test runs in a process of its own under a watchdog, so that a crash,
//! a SIGBUS or a hang is the failure of that test and of no other. Before and
//! after each, the driver's counters, the process's files and the kernel's log
//! are compared. The output is KTAP, version 1.
//!
//! The room list: [`suites`] holds the tests, one module each suite;
//! `registry` says what a test is and picks them by name; `runner` runs them;
//! `outcome` has the assertions; `guest` finds cards, modules and counters;
//! `device` is one open file of the driver, `memory` one mapping, `kinds` memory
//! of every kind, `hugepool` the kernel's huge pages, `disk` the guest's disks, `lab` the laboratory
//! outside, `model` a card that is one of its models, `account` what is locked
//! and pinned, `child` one forked process, `requests` read and
//! write, `passing` how files are handed on, `signals` how they are caught, `queue` transfers that wait behind others, `eventfd` counters,
//! `stalled` a page that does not come, and `raw` the system calls that must be
//! given wrong arguments.

#[macro_use]
mod outcome;

mod account;
mod child;
mod device;
mod disk;
mod eventfd;
mod guest;
mod hugepool;
mod kinds;
pub mod lab;
mod memory;
mod model;
mod passing;
mod poll;
mod queue;
mod raw;
mod registry;
mod requests;
mod resources;
mod runner;
mod signals;
mod stalled;
mod suites;

use std::path::PathBuf;
use std::process::ExitCode;

/// What to run and how. Also the arguments of `userdma selftest`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Run only tests whose name matches, such as 'abi.*' or 'rw.signal'
    /// (several may be given)
    #[arg(value_name = "PATTERN")]
    pub filter: Vec<String>,

    /// Leave out tests whose name matches
    #[arg(long, value_name = "PATTERN")]
    pub skip: Vec<String>,

    /// Begin the random numbers here, to repeat a run; printed by every run
    #[arg(long)]
    pub seed: Option<u64>,

    /// Repeat what is repeated this many times as often (20 for a soak)
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub scale: u32,

    /// Wait this many times as long before a test has hung (a debug kernel)
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub slow: u32,

    /// Show the names of the tests and what they need, and run none
    #[arg(long)]
    pub list: bool,

    /// Print the table of commands, causes and errors (reST), and run none
    #[arg(long)]
    pub errno_table: bool,

    /// What a test does after it has become another program
    #[arg(long, hide = true)]
    pub after_exec: Option<String>,

    /// Stop at the first failure, and leave things as they are
    #[arg(long)]
    pub fail_fast: bool,

    /// The module's file, for tests that unload and load it
    /// [default: userdma.ko under /lib/modules or in /]
    #[arg(long, value_name = "FILE")]
    pub module: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            filter: Vec::new(),
            skip: Vec::new(),
            seed: None,
            scale: 1,
            slow: 1,
            list: false,
            errno_table: false,
            after_exec: None,
            fail_fast: false,
            module: None,
        }
    }
}

/// Runs the tests that `options` chooses and prints KTAP on standard output.
///
/// Gives success if none failed. Tests that cannot run here (no second card,
/// no IOMMU) are skipped, with the reason in the output.
///
/// # Examples
///
/// ```no_run
/// use std::process::ExitCode;
/// use userdma_selftest::Options;
///
/// fn main() -> ExitCode {
///     userdma_selftest::main(&Options {
///         filter: vec!["abi.*".to_owned()],
///         seed: Some(1),
///         ..Options::default()
///     })
/// }
/// ```
#[must_use]
pub fn main(options: &Options) -> ExitCode {
    if options.errno_table {
        print!("{}", suites::errno_table());
        return ExitCode::SUCCESS;
    }
    if let Some(words) = &options.after_exec {
        return suites::after_exec(words);
    }
    let tests = match registry::select(suites::all(), &options.filter, &options.skip) {
        Ok(tests) => tests,
        Err(message) => {
            eprintln!("userdma selftest: {message}");
            return ExitCode::from(2);
        }
    };
    if options.list {
        print!("{}", registry::describe(&tests));
        return ExitCode::SUCCESS;
    }
    runner::run(&tests, options)
}

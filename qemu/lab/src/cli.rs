// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The commands behind the Makefile's targets.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use anyhow::Context;
use anyhow::Result;
use clap::Parser;
use clap::Subcommand;
use userdma_init::job::Job;
use userdma_init::job::Judge;
use userdma_init::job::Shell;
use userdma_init::job::Work;

use crate::apt;
use crate::bench;
use crate::cache::Places;
use crate::checks;
use crate::config::Config;
use crate::config::Guest;
use crate::guest;
use crate::guest::Run;
use crate::kernel;
use crate::kernel::Flavour;
use crate::kselftest::Collection;
use crate::models::Models;
use crate::mutants;
use crate::prepare;
use crate::prepare::Later;
use crate::qemu;
use crate::qemu::Boot;
use crate::soak;
use crate::step::Steps;
use crate::suite;
use crate::suite::Choice;
use crate::suite::Setting;
use crate::tally::Outcome;
use crate::tally::Tally;
use crate::userspace;

/// How long the demonstration may take.
const DEMO_SECONDS: u64 = 120;

/// The laboratory of userdma: builds the module against Debian's stock kernel
/// and runs it in QEMU. The Makefile's targets call it.
#[derive(Debug, Parser)]
#[command(name = "lab")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Commands,
}

#[derive(Debug, Subcommand)]
enum Commands {
    /// Boot a kernel, load the module, run the demonstration.
    Run(Machine),
    /// Boot a kernel, load the module, give a prompt.
    Shell(Machine),
    /// Run every check and every suite that is not a soak.
    Test(Selection),
    /// Run a suite in full size.
    Soak(Selection),
    /// Count instructions, print the tables, judge what is promised of them.
    Bench(bench::Selection),
    /// Break the module in known ways, and show that tests notice.
    Mutants {
        /// Only mutants of qemu/mutants.toml that match, such as 'unpin-*'.
        #[arg(long, env = "FILTER")]
        filter: Option<String>,
        /// Only those that need this kernel.
        #[arg(long, env = "KERNEL")]
        kernel: Option<Flavour>,
    },
    /// Check formats and lints.
    Lint,
    /// Format all sources.
    Fmt,
    /// Build everything, boot nothing.
    Build,
    /// Look for a newer kernel of the series.
    Update,
    /// Install the suites as a kselftest directory.
    KselftestInstall {
        /// The directory.
        to: PathBuf,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct Machine {
    /// Guest of qemu/guests.toml.
    #[arg(long, default_value = "stock", env = "GUEST")]
    guest: String,
    /// The kernel to boot.
    #[arg(long, default_value = "stock", env = "KERNEL")]
    kernel: Flavour,
    /// The guest's only card, instead of its own: as in qemu/guests.toml, such as edu-daq.
    #[arg(long, env = "DEVICE")]
    device: Option<String>,
}

impl Machine {
    fn guest(&self, config: &Config) -> Result<Guest> {
        let guest = config.guest(&self.guest)?;
        let card = self.device.as_ref().filter(|card| !card.is_empty());
        Ok(match card {
            Some(card) => guest.with_card(card),
            None => guest.clone(),
        })
    }

    /// The guest in words.
    fn describe(&self, guest: &Guest) -> String {
        let cards = match guest.cards.len() {
            1 => format!("card {}", guest.cards[0]),
            count => format!("{count} cards"),
        };
        format!("guest \"{}\" ({}), {cards}", self.guest, guest.what)
    }
}

#[derive(Clone, Debug, clap::Args)]
struct Selection {
    /// Only this suite of qemu/suites.toml, and no other check.
    #[arg(long, env = "SUITE")]
    suite: Option<String>,
    /// Only tests that match, such as 'abi.*', and no other check.
    #[arg(long, env = "FILTER")]
    filter: Option<String>,
    /// Only with this kernel.
    #[arg(long, env = "KERNEL")]
    kernel: Option<Flavour>,
    /// Where the random numbers begin; repeats an earlier run.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
}

impl Cli {
    /// Does what the command line says.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let places = Places::from_environment()?;
        let config = Config::read(&places.tree)?;
        let steps = Steps::new();
        let good = match self.command {
            Commands::Run(machine) => run(&places, &config, &steps, &machine)?,
            Commands::Shell(machine) => shell(&places, &config, &steps, &machine)?,
            Commands::Test(selection) => test(&places, &config, &steps, selection, false)?,
            Commands::Soak(selection) => test(&places, &config, &steps, selection, true)?,
            Commands::Bench(selection) => bench::run(&places, &config, &steps, &selection)?,
            Commands::Mutants { filter, kernel } => {
                let filter = filter.filter(|pattern| !pattern.is_empty());
                mutants::run(&places, &config, &steps, filter.as_deref(), kernel)?
            }
            Commands::Lint => {
                let tally = Tally::default();
                let stock = kernel::stock::prepare(&places, &steps)?;
                checks::lint(&places, &steps, &stock.kernel, &tally)?;
                tally.finish()
            }
            Commands::Fmt => {
                let stock = kernel::stock::prepare(&places, &steps)?;
                checks::format(&places, &stock.kernel)?
            }
            Commands::Build => {
                let prepared = prepare::all(&places, &steps, &config, true)?;
                prepare::debug(&places, &steps, &prepared.stock)?;
                true
            }
            Commands::Update => {
                let kernel = apt::resolve(&places, &steps)?;
                println!(
                    "newest of the series: {}; `make run` uses it",
                    kernel.version
                );
                true
            }
            Commands::KselftestInstall { to } => {
                let programs = userspace::build(&places, &steps)?;
                let collection = Collection::of(&programs)?;
                collection.install(&programs, &to)?;
                println!("{} groups of tests installed", collection.entries.len());
                println!(
                    "beside run_kselftest.sh of the kernel's source: run_kselftest.sh -c userdma"
                );
                true
            }
        };
        Ok(if good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn run(places: &Places, config: &Config, steps: &Steps, machine: &Machine) -> Result<bool> {
    let guest = machine.guest(config)?;
    let prepared = prepare::all(places, steps, config, guest.has_models())?;
    let pair = prepared.pair(places, steps, machine.kernel)?;
    println!();
    println!("{}", pair.kernel.describe());
    println!("{}", machine.describe(&guest));
    println!();
    let job = Job {
        work: vec![Work {
            name: "demo".to_owned(),
            argv: vec!["userdma".to_owned(), "demo".to_owned()],
            judge: Judge::Output {
                exit: 0,
                says: Vec::new(),
            },
            seconds: DEMO_SECONDS,
        }],
        gates: true,
        ..Job::default()
    };
    let job = guest::job(&prepared, &pair, &guest, job)?;
    let directory = Run::begin(places)?.directory("run")?;
    let live = |line: &str| println!("  {line}");
    let report = guest::run(places, &prepared, &pair, &guest, &directory, &job, &live)?;

    println!();
    for test in &report.tests {
        match &test.outcome {
            Outcome::Passed => println!("ok       {}", test.name),
            Outcome::Skipped(reason) => println!("skipped  {}: {reason}", test.name),
            Outcome::Failed(lines) => {
                println!("NOT OK   {}", test.name);
                for line in lines {
                    println!("         | {line}");
                }
            }
        }
    }
    println!();
    println!("how long each step took:");
    for line in steps.summary() {
        println!("  {line}");
    }
    println!(
        "  {:<58} {:>8}",
        "of it the guest, from start to power-off",
        crate::step::seconds(report.took)
    );
    println!("logs of the guest: {}", report.logs);
    println!(
        "logs of the steps: {}",
        places.outside(&places.log("")).trim_end_matches("/.log")
    );
    if report.failed() {
        println!("\nThe run FAILED: see above; kernel.log and results.log are in the directory of the logs.");
    } else {
        println!("\nAll well. Next: make shell (a prompt in the guest), make test, make help.");
    }
    Ok(!report.failed())
}

fn shell(places: &Places, config: &Config, steps: &Steps, machine: &Machine) -> Result<bool> {
    let guest = machine.guest(config)?;
    let prepared = prepare::all(places, steps, config, guest.has_models())?;
    let pair = prepared.pair(places, steps, machine.kernel)?;
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok();
    let job = Job {
        shell: Some(Shell {
            term: std::env::var("TERM").unwrap_or_else(|_| "vt100".to_owned()),
            rows: size.map_or(24, |size| size.ws_row),
            columns: size.map_or(80, |size| size.ws_col),
        }),
        ..Job::default()
    };
    let job = guest::job(&prepared, &pair, &guest, job)?;
    let directory = Run::begin(places)?.directory("shell")?;
    let initramfs = directory.join("initramfs.cpio");
    prepared.image.with_job(&pair.module, &job, &initramfs)?;
    println!(
        "Booting {} in {}. `exit` powers off, Ctrl-A x ends QEMU.",
        pair.kernel.release,
        machine.describe(&guest)
    );
    let models = Models::start(prepared.models.as_ref(), &guest, &directory)?;
    let models = Arc::new(models);
    let boot = Boot {
        kernel: &pair.kernel,
        initramfs: &initramfs,
        directory: &directory,
        models: &models,
    };
    let ended = qemu::interact(&guest, &boot);
    guest::remove_big(&directory);
    for line in models.report() {
        println!("card-report: {line}");
    }
    ended?;
    Ok(true)
}

fn test(
    places: &Places,
    config: &Config,
    steps: &Steps,
    selection: Selection,
    soak: bool,
) -> Result<bool> {
    let choice = Choice {
        seed: match selection.seed {
            Some(seed) => seed,
            None if soak => new_seed()?,
            None => SEED,
        },
        suite: selection.suite.filter(|name| !name.is_empty()),
        filter: selection.filter.filter(|pattern| !pattern.is_empty()),
        kernel: selection.kernel,
        soak,
    };
    let turns = suite::turns(config, &choice)?;
    let needs_debug = turns.iter().any(|turn| turn.flavour == Flavour::Debug);
    let tally = Tally::default();
    let models = config.need_models(turns.iter().map(|turn| turn.guest_name))?;
    let prepared = prepare::all(places, steps, config, models)?;
    println!(
        "seed {} (make test SEED={} repeats)",
        choice.seed, choice.seed
    );
    let debug = Later::default();
    let setting = Setting {
        places,
        config,
        prepared: &prepared,
        debug: &debug,
        choice: &choice,
        tally: &tally,
    };
    std::thread::scope(|scope| {
        if needs_debug {
            scope.spawn(|| debug.make(|| prepare::debug(places, steps, &prepared.stock)));
        }
        if choice.suite.is_none() && choice.filter.is_none() && !soak {
            checks::all(places, steps, &prepared.pair, &tally)?;
        }
        let mut rows = suite::run(&setting, turns)?;
        if needs_debug {
            if let Ok(pair) = debug.wait() {
                tally.add(checks::warnings("debug kernel", &pair));
            }
        }
        if soak {
            let kernels = prepared.pair.kernel.describe();
            soak::finish(places, choice.seed, &kernels, &mut rows)?;
        }
        anyhow::Ok(())
    })?;
    println!("{}", steps.summary().pop().unwrap_or_default());
    Ok(tally.finish())
}

/// What `make test` takes: what it says of a commit today it says tomorrow. New
/// numbers are for soaks.
const SEED: u64 = 1;

/// A seed that a person can type again.
fn new_seed() -> Result<u64> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock")?;
    Ok(now.as_micros() as u64 % 1_000_000)
}

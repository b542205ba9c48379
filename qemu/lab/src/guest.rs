// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One boot of a guest, from the job to the verdict.

mod start;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use userdma_init::job::Job;

use crate::cache::Places;
use crate::config::Guest;
use crate::image;
use crate::kernel::Flavour;
use crate::prepare::Pair;
use crate::prepare::Prepared;
use crate::soak::Deeds;
use crate::tally::Outcome;
use crate::tally::Test;

use self::start::Start;

/// How many runs' logs stay in the cache.
const RUNS_KEPT: u32 = 20;

/// How much longer everything may take than with the stock kernel.
pub(crate) fn slower(flavour: Flavour) -> u32 {
    match flavour {
        Flavour::Stock => 1,
        Flavour::Debug => 4,
    }
}

/// What a boot gave.
#[derive(Debug)]
pub(crate) struct Report {
    /// Every named test, the laboratory's own included.
    pub(crate) tests: Vec<Test>,
    /// What the tests say that they did.
    pub(crate) deeds: Deeds,
    /// How long it took.
    pub(crate) took: Duration,
    /// Where its logs are, for the person.
    pub(crate) logs: String,
}

/// The directories of one run of the laboratory: `runs/NUMBER/`, one below it
/// per boot. Numbered, because two runs may be under way on one tree.
#[derive(Debug)]
pub(crate) struct Run {
    path: PathBuf,
}

impl Run {
    /// Takes the next number and removes what is older than [`RUNS_KEPT`] runs.
    pub(crate) fn begin(places: &Places) -> Result<Self> {
        let runs = places.place.join("runs");
        fs::create_dir_all(&runs)?;
        let numbers = || {
            let entries = fs::read_dir(&runs).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        };
        let mut number = numbers().max().unwrap_or(0) + 1;
        for old in numbers().filter(|old| old + RUNS_KEPT < number) {
            fs::remove_dir_all(runs.join(old.to_string()))?;
        }
        loop {
            let path = runs.join(number.to_string());
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                // Another run was faster.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error).context("creating a run's directory"),
            }
        }
    }

    /// Where it is, for the person.
    pub(crate) fn outside(&self, places: &Places) -> String {
        places.outside(&self.path)
    }

    /// The directory of the boot `name`.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf> {
        let directory = self.path.join(name);
        fs::create_dir(&directory).with_context(|| format!("creating {}", directory.display()))?;
        Ok(directory)
    }
}

/// Completes `job` with what the guest's description and the kernel say.
pub(crate) fn job(prepared: &Prepared, pair: &Pair, guest: &Guest, job: Job) -> Result<Job> {
    let debug = pair.kernel.flavour == Flavour::Debug;
    let modules = match debug {
        // It has everything built in.
        true => Vec::new(),
        false => prepared.stock.module_files(&guest.modules)?,
    };
    Ok(Job {
        stock_modules: modules
            .iter()
            .map(|file| image::guest_path(&prepared.stock, file))
            .collect(),
        load: true,
        kmemleak: debug,
        kunit: debug && pair.module.has_kunit()?,
        lab: guest.asks(),
        parameters: guest.parameters.clone(),
        devices: u32::try_from(guest.cards.len())?,
        ..job
    })
}

/// Boots the guest and does the job, with all files in `directory`. `live` gets
/// every remark of the results as it comes.
///
/// A kernel that stops without a word before its init is started once more: of
/// more than 650 starts under QEMU's TCG on busy hosts one did, as its second processor
/// came up, long before there is a driver to test. That is said, and what the
/// processors were at is kept. Whatever comes later is a result.
pub(crate) fn run(
    places: &Places,
    prepared: &Prepared,
    pair: &Pair,
    guest: &Guest,
    directory: &Path,
    job: &Job,
    live: &dyn Fn(&str),
) -> Result<Report> {
    let start = Start {
        prepared,
        pair,
        guest,
        job,
        live,
    };
    let end = start.run(directory)?;
    let (end, directory) = match end.hung {
        None => (end, directory.to_owned()),
        Some(state) => {
            println!(
                "         {}: the kernel did not come to its init ({state}); started once more; logs: {}",
                directory.file_name().unwrap_or_default().to_string_lossy(),
                places.outside(directory),
            );
            let directory = directory.join("again");
            fs::create_dir(&directory)?;
            (start.run(&directory)?, directory)
        }
    };
    Ok(Report {
        tests: end.tests,
        deeds: end.deeds,
        took: end.took,
        logs: places.outside(&directory),
    })
}

impl Report {
    /// Whether something failed.
    pub(crate) fn failed(&self) -> bool {
        self.tests
            .iter()
            .any(|test| matches!(test.outcome, Outcome::Failed(_)))
    }
}

/// Removes what is only needed while the guest runs.
pub(crate) fn remove_big(directory: &Path) {
    for entry in fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".cpio") || name.ends_with(".raw") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

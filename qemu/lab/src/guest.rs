// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One boot of a guest, from the job to the verdict.

use std::fs;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::ErrorKind;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::Sender;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use userdma_init::job::Job;

use crate::cache::Places;
use crate::config::Guest;
use crate::gates;
use crate::gates::Watch;
use crate::image;
use crate::kernel::Flavour;
use crate::ktap::Parser;
use crate::models::Models;
use crate::prepare::Pair;
use crate::prepare::Prepared;
use crate::qemu;
use crate::qemu::Boot;
use crate::soak::Deeds;
use crate::step;
use crate::tally::Outcome;
use crate::tally::Test;

/// What a boot and the gates may take beside the tests themselves.
const OVERHEAD: Duration = Duration::from_secs(90);

/// How long the rest of a trace may take after a panic.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long a guest may take to switch off after its last result.
const POWER_OFF: Duration = Duration::from_secs(20);

/// How many runs' logs stay in the cache.
const RUNS_KEPT: u32 = 20;

/// How much longer everything may take than with the stock kernel.
pub(crate) fn slower(flavour: Flavour) -> u32 {
    match flavour {
        Flavour::Stock => 1,
        Flavour::Debug => 4,
    }
}

enum Event {
    Kernel(String),
    Result(String),
    Closed,
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
pub(crate) fn run(
    places: &Places,
    prepared: &Prepared,
    pair: &Pair,
    guest: &Guest,
    directory: &Path,
    job: &Job,
    live: &dyn Fn(&str),
) -> Result<Report> {
    let begun = Instant::now();
    let initramfs = directory.join("initramfs.cpio");
    prepared.image.with_job(&pair.module, job, &initramfs)?;
    let models = Models::start(prepared.models.as_ref(), guest, directory)?;
    let models = Arc::new(models);
    let boot = Boot {
        kernel: &pair.kernel,
        initramfs: &initramfs,
        directory,
        models: &models,
    };
    let mut machine = qemu::start(guest, &boot)?;

    let (sender, events) = mpsc::channel();
    let kernel = machine.kernel.take().context("no kernel channel")?;
    let results = machine.results.take().context("no results channel")?;
    follow(
        kernel,
        directory.join("kernel.log"),
        sender.clone(),
        Event::Kernel,
    )?;
    follow(
        results,
        directory.join("results.log"),
        sender,
        Event::Result,
    )?;

    let work: u64 = job.work.iter().map(|work| work.seconds).sum();
    let limit = OVERHEAD * slower(pair.kernel.flavour) + Duration::from_secs(work);
    let mut deadline = begun + limit;
    let mut watch = Watch::new()?;
    let mut parser = Parser::default();
    let mut deeds = Deeds::default();
    let mut open = 2;
    let mut ending = None;
    while open > 0 {
        let left = deadline.saturating_duration_since(Instant::now());
        match events.recv_timeout(left) {
            Ok(Event::Kernel(line)) => {
                let was_dead = watch.is_dead();
                watch.line(&line);
                if watch.is_dead() && !was_dead {
                    deadline = deadline.min(Instant::now() + LAST_WORDS);
                }
            }
            Ok(Event::Result(line)) => {
                if let Some(remark) = parser.line(&line) {
                    deeds.remark(remark);
                    live(remark);
                }
            }
            Ok(Event::Closed) => open -= 1,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let state = machine.end()?;
                ending = Some(match watch.is_dead() {
                    true => "the kernel died".to_owned(),
                    false => format!("not done within {} ({state})", step::seconds(limit)),
                });
                break;
            }
        }
    }
    if ending.is_none() && !machine.wait(POWER_OFF)? {
        let state = machine.end()?;
        ending = Some(format!("it did not switch off ({state})"));
    }

    let mut tests = parser.finish();
    tests.push(Test::of("kernel-log", watch.into_problems()));
    tests.push(Test::of(
        "edu-log",
        gates::card_complaints(&fs::read_to_string(directory.join("qemu.log")).unwrap_or_default()),
    ));
    if guest.has_models() {
        tests.push(Test::of("card-report", models.report()));
    }
    let mut end: Vec<String> = ending.into_iter().collect();
    let words = qemu::own_words(directory);
    end.extend(gates::qemu_complaints(words, models.were_told_to_die())?);
    tests.push(Test::of("power-off", end));
    // The disks and the image are big and say nothing.
    remove_big(directory);
    Ok(Report {
        tests,
        deeds,
        took: begun.elapsed(),
        logs: places.outside(directory),
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

/// Copies a channel into a log file and into the stream of events.
fn follow(
    channel: File,
    log: PathBuf,
    sender: Sender<Event>,
    wrap: fn(String) -> Event,
) -> Result<()> {
    let mut log = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    std::thread::spawn(move || {
        for line in BufReader::new(channel).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches('\r');
            // A log that cannot be written must not stop the judgement.
            let _ = writeln!(log, "{line}");
            if sender.send(wrap(line.to_owned())).is_err() {
                return;
            }
        }
        let _ = sender.send(Event::Closed);
    });
    Ok(())
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

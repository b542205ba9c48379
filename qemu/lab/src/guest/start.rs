// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One start of a guest, to its end, and the verdict.

use std::fs;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
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

use crate::config::Guest;
use crate::gates;
use crate::gates::Watch;
use crate::guest::slower;
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

/// How long a guest must have said nothing to be called hung.
const SILENCE: Duration = Duration::from_secs(60);

/// How long a guest may take to switch off after its last result.
const POWER_OFF: Duration = Duration::from_secs(20);

/// A guest and what it is to do.
pub(super) struct Start<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) pair: &'a Pair,
    pub(super) guest: &'a Guest,
    pub(super) job: &'a Job,
    pub(super) live: &'a dyn Fn(&str),
}

/// How it ended.
pub(super) struct End {
    pub(super) tests: Vec<Test>,
    pub(super) deeds: Deeds,
    pub(super) took: Duration,
    /// The kernel stopped without a word before its init, in a QEMU that still
    /// answers: where the processors were.
    pub(super) hung: Option<String>,
}

/// What was heard of a guest.
struct Heard {
    watch: Watch,
    parser: Parser,
    deeds: Deeds,
    /// When the kernel said something last.
    last: Instant,
    /// The laboratory had to end it.
    ended: Option<Ended>,
}

struct Ended {
    why: String,
    /// Where they were, if QEMU says.
    processors: Option<String>,
    /// For how long the kernel had said nothing.
    silent: Duration,
}

enum Event {
    Kernel(String),
    Result(String),
    Closed,
}

impl Start<'_> {
    /// Starts the guest and follows it to its end, with all files in `directory`.
    pub(super) fn run(&self, directory: &Path) -> Result<End> {
        let begun = Instant::now();
        let initramfs = directory.join("initramfs.cpio");
        let image = &self.prepared.image;
        image.with_job(&self.pair.module, self.job, &initramfs)?;
        let models = Models::start(self.prepared.models.as_ref(), self.guest, directory)?;
        let models = Arc::new(models);
        let boot = Boot {
            kernel: &self.pair.kernel,
            initramfs: &initramfs,
            directory,
            models: &models,
        };
        let mut machine = qemu::start(self.guest, &boot)?;
        let heard = self.follow(&mut machine, directory, begun)?;

        let came = heard.watch.has_init() || heard.parser.has_begun();
        let mut tests = heard.parser.finish();
        let first_gate = tests.len();
        tests.push(Test::of("kernel-log", heard.watch.into_problems()));
        tests.push(Test::of(
            "edu-log",
            gates::card_complaints(
                &fs::read_to_string(directory.join("qemu.log")).unwrap_or_default(),
            ),
        ));
        if self.guest.has_models() {
            tests.push(Test::of("card-report", models.report()));
        }
        let words = gates::qemu_complaints(qemu::own_words(directory), models.were_told_to_die())?;
        let clean = words.is_empty() && !tests[first_gate..].iter().any(failed);
        let hung = heard
            .ended
            .as_ref()
            .filter(|ended| !came && clean && ended.silent >= SILENCE)
            .and_then(|ended| ended.processors.clone());
        let mut end: Vec<String> = heard.ended.map(|ended| ended.why).into_iter().collect();
        end.extend(words);
        tests.push(Test::of("power-off", end));
        // The disks and the image are big and say nothing.
        super::remove_big(directory);
        Ok(End {
            tests,
            deeds: heard.deeds,
            took: begun.elapsed(),
            hung,
        })
    }

    fn follow(
        &self,
        machine: &mut qemu::Machine,
        directory: &Path,
        begun: Instant,
    ) -> Result<Heard> {
        let (sender, events) = mpsc::channel();
        let kernel = machine.kernel.take().context("no kernel channel")?;
        let results = machine.results.take().context("no results channel")?;
        let kernel_log = directory.join("kernel.log");
        copy(kernel, kernel_log, sender.clone(), Event::Kernel)?;
        let results_log = directory.join("results.log");
        copy(results, results_log, sender, Event::Result)?;

        // Until the first line of results only the time of a boot runs.
        let overhead = OVERHEAD * slower(self.pair.kernel.flavour);
        let work: u64 = self.job.work.iter().map(|work| work.seconds).sum();
        let mut limit = overhead;
        let mut deadline = begun + limit;
        let mut heard = Heard {
            watch: Watch::new()?,
            parser: Parser::default(),
            deeds: Deeds::default(),
            last: begun,
            ended: None,
        };
        let mut open = 2;
        while open > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            match events.recv_timeout(left) {
                Ok(Event::Kernel(line)) => {
                    heard.last = Instant::now();
                    let was_dead = heard.watch.is_dead();
                    heard.watch.line(&line);
                    if heard.watch.is_dead() && !was_dead {
                        deadline = deadline.min(Instant::now() + LAST_WORDS);
                    }
                }
                Ok(Event::Result(line)) => {
                    let had_begun = heard.parser.has_begun();
                    if let Some(remark) = heard.parser.line(&line) {
                        heard.deeds.remark(remark);
                        (self.live)(remark);
                    }
                    if heard.parser.has_begun() && !had_begun && !heard.watch.is_dead() {
                        limit = overhead + Duration::from_secs(work);
                        deadline = begun + limit;
                    }
                }
                Ok(Event::Closed) => open -= 1,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    heard.ended = Some(end(machine, directory, limit, &heard)?);
                    return Ok(heard);
                }
            }
        }
        if !machine.wait(POWER_OFF)? {
            let state = machine.end()?;
            heard.ended = Some(Ended {
                why: format!("it did not switch off ({state})"),
                processors: None,
                silent: heard.last.elapsed(),
            });
        }
        Ok(heard)
    }
}

/// Ends a guest whose time is over, and says what is known of it.
fn end(
    machine: &mut qemu::Machine,
    directory: &Path,
    limit: Duration,
    heard: &Heard,
) -> Result<Ended> {
    let silent = heard.last.elapsed();
    if heard.watch.is_dead() {
        machine.end()?;
        return Ok(Ended {
            why: "the kernel died".to_owned(),
            processors: None,
            silent,
        });
    }
    let processors = machine.processors(directory);
    let state = machine.end()?;
    let mut why = format!("not done within {} ({state})", step::seconds(limit));
    if let Some(at) = &processors {
        why = format!("{why}; {at}");
    }
    Ok(Ended {
        why,
        processors,
        silent,
    })
}

fn failed(test: &Test) -> bool {
    matches!(test.outcome, Outcome::Failed(_))
}

/// Copies a channel into a log file and into the stream of events.
fn copy(
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

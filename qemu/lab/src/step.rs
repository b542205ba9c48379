// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Shows what is being done: progress, time left, and a line per step that
//! stays. On a terminal with bars, elsewhere in plain lines.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use indicatif::MultiProgress;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;

/// How often a step that takes long says so where there is no terminal.
const REMINDER: Duration = Duration::from_secs(20);

/// All steps of a run.
#[derive(Debug)]
pub(crate) struct Steps {
    bars: MultiProgress,
    terminal: bool,
    done: Mutex<Vec<Done>>,
    start: Instant,
}

#[derive(Clone, Debug)]
struct Done {
    what: String,
    took: Option<Duration>,
}

impl Steps {
    /// Starts the clock.
    pub(crate) fn new() -> Self {
        Self {
            bars: MultiProgress::new(),
            terminal: std::io::stderr().is_terminal(),
            done: Mutex::new(Vec::new()),
            start: Instant::now(),
        }
    }

    /// Starts a step that usually takes `estimate`.
    pub(crate) fn begin(&self, what: &str, estimate: Duration) -> Step<'_> {
        let tenths = u64::try_from(estimate.as_millis() / 100)
            .unwrap_or(0)
            .max(1);
        let mut step = self.step(what, tenths);
        step.estimate = Some(estimate);
        if let Some(bar) = &step.bar {
            bar.set_style(style("{spinner} {prefix:<34} {bar:20} {elapsed:>4} {msg}"));
            bar.enable_steady_tick(Duration::from_millis(200));
        } else {
            self.say(&format!("{what} ... (about {})", seconds(estimate)));
        }
        step
    }

    /// Starts a step that moves `total` bytes.
    pub(crate) fn begin_bytes(&self, what: &str, total: u64) -> Step<'_> {
        let step = self.step(what, total);
        if let Some(bar) = &step.bar {
            bar.set_style(style(
                "{spinner} {prefix:<34} {bar:20} {bytes}/{total_bytes}, {eta} left",
            ));
            bar.enable_steady_tick(Duration::from_millis(200));
        } else {
            self.say(&format!("{what} ... ({} MB)", total / 1_000_000));
        }
        step
    }

    fn step(&self, what: &str, length: u64) -> Step<'_> {
        let bar = self.terminal.then(|| {
            let bar = self.bars.add(ProgressBar::new(length));
            bar.set_prefix(what.to_owned());
            bar
        });
        Step {
            steps: self,
            what: what.to_owned(),
            bar,
            length,
            estimate: None,
            begun: Instant::now(),
            reminded: Mutex::new(Instant::now()),
            ended: false,
        }
    }

    /// Notes that there was nothing to do.
    pub(crate) fn cached(&self, what: &str) {
        self.record(what, None);
    }

    /// Prints a line above the bars.
    pub(crate) fn say(&self, line: &str) {
        if self.terminal {
            let _ = self.bars.println(format!("lab: {line}"));
        } else {
            eprintln!("lab: {line}");
        }
    }

    fn record(&self, what: &str, took: Option<Duration>) {
        let done = Done {
            what: what.to_owned(),
            took,
        };
        self.say(&line(&done));
        if let Ok(mut list) = self.done.lock() {
            list.push(done);
        }
    }

    /// How long every step took, a line each.
    pub(crate) fn summary(&self) -> Vec<String> {
        let list = self
            .done
            .lock()
            .map(|list| list.clone())
            .unwrap_or_default();
        let mut lines: Vec<String> = list.iter().map(line).collect();
        lines.push(format!(
            "{:<58} {:>8}",
            "all, steps side by side",
            seconds(self.start.elapsed())
        ));
        lines
    }
}

fn line(done: &Done) -> String {
    match done.took {
        Some(took) => format!("{:<58} {:>8}", done.what, seconds(took)),
        None => format!("{:<58} {:>8}", done.what, "cached"),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A duration as people read it: one decimal below a minute.
pub(crate) fn seconds(duration: Duration) -> String {
    let all = duration.as_secs();
    if all < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", all / 60, all % 60)
    }
}

/// A step under way. Dropped without [`Step::done`], it has failed.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    steps: &'a Steps,
    what: String,
    bar: Option<ProgressBar>,
    length: u64,
    estimate: Option<Duration>,
    begun: Instant,
    reminded: Mutex<Instant>,
    ended: bool,
}

impl Step<'_> {
    /// What the step is called.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// Shows how far it is by the clock; called now and then while it runs.
    pub(crate) fn tick(&self) {
        let Some(estimate) = self.estimate else {
            return;
        };
        let gone = self.begun.elapsed();
        if let Some(bar) = &self.bar {
            // Never full before it is: an estimate is no measurement.
            let tenths = u64::try_from(gone.as_millis() / 100).unwrap_or(u64::MAX);
            bar.set_position(tenths.min(self.length * 97 / 100));
            bar.set_message(match estimate.checked_sub(gone) {
                Some(left) => format!("about {} s left", left.as_secs() + 1),
                None => "longer than usual".to_owned(),
            });
        }
        self.remind(&format!("{} of about {}", seconds(gone), seconds(estimate)));
    }

    /// Shows how many bytes have come.
    pub(crate) fn bytes(&self, position: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(position.min(self.length));
        }
        self.remind(&format!(
            "{} of {} MB",
            position / 1_000_000,
            self.length / 1_000_000
        ));
    }

    fn remind(&self, how_far: &str) {
        if self.bar.is_some() {
            return;
        }
        let Ok(mut reminded) = self.reminded.lock() else {
            return;
        };
        if reminded.elapsed() >= REMINDER {
            *reminded = Instant::now();
            self.steps.say(&format!("{} ... {how_far}", self.what));
        }
    }

    /// Ends the step well.
    pub(crate) fn done(mut self) {
        self.ended = true;
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.steps.record(&self.what, Some(self.begun.elapsed()));
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if let (false, Some(bar)) = (self.ended, &self.bar) {
            bar.finish_and_clear();
        }
    }
}

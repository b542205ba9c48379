// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How far along it is, on a terminal; and the signals that stop it.

use std::cell::Cell;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::ProgressBar;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;
use signal_hook::flag;

use crate::stream;

/// Between two looks at the bar: it is not to be seen in the figures.
const STEP: Duration = Duration::from_millis(100);

/// A bar of time.
pub(super) struct Progress {
    bar: ProgressBar,
    stopped: Arc<AtomicBool>,
    /// Before the part that is measured now.
    before: Cell<Duration>,
    /// Of this part, when the bar moves next.
    next: Cell<Duration>,
}

impl Progress {
    /// Begins what takes about `time`. From now on Ctrl-C stops it, and a second one ends
    /// the program.
    pub(super) fn new(time: Duration) -> anyhow::Result<Self> {
        let stopped = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_default(signal, Arc::clone(&stopped))
                .and_then(|_| flag::register(signal, Arc::clone(&stopped)))
                .context("cannot ask to be told of signals")?;
        }
        Ok(Self {
            bar: stream::bar(Some(milliseconds(time)), "{bar:30} {eta} left, {msg}"),
            stopped,
            before: Cell::default(),
            next: Cell::default(),
        })
    }

    /// Begins a part of it.
    pub(super) fn begin(&self, what: String) {
        self.bar.set_message(what);
        self.next.set(STEP);
    }

    /// So much of the part is done.
    pub(super) fn at(&self, time: Duration) {
        if time >= self.next.get() {
            self.bar
                .set_position(milliseconds(self.before.get() + time));
            self.next.set(time + STEP);
        }
    }

    /// Ends a part that was to take so long.
    pub(super) fn end(&self, time: Duration) {
        self.before.set(self.before.get().saturating_add(time));
        self.bar.set_position(milliseconds(self.before.get()));
    }

    /// Whether somebody wants it to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Prints a line; the bar may be on the same terminal.
    pub(super) fn line(&self, text: &str) {
        self.bar.suspend(|| println!("{text}"));
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

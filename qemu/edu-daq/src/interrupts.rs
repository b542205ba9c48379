// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The interrupts of the channels, and a thread for those that come later.

use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::Duration;

use userdma_model::lock;
use userdma_model::Host;

use crate::clock::Clock;
use crate::counters::ChannelCounters;
use crate::faults::Faults;
use crate::faults::InterruptFault;
use crate::moderation::Line;
use crate::registers::CHANNELS;

/// After the first of two interrupts: so long that a guest does not see one.
const APART: Duration = Duration::from_millis(2);

/// An interrupt that a fault made late.
#[derive(Clone, Copy, Debug)]
struct Late {
    channel: usize,
    time: u64,
}

#[derive(Debug, Default)]
struct State {
    lines: [Line; CHANNELS],
    late: Vec<Late>,
    over: bool,
}

/// The interrupts of all channels.
#[derive(Debug)]
pub(crate) struct Interrupts {
    host: Host,
    clock: Clock,
    faults: Arc<Faults>,
    counters: [Arc<ChannelCounters>; CHANNELS],
    state: Mutex<State>,
    changed: Condvar,
}

impl Interrupts {
    pub(crate) fn new(
        host: Host,
        clock: Clock,
        faults: Arc<Faults>,
        counters: [Arc<ChannelCounters>; CHANNELS],
    ) -> Self {
        Self {
            host,
            clock,
            faults,
            counters,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Starts the thread, which [`end`](Self::end) ends.
    pub(crate) fn start(self: &Arc<Self>) -> JoinHandle<()> {
        let interrupts = self.clone();
        std::thread::spawn(move || interrupts.run())
    }

    pub(crate) fn end(&self) {
        lock(&self.state).over = true;
        self.changed.notify_all();
    }

    /// Reads or changes a channel's registers.
    pub(crate) fn line<T>(&self, channel: usize, visit: impl FnOnce(&mut Line) -> T) -> T {
        visit(&mut lock(&self.state).lines[channel])
    }

    /// A completion of the channel is in memory; that of a QUIET chain, or not.
    pub(crate) fn completed(&self, channel: usize, quiet: bool) {
        let mut state = lock(&self.state);
        let waited_for = state.lines[channel].deadline();
        if state.lines[channel].completed(self.clock.now(), quiet) {
            self.raise(&mut state, channel);
        } else if waited_for.is_none() {
            // The first of several: the thread has a deadline more.
            self.changed.notify_all();
        }
    }

    /// The channel has halted.
    pub(crate) fn halted(&self, channel: usize) {
        self.raise(&mut lock(&self.state), channel);
    }

    /// Raises the channel's interrupt for nothing.
    pub(crate) fn spurious(&self, channel: usize) {
        self.send(&lock(&self.state), channel);
    }

    /// Forgets what the channel had; when it returns nothing comes any more.
    pub(crate) fn reset(&self, channel: usize) {
        let mut state = lock(&self.state);
        state.lines[channel] = Line::default();
        state.late.retain(|late| late.channel != channel);
    }

    fn raise(&self, state: &mut State, channel: usize) {
        state.lines[channel].told();
        self.counters[channel].interrupts.add(1);
        let fault = self.faults.interrupt(channel);
        if matches!(fault, None | Some(InterruptFault::Double)) {
            self.send(state, channel);
        }
        let later = match fault {
            Some(InterruptFault::Late(time)) => time,
            Some(InterruptFault::Double) => APART,
            Some(InterruptFault::Lost) | None => return,
        };
        let later = u64::try_from(later.as_nanos()).unwrap_or(u64::MAX);
        let time = self.clock.now().saturating_add(later);
        state.late.push(Late { channel, time });
        self.changed.notify_all();
    }

    /// Under the lock, so that a reset is the last word.
    fn send(&self, state: &State, channel: usize) {
        if let Some(vector) = state.lines[channel].vector.checked_rem(self.host.vectors()) {
            self.host.interrupt(vector);
        }
    }

    fn run(&self) {
        let mut state = lock(&self.state);
        while !state.over {
            let now = self.clock.now();
            for channel in 0..CHANNELS {
                if state.lines[channel].is_due(now) {
                    self.raise(&mut state, channel);
                }
            }
            let due = |late: &Late| late.time <= now;
            for late in state.late.iter().filter(|late| due(late)) {
                self.send(&state, late.channel);
            }
            state.late.retain(|late| !due(late));
            state = self.wait(state);
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let lines = state.lines.iter().filter_map(Line::deadline);
        let next = lines.chain(state.late.iter().map(|late| late.time)).min();
        match next {
            Some(time) => {
                let time = self.clock.until(time);
                let waited = self.changed.wait_timeout(state, time);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let waited = self.changed.wait(state);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        }
    }
}

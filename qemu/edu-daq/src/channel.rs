// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A channel: its registers, which answer at once, and what they share with the
//! channel's worker.

mod acquisition;
mod setup;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use userdma_model::lock;
use userdma_model::DeviceMemory;
use userdma_model::Host;

use crate::chain::Chain;
use crate::clock::Clock;
use crate::counters::ChannelCounters;
use crate::faults::Faults;
use crate::interrupts::Interrupts;
use crate::registers::channel::*;
use crate::ring;
use crate::ring::BadDoorbell;
use crate::ring::Ring;
use crate::ring::Status;
use crate::sampler::Sampler;

/// A channel.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) index: usize,
    pub(crate) host: Host,
    pub(crate) memory: Arc<DeviceMemory>,
    pub(crate) clock: Clock,
    pub(crate) faults: Arc<Faults>,
    pub(crate) interrupts: Arc<Interrupts>,
    pub(crate) counters: Arc<ChannelCounters>,
    state: Mutex<State>,
    /// Something in the state has changed.
    changed: Condvar,
    /// What is being worked on is not wanted any more. As `State::is_abandoned`,
    /// to be looked at between blocks.
    abandoned: AtomicBool,
}

/// What registers and worker share.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) ring: Ring,
    pub(crate) done: Ring,
    pub(crate) run: bool,
    /// DOORBELL.
    pub(crate) given: u32,
    pub(crate) taken: u32,
    /// Descriptors of chains that have ended: their entries are free.
    pub(crate) ended: u32,
    /// Completions written.
    pub(crate) completions: u32,
    /// What was taken and not yet worked on, while the worker rests.
    pub(crate) chain: Chain,
    pub(crate) halted: Option<Status>,
    /// The worker is at it.
    pub(crate) working: bool,
    /// None where there is no digitiser.
    pub(crate) sampler: Option<Sampler>,
    /// DROPPED_HIGH, as DROPPED_LOW was read.
    dropped_high: u32,
    resetting: bool,
    /// The worker is to end.
    over: bool,
}

impl State {
    /// STATUS.BUSY.
    fn is_busy(&self) -> bool {
        let waits = self.run && self.given != self.ended && self.halted.is_none();
        // While a reset takes its time the worker is at something.
        self.working || waits
    }

    /// Whether there is something that the worker could do.
    pub(crate) fn has_work(&self) -> bool {
        let chain = self.chain.is_whole(self.ring.entries()) || self.given != self.taken;
        self.run && self.halted.is_none() && chain
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.resetting || self.over
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }
}

/// What a channel is made with.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) host: Host,
    pub(crate) memory: Arc<DeviceMemory>,
    pub(crate) clock: Clock,
    pub(crate) faults: Arc<Faults>,
    pub(crate) interrupts: Arc<Interrupts>,
}

impl Channel {
    pub(crate) fn new(
        index: usize,
        has_digitiser: bool,
        counters: Arc<ChannelCounters>,
        parts: &Parts,
    ) -> Self {
        let parts = parts.clone();
        Self {
            index,
            host: parts.host.named(&format!("channel {index}")),
            memory: parts.memory,
            clock: parts.clock,
            faults: parts.faults,
            interrupts: parts.interrupts,
            counters,
            state: Mutex::new(State {
                sampler: has_digitiser.then(Sampler::default),
                ..State::default()
            }),
            changed: Condvar::new(),
            abandoned: AtomicBool::new(false),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Waits until something changes, or for `time` at most.
    pub(crate) fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        time: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        match time {
            Some(time) => {
                let waited = self.changed.wait_timeout(state, time);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let waited = self.changed.wait(state);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        }
    }

    /// Says that something has changed; the caller has, or had, the state.
    pub(crate) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Whether what is being worked on is not wanted any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    pub(crate) fn read(&self, offset: u64) -> u32 {
        let mut state = self.state();
        match offset {
            CONTROL => {
                let reset = if state.resetting { CONTROL_RESET } else { 0 };
                let run = if state.run { CONTROL_RUN } else { 0 };
                reset | run
            }
            STATUS => {
                let busy = if state.is_busy() { STATUS_BUSY } else { 0 };
                let halted = match state.halted {
                    Some(reason) => STATUS_HALTED | ((reason as u32) << STATUS_REASON),
                    None => 0,
                };
                busy | halted
            }
            DOORBELL => state.given,
            TAKEN => state.taken,
            _ => match self.read_setup(&state, offset) {
                Some(value) => value,
                None => self.read_digitiser(&mut state, offset),
            },
        }
    }

    pub(crate) fn write(&self, offset: u64, value: u32) {
        let mut state = self.state();
        match offset {
            CONTROL => self.control(&mut state, value),
            DOORBELL => self.doorbell(&mut state, value),
            _ if self.write_setup(&mut state, offset, value) => {}
            _ => self.write_digitiser(&mut state, offset, value),
        }
        self.notify();
    }

    fn control(&self, state: &mut State, value: u32) {
        if value & CONTROL_RESET != 0 {
            self.reset_locked(state);
        } else if value & CONTROL_RUN == 0 {
            if state.run {
                self.before_chains_stop(state);
            }
            state.run = false;
        } else if !state.ring.is_set() || !state.done.is_set() {
            self.host.violation("running", "RUN without rings");
        } else {
            self.before_chains_come(state);
            state.run = true;
        }
    }

    fn doorbell(&self, state: &mut State, value: u32) {
        self.counters.doorbells.add(1);
        if !state.run {
            self.host.violation("doorbell", "while RUN is 0");
            return;
        }
        match ring::doorbell(state.given, value, state.ended, state.ring) {
            Ok(_) => {
                self.before_chains_come(state);
                state.given = value;
            }
            Err(BadDoorbell::Backwards) => {
                let text = format!("it goes backwards, from {} to {value}", state.given);
                self.host.violation("doorbell", text);
            }
            Err(BadDoorbell::TooMany(many)) => {
                let entries = state.ring.entries();
                let text = format!("{many} descriptors given, the ring has {entries} entries");
                self.host.violation("doorbell", text);
            }
        }
    }

    /// Resets the channel. If the worker is at something it is done when that is
    /// given up.
    pub(crate) fn reset(&self) {
        self.reset_locked(&mut self.state());
        self.notify();
    }

    fn reset_locked(&self, state: &mut State) {
        if state.working {
            state.resetting = true;
            self.abandoned.store(true, Ordering::Release);
        } else {
            self.clear(state);
        }
    }

    /// Whether a reset is not yet done.
    pub(crate) fn is_resetting(&self) -> bool {
        self.state().resetting
    }

    /// Waits until a reset is done, so long at most.
    pub(crate) fn wait_for_reset(&self, deadline: u64) {
        let mut state = self.state();
        while state.resetting && self.clock.now() < deadline {
            state = self.wait(state, Some(self.clock.until(deadline)));
        }
    }

    fn clear(&self, state: &mut State) {
        self.interrupts.reset(self.index);
        *state = State {
            sampler: state.sampler.is_some().then(Sampler::default),
            over: state.over,
            ..State::default()
        };
        self.abandoned.store(state.over, Ordering::Release);
    }

    /// The worker rests: it has nothing that a reset would have to wait for.
    pub(crate) fn rest(&self, state: &mut State) {
        state.working = false;
        if state.resetting {
            self.clear(state);
        }
        self.notify();
    }

    /// Ends the worker.
    pub(crate) fn end(&self) {
        self.state().over = true;
        self.abandoned.store(true, Ordering::Release);
        self.notify();
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The service thread of a card: what interrupts and spinlocks forbid is done here.
//!
//! It frees buffers whose last reference was dropped by an interrupt, and watches that the card
//! ends what it began. It sleeps until one of the two is due.

use kernel::{
    new_condvar,
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        CondVar,
        SpinLockIrq, //
    }, //
    time::{
        msecs_to_jiffies,
        ClockSource,
        Monotonic, //
    }, //
};

use crate::{
    buffer::Registry,
    card::Card,
    engine::Engine,
    ext::thread::Body, //
};

/// A time that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// Returns CLOCK_MONOTONIC in nanoseconds.
pub(crate) fn now() -> u64 {
    // CAST: The clock counts from boot, never negative.
    Monotonic::ktime_get() as u64
}

struct State {
    collect: bool,
    stop: bool,
}

/// Tells the service thread that there is something to do. May be used in any context.
#[pin_data]
pub(crate) struct Kick {
    #[pin]
    state: SpinLockIrq<State>,
    /// When the thread wakes up at the latest. Changed under the lock only.
    wake_at: Atomic<u64>,
    #[pin]
    wake: CondVar,
}

impl Kick {
    /// Makes one that nobody has told anything yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_spinlock_irq!(State {
                collect: false,
                stop: false,
            }),
            wake_at: Atomic::new(NEVER),
            wake <- new_condvar!(),
        })
    }

    /// Calls `f` under the lock, and asks for buffers without users to be freed if it says so.
    pub(crate) fn collect_if(&self, f: impl FnOnce() -> bool) {
        let mut state = self.state.lock();
        let collect = f();
        state.collect |= collect;
        drop(state);
        if collect {
            self.wake.notify_all();
        }
    }

    /// Returns when every call of [`Kick::collect_if`] that has begun its work has ended it.
    pub(crate) fn pass(&self) {
        drop(self.state.lock());
    }

    /// Asks for [`Engine::tick`] to be called at `at`, in nanoseconds.
    ///
    /// Cheap if the thread was going to wake up before that anyway.
    pub(crate) fn watch(&self, at: u64) {
        let state = self.state.lock();
        if self.wake_at.load(Relaxed) <= at {
            return;
        }
        self.wake_at.store(at, Relaxed);
        drop(state);
        self.wake.notify_all();
    }

    /// The same, from where the lock of a channel is held that [`Engine::tick`] will look at.
    pub(crate) fn watch_channel(&self, at: u64) {
        // The thread forgets the time before it takes the channel's lock. If it has done so and that is
        // not seen here, it takes the lock later.
        if self.wake_at.load(Relaxed) > at {
            self.watch(at);
        }
    }
}

/// What the service thread works on.
pub(crate) struct Service<'bound> {
    engine: &'bound Engine<'bound>,
    buffers: &'bound Registry,
    kick: &'bound Kick,
}

impl<'bound> Service<'bound> {
    /// Serves a card.
    pub(crate) fn new(card: &'bound Card<'bound>) -> Self {
        Self {
            engine: &card.engine,
            buffers: &card.buffers,
            kick: &card.kick,
        }
    }
}

impl Body for Service<'_> {
    fn run(&self) {
        loop {
            let mut state = self.kick.state.lock();
            let now = now();
            if state.stop {
                return;
            }
            let wake_at = self.kick.wake_at.load(Relaxed);
            if !state.collect && wake_at > now {
                if wake_at == NEVER {
                    // A kernel thread has no signals.
                    let _ = self.kick.wake.wait_interruptible(&mut state);
                } else {
                    let ms = (wake_at - now).div_ceil(1_000_000).min(60_000);
                    // CAST: At most a minute.
                    let jiffies = msecs_to_jiffies(ms as u32);
                    let _ = self
                        .kick
                        .wake
                        .wait_interruptible_timeout(&mut state, jiffies);
                }
                continue;
            }
            let collect = core::mem::take(&mut state.collect);
            // `tick()` asks for the next time; what asks meanwhile is not lost either.
            self.kick.wake_at.store(NEVER, Relaxed);
            drop(state);
            if collect {
                self.buffers.collect();
            }
            self.engine.tick(now);
        }
    }

    fn stop(&self) {
        self.kick.state.lock().stop = true;
        self.kick.wake.notify_all();
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Time limits: chains whose end nobody told, transfers that are given up, channels that are reset, cards
//! that must be cut off until they have stopped. Runs in the service thread, [`Engine::resume`] in interrupts too.

use kernel::{
    prelude::*,
    sync::atomic::ordering::{
        Acquire,
        Full, //
    }, //
};

use super::{
    Channel,
    Draining,
    Engine, //
};
use crate::{
    ext::pci as ext_pci,
    hw::State,
    service::{
        now,
        NEVER, //
    }, //
};

/// How often a card that does not stop is asked whether it has; ever more seldom when it is dead.
const DRAIN_NS: u64 = 10_000_000;
const DRAIN_MOST_NS: u64 = 1_000_000_000;

/// How long a card that can stop a channel may take for it. Long: to cut the card off fails what other channels do.
const GRACE_NS: u64 = 100_000_000;

impl Engine<'_> {
    /// Looks for chains that the card should have ended, and asks to be called again.
    ///
    /// Called by the service thread. May sleep.
    pub(crate) fn tick(&self, now: u64) {
        for channel in &self.channels {
            let channel = &mut *channel.lock();
            if channel.draining.is_some() {
                self.tick_draining(channel, now);
            } else if self.lost.load(Acquire) != 0 && (channel.again || channel.given.is_empty()) {
                // The card has nothing of this channel's, and will not be given anything.
                self.fail_all(channel, false);
            } else if channel.again || channel.given.is_empty() {
                self.start_next(channel, false);
            } else if channel.deadline > now {
                self.kick.watch(channel.deadline);
                // What waited for a transfer on another channel.
                self.start_next(channel, false);
            } else if self.collect(channel) {
                self.stats.lost_interrupts.add(1);
            } else if channel.untold && self.lost.load(Acquire) == 0 {
                // It could not know. Its time begins now; of a lost card it has ended.
                channel.deadline = NEVER;
                if let Some(oldest) = channel.given.front_mut().filter(|g| g.transfer.bytes == 0) {
                    oldest.transfer.start_ns = 0;
                }
                self.start_next(channel, true);
            } else {
                self.give_up(channel, now);
            }
        }
    }

    /// Ends the transfer that the card did not end in time.
    fn give_up(&self, channel: &mut Channel<'_>, now: u64) {
        self.stats.timeouts.add(1);
        channel.hw.abort();
        channel.untold = false;
        let state = channel.hw.state();
        if state == State::Idle {
            // It may have ended just now.
            let ended = self.collect_ended(channel).is_some();
            channel.again = true;
            if !ended {
                self.fail_oldest(channel, ETIMEDOUT, false);
            }
            return self.start_next(channel, false);
        }
        channel.again = true;
        channel.draining = Some(Draining {
            since: now,
            cut: false,
        });
        let error = if state == State::Gone { EIO } else { ETIMEDOUT };
        self.fail_oldest(channel, error, true);
        self.tick_draining(channel, now);
    }

    /// Ends the oldest transfer that was given; `hold` if the card may still use its buffer.
    fn fail_oldest(&self, channel: &mut Channel<'_>, error: Error, hold: bool) -> bool {
        channel.deadline = NEVER;
        let Some(mut given) = channel.given.pop_front() else {
            return false;
        };
        channel.bytes -= given.length;
        channel.ahead.forget();
        if hold {
            channel.hold(&mut given.transfer);
        }
        self.finish(channel, given.lane, given.transfer, Err(error));
        true
    }

    /// Ends all that a channel was given or has queued; `hold` if the card may still use the buffers.
    fn fail_all(&self, channel: &mut Channel<'_>, hold: bool) {
        while self.fail_oldest(channel, EIO, hold) {}
        self.fail_queued(channel, EIO);
    }

    fn tick_draining(&self, channel: &mut Channel<'_>, now: u64) {
        let state = channel.hw.state();
        if state == State::Idle {
            return self.resume(channel);
        }
        let Some(draining) = &mut channel.draining else {
            return;
        };
        let waited = now.saturating_sub(draining.since);
        let grace = if self.hw.traits().abort { GRACE_NS } else { 0 };
        if !draining.cut && waited >= grace {
            // It cannot be stopped, only cut off. The buffers stay until it has stopped.
            draining.cut = true;
            self.cuts.fetch_add(1, Full);
            self.cut_off.fetch_add(1, Full);
            if state == State::Busy {
                ext_pci::clear_master(self.pdev);
            }
        }
        let hopeless = state == State::Gone || waited > self.timeout_ns;
        if hopeless && !channel.dead {
            channel.dead = true;
            dev_err!(
                self.pdev,
                "channel {} does not answer; transfers fail until it does\n",
                channel.index
            );
            self.lost.fetch_add(1, Full);
            self.fail_all(channel, true);
            // The other channels of a card that is cut off, too.
            self.kick.watch(now);
        }
        let next = match channel.dead {
            true => (waited / 8).clamp(DRAIN_NS, DRAIN_MOST_NS),
            // It is known at the time limit whether it answers.
            false => DRAIN_NS,
        };
        self.kick.watch(now + next);
    }

    /// Goes on after the card has stopped at last.
    pub(super) fn resume(&self, channel: &mut Channel<'_>) {
        let cut = Self::end_draining(channel);
        if core::mem::take(&mut channel.dead) {
            self.lost.fetch_sub(1, Full);
        }
        // The first that may have ended is the one that was given up. What else has is not moved again: its source
        // may have changed. Of a card that was cut off nobody knows.
        if !cut && channel.hw.pop().is_some() {
            channel.again = false;
            self.collect_ended(channel);
            channel.again = true;
        }
        if cut && self.cut_off.fetch_sub(1, Full) == 1 && !channel.stopped {
            ext_pci::set_master(self.pdev);
            // The other channels start again by `tick()`.
            self.kick.watch(now());
        }
        self.start_next(channel, false);
    }

    /// Lets go of the buffers that the card might have used. Returns whether it was cut off for that.
    pub(super) fn end_draining(channel: &mut Channel<'_>) -> bool {
        while let Some(buffer) = channel.held.pop_front() {
            buffer.put_atomic();
        }
        channel.draining.take().is_some_and(|draining| draining.cut)
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Time limits: pieces whose end nobody told, transfers that are given up, cards that must be cut
//! off until they have stopped. Runs in the service thread, [`Engine::resume`] in interrupts too.

use kernel::{
    prelude::*,
    sync::atomic::ordering::Full, //
};

use super::{
    Channel,
    Draining,
    Engine,
    Running,
    Slot, //
};
use crate::{
    ext::pci as ext_pci,
    hw::State,
    service::now, //
};

/// How often a card that does not stop is asked whether it has.
const DRAIN_NS: u64 = 10_000_000;

impl Engine<'_> {
    /// Looks for pieces that the card should have ended, and asks to be called again.
    ///
    /// Called by the service thread. May sleep.
    pub(crate) fn tick(&self, now: u64) {
        for slot in &self.slots {
            let mut channel = slot.channel.lock();
            if channel.draining.is_some() {
                self.tick_draining(slot, &mut channel, now);
            } else if let Some(deadline) = channel.running.as_ref().map(|r| r.deadline) {
                if deadline > now {
                    self.kick.watch(deadline);
                } else if self.hw.state(slot.index) == State::Idle {
                    self.stats.lost_interrupts.add(1);
                    self.ended(slot, &mut channel, false);
                } else {
                    self.give_up(slot, &mut channel, now);
                }
            } else {
                self.start_next(slot, &mut channel);
            }
        }
    }

    /// Ends the transfer that the card did not end in time.
    fn give_up(&self, slot: &Slot, channel: &mut Channel, now: u64) {
        let Some(Running {
            mut transfer, lane, ..
        }) = channel.running.take()
        else {
            return;
        };
        self.stats.timeouts.add(1);
        self.hw.abort(slot.index);
        let state = self.hw.state(slot.index);
        if state == State::Busy {
            // It cannot be stopped, only cut off. The buffer stays until it has stopped.
            ext_pci::clear_master(self.pdev);
        }
        if state != State::Idle {
            self.cut_off.fetch_add(1, Full);
            channel.draining = Some(Draining {
                work: transfer.work.take(),
                since: now,
            });
            self.kick.watch(now + DRAIN_NS);
        }
        let error = if state == State::Gone { EIO } else { ETIMEDOUT };
        self.finish(channel, lane, transfer, Err(error));
        self.start_next(slot, channel);
    }

    fn tick_draining(&self, slot: &Slot, channel: &mut Channel, now: u64) {
        let state = self.hw.state(slot.index);
        if state == State::Idle {
            return self.resume(slot, channel);
        }
        let since = channel.draining.as_ref().map_or(now, |d| d.since);
        let hopeless = state == State::Gone || now.saturating_sub(since) > self.timeout_ns;
        if hopeless && !channel.dead {
            channel.dead = true;
            dev_err!(
                self.pdev,
                "channel {} does not answer; transfers fail until it does\n",
                slot.index
            );
            self.fail_queued(channel, EIO);
        }
        self.kick.watch(now + DRAIN_NS);
    }

    /// Goes on after the card has stopped at last.
    pub(super) fn resume(&self, slot: &Slot, channel: &mut Channel) {
        Self::end_draining(channel);
        channel.dead = false;
        if self.cut_off.fetch_sub(1, Full) == 1 && !channel.stopped {
            ext_pci::set_master(self.pdev);
            self.start_next(slot, channel);
            // The other channels start again by `tick()`.
            self.kick.watch(now());
        }
    }

    pub(super) fn end_draining(channel: &mut Channel) {
        if let Some(work) = channel.draining.take().and_then(|draining| draining.work) {
            work.buffer.put_atomic();
        }
    }
}

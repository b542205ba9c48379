// SPDX-License-Identifier: GPL-2.0

//! The end of an engine: the card is stopped and proven idle, then everybody is told.

use kernel::{
    io::poll::read_poll_timeout,
    prelude::*,
    sync::atomic::ordering::Full,
    time::Delta, //
};

use super::{
    Channel,
    Engine, //
};
use crate::{
    completion::Port,
    ext::pci as ext_pci,
    hw::State, //
};

impl Engine<'_> {
    /// Returns what the channels are doing, all together.
    fn state(&self) -> State {
        let mut all = State::Idle;
        for slot in &self.slots {
            let _channel = slot.channel.lock();
            match self.hw.state(slot.index) {
                State::Busy => return State::Busy,
                State::Gone => all = State::Gone,
                State::Idle => {}
            }
        }
        all
    }

    /// Starts nothing any more, waits until the card is idle and cuts it off. May sleep, for about
    /// two seconds at most. Calling it again does nothing.
    ///
    /// Buffers that the card may still write to afterwards are put in quarantine.
    pub(crate) fn stop(&self) {
        if self.stopped.xchg(true, Full) {
            return;
        }
        for slot in &self.slots {
            slot.channel.lock().stopped = true;
        }
        let idle = read_poll_timeout(
            || Ok(self.state()),
            |state| *state != State::Busy,
            Delta::from_millis(1),
            Delta::from_millis(1500),
        );
        if idle.is_err() {
            for slot in &self.slots {
                let _channel = slot.channel.lock();
                self.hw.abort(slot.index);
            }
        }
        ext_pci::clear_master(self.pdev);
        let state = self.state();
        // A card that is not there has nothing under way, and cannot say so.
        let quiet = state == State::Gone || ext_pci::wait_for_pending(self.pdev);
        // Nobody will acknowledge an interrupt any more, and the line may be shared.
        let _ = self.hw.interrupt();
        ext_pci::disable_line(self.pdev);
        if quiet && state != State::Busy {
            return;
        }
        dev_err!(
            self.pdev,
            "card cannot be stopped; it is cut off, and its buffers are never freed\n"
        );
        for slot in &self.slots {
            let mut channel = slot.channel.lock();
            core::mem::forget(channel.bounce.take());
            let running = channel
                .running
                .as_ref()
                .and_then(|running| running.transfer.work.as_ref());
            let draining = channel
                .draining
                .as_ref()
                .and_then(|draining| draining.work.as_ref());
            for work in [running, draining].into_iter().flatten() {
                work.buffer.quarantine();
            }
        }
    }

    /// Ends all transfers with ENODEV and wakes everybody up, after [`Engine::stop`]. An interrupt
    /// handler that still runs, for a neighbour on the line, finds nothing to do.
    pub(crate) fn drain(&self) {
        for slot in &self.slots {
            let mut channel = slot.channel.lock();
            Self::end_draining(&mut channel);
            if let Some(running) = channel.running.take() {
                self.finish(&mut channel, running.lane, running.transfer, Err(ENODEV));
            }
            self.fail_queued(&mut channel, ENODEV);
            channel.lanes.for_each_port(Port::set_gone);
        }
    }

    /// Ends everything that is queued with `error`.
    pub(super) fn fail_queued(&self, channel: &mut Channel, error: Error) {
        while let Some((lane, transfer)) = channel.lanes.next() {
            self.finish(channel, Some(lane), transfer, Err(error));
        }
    }
}

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
    hw::{
        self,
        State, //
    },
    queue::Work, //
};

impl Engine<'_> {
    /// Returns what the channels are doing, all together.
    fn state(&self) -> State {
        let mut all = State::Idle;
        for channel in &self.channels {
            match channel.lock().hw.state() {
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
        let abort = self.hw.traits().abort;
        for channel in &self.channels {
            let mut channel = channel.lock();
            channel.stopped = true;
            if abort {
                channel.hw.abort();
            }
        }
        let idle = read_poll_timeout(
            || Ok(self.state()),
            |state| *state != State::Busy,
            Delta::from_millis(1),
            Delta::from_millis(1500),
        );
        if idle.is_err() {
            // What ends from now on has not moved anything.
            self.cuts.fetch_add(1, Full);
            dev_warn!(self.pdev, "card is at work still; it is cut off\n");
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
        for channel in &self.channels {
            let mut channel = channel.lock();
            core::mem::forget(channel.bounce.take());
            channel.hw.quarantine();
            let Channel { given, held, .. } = &mut *channel;
            let given = given.iter_mut().filter_map(|g| g.transfer.work.as_ref());
            for buffer in given.flat_map(Work::buffers) {
                buffer.quarantine();
            }
            for buffer in held.iter_mut() {
                buffer.quarantine();
            }
        }
    }

    /// Ends all transfers with ENODEV, wakes everybody up, and gives back the memory that the channels share
    /// with the card, after [`Engine::stop`]. May sleep. An interrupt handler that still runs, for a
    /// neighbour on the line, finds nothing to do.
    pub(crate) fn drain(&self) {
        for channel in &self.channels {
            // Allocates nothing: it has no size.
            let absent = KBox::new(hw::Absent, GFP_KERNEL);
            let mut channel = channel.lock();
            if channel.draining.is_none() {
                // What ended before the card was stopped ended well.
                let _ = self.collect_ended(&mut channel);
            }
            Self::end_draining(&mut channel);
            while let Some(given) = channel.given.pop_front() {
                self.finish(&mut channel, given.lane, given.transfer, Err(ENODEV));
            }
            self.fail_queued(&mut channel, ENODEV);
            channel.lanes.for_each_port(Port::set_gone);
            let bounce = channel.bounce.take();
            let hw = absent.map(|absent| core::mem::replace(&mut channel.hw, absent));
            drop(channel);
            // To give back what the DMA API gave may sleep.
            drop((bounce, hw));
        }
    }

    /// Ends everything that is queued with `error`.
    pub(super) fn fail_queued(&self, channel: &mut Channel<'_>, error: Error) {
        while let Some((lane, transfer)) = channel.lanes.next_to_fail() {
            self.finish(channel, Some(lane), transfer, Err(error));
        }
    }
}

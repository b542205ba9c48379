// SPDX-License-Identifier: GPL-2.0

//! Places: what is reserved before a transfer is queued, so that its record cannot overflow anything.

use kernel::{
    prelude::*,
    sync::atomic::ordering::Acquire, //
};

use super::{
    Direct,
    Patience,
    Port,
    Teller,
    DEPTH, //
};
use crate::{
    queue::{
        Entry,
        Transfer, //
    },
    service, //
};

impl Port {
    /// Reserves places for entries, from the first on, as many as there are and at least one. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the card is gone, [`ENOMEM`], and those of the caller's patience. No entry has a place then.
    pub(crate) fn reserve(
        &self,
        entries: &mut [Option<Entry>],
        teller: Teller,
        how: Patience,
    ) -> Result {
        let mut state = self.state.lock();
        let mut woken = Ok(());
        loop {
            if self.gone.load(Acquire) {
                return Err(ENODEV);
            }
            if state.used < DEPTH {
                break;
            }
            // Only now: what was waited for may have come together with the signal.
            woken?;
            woken = self.sleep(&mut state, how);
        }
        let count = entries.len().min(DEPTH - state.used);
        state.take(count, teller);
        for entry in entries.iter_mut().take(count).flatten() {
            entry.ticket = state.order.begin();
            state.barriers += usize::from(entry.barrier());
        }
        let mut given = 0;
        for entry in entries.iter_mut().take(count).flatten() {
            let Some(transfer) = state.free.pop_front() else {
                break;
            };
            entry.assign(transfer);
            given += 1;
        }
        drop(state);
        for entry in entries.iter_mut().take(count).skip(given).flatten() {
            match Transfer::new(false) {
                Ok(transfer) => entry.assign(transfer),
                Err(error) => {
                    let mut state = self.state.lock();
                    for entry in entries.iter_mut().take(count).skip(given).flatten() {
                        state.end(entry.ticket.take(), entry.barrier());
                    }
                    drop(state);
                    self.unreserve(count - given, teller);
                    return if given == 0 { Err(error) } else { Ok(()) };
                }
            }
            given += 1;
        }
        Ok(())
    }

    fn unreserve(&self, count: usize, teller: Teller) {
        let mut state = self.state.lock();
        state.give_back(count, teller);
        drop(state);
        self.changed.notify_all();
    }

    /// Gives back a place that [`Port::reserve`] gave and that was not used.
    pub(crate) fn cancel_reservation(&self, mut transfer: KBox<Transfer>, teller: Teller) {
        let mut state = self.state.lock();
        state.end(transfer.ticket.take(), transfer.barrier);
        // Full only if it never was empty enough to give this one: then it is dropped.
        let full = state.free.push_back(transfer);
        drop(state);
        drop(full);
        self.unreserve(1, teller);
    }

    /// Takes the place of read() and write(). May sleep.
    ///
    /// # Errors
    ///
    /// As [`Port::reserve`].
    pub(crate) fn reserve_direct(&self, nonblock: bool) -> Result {
        let how = Patience {
            deadline: service::NEVER,
            nonblock,
        };
        let mut state = self.state.lock();
        let mut woken = Ok(());
        loop {
            if self.gone.load(Acquire) {
                return Err(ENODEV);
            }
            if matches!(state.direct, Direct::Free) {
                state.direct = Direct::Taken;
                return Ok(());
            }
            woken?;
            woken = self.sleep(&mut state, how);
        }
    }

    /// Gives back the place of read() and write(). A record that waits there is dropped.
    pub(crate) fn release_direct(&self) {
        let last = core::mem::replace(&mut self.state.lock().direct, Direct::Free);
        drop(last);
        self.changed.notify_all();
    }

    /// Waits for the transfer of read() or write() to end.
    ///
    /// # Errors
    ///
    /// [`ERESTARTSYS`]: it goes on. Never if the wait is not `interruptible`, as only for a transfer that the
    /// card, its time limit or unbind ends soon.
    pub(crate) fn wait_direct(&self, interruptible: bool) -> Result<KBox<Transfer>> {
        let how = Patience {
            deadline: service::NEVER,
            nonblock: false,
        };
        let mut state = self.state.lock();
        let mut woken = Ok(());
        loop {
            match core::mem::replace(&mut state.direct, Direct::Taken) {
                Direct::Done(transfer) => return Ok(transfer),
                other => state.direct = other,
            }
            if !interruptible {
                self.changed.wait(&mut state);
                continue;
            }
            woken?;
            woken = self.sleep(&mut state, how);
        }
    }
}

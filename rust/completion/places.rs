// SPDX-License-Identifier: GPL-2.0

//! Places: what is reserved before a transfer is queued, so that its record cannot overflow anything.

use kernel::{
    prelude::*,
    sync::{
        atomic::ordering::Acquire,
        lock::{
            spinlock::SpinLockIrqBackend,
            Guard, //
        }, //
    }, //
};

use super::{
    Direct,
    Patience,
    Port,
    State,
    Teller,
    DEPTH, //
};
use crate::{
    pure::ring::fill,
    queue::Transfer,
    service, //
};

impl Port {
    /// Reserves places, as many as there are for `batch` and at least one, and puts transfers without a job
    /// into it. Returns how many. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the card is gone, [`ENOMEM`], and those of the caller's patience.
    pub(crate) fn reserve(
        &self,
        batch: &mut [Option<KBox<Transfer>>],
        teller: Teller,
        how: Patience,
    ) -> Result<usize> {
        let mut state = self.wait_for_room(how)?;
        let count = batch.len().min(DEPTH - state.used);
        state.take(count, teller);
        let mut given = 0;
        for place in batch.iter_mut().take(count) {
            let Some(transfer) = state.free.pop() else {
                break;
            };
            fill(place, transfer);
            given += 1;
        }
        drop(state);
        let mut failed = None;
        for place in batch.iter_mut().take(count).skip(given) {
            match Transfer::new(false) {
                Ok(transfer) => {
                    *place = Some(transfer);
                    given += 1;
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        match failed {
            None => Ok(given),
            Some(error) => {
                self.unreserve(count - given, teller);
                if given == 0 {
                    Err(error)
                } else {
                    Ok(given)
                }
            }
        }
    }

    /// Reserves one place, and returns a transfer without a job. May sleep.
    ///
    /// # Errors
    ///
    /// As [`Port::reserve`].
    pub(crate) fn reserve_one(&self, teller: Teller, how: Patience) -> Result<KBox<Transfer>> {
        let mut state = self.wait_for_room(how)?;
        state.take(1, teller);
        let free = state.free.pop();
        drop(state);
        match free {
            Some(transfer) => Ok(transfer),
            None => Transfer::new(false).inspect_err(|_| self.unreserve(1, teller)),
        }
    }

    /// Waits until a place is free.
    fn wait_for_room(&self, how: Patience) -> Result<Guard<'_, State, SpinLockIrqBackend>> {
        let mut state = self.state.lock();
        let mut woken = Ok(());
        loop {
            if self.gone.load(Acquire) {
                return Err(ENODEV);
            }
            if state.used < DEPTH {
                return Ok(state);
            }
            // Only now: what was waited for may have come together with the signal.
            woken?;
            woken = self.sleep(&mut state, how);
        }
    }

    /// Called when the first of a batch, those for `channel`, are queued there in this order, with its lock held:
    /// so none of a lane waits for one behind it. Returns how many they are.
    pub(crate) fn begin(&self, batch: &mut [Option<KBox<Transfer>>], channel: u16) -> usize {
        let mut state = self.state.lock();
        let mut count = 0;
        for transfer in batch.iter_mut().map_while(Option::as_mut) {
            if transfer.channel != channel {
                break;
            }
            state.begin(transfer);
            count += 1;
        }
        count
    }

    /// The same for one.
    pub(crate) fn begin_one(&self, transfer: &mut Transfer) {
        self.state.lock().begin(transfer);
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
        let barrier = core::mem::take(&mut transfer.barrier);
        state.end(transfer.ticket.take(), barrier);
        state.free.push(transfer);
        drop(state);
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
                state.sleepers += 1;
                self.changed.wait(&mut state);
                state.sleepers -= 1;
                continue;
            }
            woken?;
            woken = self.sleep(&mut state, how);
        }
    }
}

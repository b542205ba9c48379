// SPDX-License-Identifier: GPL-2.0

//! The completion side of an open file: places for transfers, records that wait, and who sleeps.
//!
//! A [`Port`] is `'static` and needs no card: records can be collected after the card has gone.
//! It is reached from interrupts; its last reference is always dropped where sleeping is allowed,
//! because a transfer refers to its port only through its lane (see `queue.rs`).

use kernel::{
    fs::File,
    new_poll_condvar,
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Acquire,
                Release, //
            },
            Atomic, //
        },
        lock::{
            spinlock::SpinLockIrqBackend,
            Guard, //
        },
        poll::{
            PollCondVar,
            PollTable, //
        },
        CondVarTimeoutResult,
        SpinLockIrq, //
    },
    time::msecs_to_jiffies, //
};

use crate::{
    ext::eventfd::EventFd,
    hw::{
        Direction,
        MAX_VECTORS, //
    },
    pure::ring::Ring,
    queue::{
        Entry,
        Transfer, //
    },
    service,
    stats,
    uapi, //
};

/// Transfers that an open file may have between SUBMIT and WAIT.
pub(crate) const DEPTH: usize = 128;

/// A queue of transfers that never allocates.
pub(crate) type Queue = Ring<KVec<Option<KBox<Transfer>>>>;

/// Makes a queue with room for `capacity` transfers.
pub(crate) fn queue(capacity: usize) -> Result<Queue> {
    let mut slots = KVec::with_capacity(capacity, GFP_KERNEL)?;
    for _ in 0..capacity {
        slots.push(None, GFP_KERNEL)?;
    }
    Ok(Ring::new(slots))
}

/// The place of read() and write(): one request at a time and open file.
enum Direct {
    Free,
    Taken,
    Done(KBox<Transfer>),
}

/// # Invariants
///
/// `used <= DEPTH` is the number of transfers that are reserved, submitted, in `done`, or taken by a
/// call of [`Port::wait`] that has not ended.
struct State {
    /// Transfers without a job, for the next SUBMIT.
    free: Queue,
    /// Records that wait to be collected.
    done: Queue,
    /// Places that are taken.
    used: usize,
    /// Those of them that a ring of io_uring's tells of.
    rings: usize,
    /// Records that calls of [`Port::wait`] hold, of all calls together.
    claimed: usize,
    direct: Direct,
    /// Gets 1 for each record.
    event: Option<EventFd>,
}

impl State {
    fn take(&mut self, count: usize, teller: Teller) {
        self.used += count;
        if teller == Teller::Ring {
            self.rings += count;
        }
    }

    fn give_back(&mut self, count: usize, teller: Teller) {
        self.used -= count;
        if teller == Teller::Ring {
            self.rings -= count;
        }
    }
}

/// What gets 1 for each interrupt of a vector.
type Vectors = [Option<EventFd>; MAX_VECTORS];

/// See the module's documentation.
#[pin_data]
pub(crate) struct Port {
    #[pin]
    state: SpinLockIrq<State>,
    #[pin]
    changed: PollCondVar,
    #[pin]
    vectors: SpinLockIrq<Vectors>,
    gone: Atomic<bool>,
    pub(crate) stats: stats::File,
}

/// Who tells that a transfer has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Teller {
    Wait,
    /// A ring of io_uring's.
    Ring,
}

/// How long a call may sleep.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// CLOCK_MONOTONIC, in nanoseconds.
    pub(crate) deadline: u64,
    /// Do not sleep at all, and say [`EAGAIN`].
    pub(crate) nonblock: bool,
}

impl Port {
    /// Makes the port of a new open file.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            let (free, done) = (queue(DEPTH)?, queue(DEPTH)?);
            Ok(try_pin_init!(Self {
                state <- new_spinlock_irq!(State {
                    free,
                    done,
                    used: 0,
                    rings: 0,
                    claimed: 0,
                    direct: Direct::Free,
                    event: None,
                }),
                vectors <- new_spinlock_irq!([const { None }; MAX_VECTORS]),
                changed <- new_poll_condvar!("userdma::Port::changed"),
                gone: Atomic::new(false),
                stats: stats::File::new(),
            }? Error))
        })
    }

    /// Sleeps until something changes.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`], [`ETIMEDOUT`] or [`ERESTARTSYS`], if the caller's patience ends before that.
    fn sleep(&self, state: &mut Guard<'_, State, SpinLockIrqBackend>, how: Patience) -> Result {
        if how.nonblock {
            return Err(EAGAIN);
        }
        if how.deadline == service::NEVER {
            return match self.changed.wait_interruptible(state) {
                true => Err(ERESTARTSYS),
                false => Ok(()),
            };
        }
        let now = service::now();
        if how.deadline <= now {
            return Err(ETIMEDOUT);
        }
        let ms = (how.deadline - now).div_ceil(1_000_000).min(60_000);
        // CAST: At most a minute; callers ask again.
        let jiffies = msecs_to_jiffies(ms as u32);
        match self.changed.wait_interruptible_timeout(state, jiffies) {
            CondVarTimeoutResult::Signal { .. } => Err(ERESTARTSYS),
            CondVarTimeoutResult::Woken { .. } | CondVarTimeoutResult::Timeout => Ok(()),
        }
    }

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
    pub(crate) fn cancel_reservation(&self, transfer: KBox<Transfer>, teller: Teller) {
        // Full only if it never was empty enough to give this one: then it is dropped.
        let _ = self.state.lock().free.push_back(transfer);
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

    /// Called when a transfer has ended, in any context.
    pub(crate) fn complete(&self, mut transfer: KBox<Transfer>) {
        match transfer.result {
            0 => self.stats.completed.add(1),
            _ => self.stats.failed.add(1),
        }
        match transfer.direction {
            Direction::ToCard => self.stats.bytes_to_card.add(transfer.bytes),
            Direction::FromCard => self.stats.bytes_from_card.add(transfer.bytes),
        }
        let command = transfer.command.take();
        let end = (transfer.result, transfer.bytes);
        let mut state = self.state.lock();
        if command.is_some() {
            // There is room, as for any place that was taken.
            let _ = state.free.push_back(transfer);
            state.give_back(1, Teller::Ring);
        } else if transfer.direct {
            // Nobody waits any more if the place is free.
            if matches!(state.direct, Direct::Taken) {
                state.direct = Direct::Done(transfer);
            }
        } else {
            // There is room: `done` holds as many as there are places.
            let _ = state.done.push_back(transfer);
            if let Some(event) = &state.event {
                event.signal();
            }
        }
        drop(state);
        self.changed.notify_all();
        if let Some(command) = command {
            let (result, bytes) = end;
            // CAST: Clamped; where completions have room for all of it, all of it is there.
            let moved = bytes.min(i32::MAX as u64) as i32;
            command.complete(if result == 0 { moved } else { result }, bytes);
        }
    }

    /// Adds 1 to `event` for each record from now on.
    pub(crate) fn tell_records(&self, event: Option<EventFd>) {
        let before = core::mem::replace(&mut self.state.lock().event, event);
        drop(before);
    }

    /// Adds 1 to `event` for each interrupt of a vector from now on.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if there can be no such vector.
    pub(crate) fn tell_interrupts(&self, vector: u32, event: Option<EventFd>) -> Result {
        let mut vectors = self.vectors.lock();
        let place = vectors.get_mut(usize::try_from(vector)?).ok_or(EINVAL)?;
        let before = core::mem::replace(place, event);
        drop(vectors);
        drop(before);
        Ok(())
    }

    /// Called at each interrupt of a vector.
    pub(crate) fn interrupted(&self, vector: u32) {
        // CAST: `u32` fits.
        if let Some(Some(event)) = self.vectors.lock().get(vector as usize) {
            event.signal();
        }
    }

    /// Called when the card is gone, after all transfers have ended.
    pub(crate) fn set_gone(&self) {
        // Under the lock, so that nobody who has just looked goes to sleep.
        let state = self.state.lock();
        self.gone.store(true, Release);
        drop(state);
        self.changed.notify_all();
    }

    /// Collects up to `max` records into `records`, and waits until there are `min`.
    ///
    /// Then calls `commit` with their number; if that fails, they are all as before.
    ///
    /// # Errors
    ///
    /// As the header says of WAIT; only if not a single record was collected.
    pub(crate) fn wait(
        &self,
        records: uapi::Array,
        min: u32,
        how: Patience,
        commit: impl FnOnce(u32) -> Result,
    ) -> Result {
        let mut claimed: [Option<KBox<Transfer>>; DEPTH] = [const { None }; DEPTH];
        let mut count = 0;
        let result = self.collect(records, min as usize, how, &mut claimed, &mut count);
        let result = match result {
            Err(error) if count == 0 => Err(error),
            // CAST: At most `DEPTH`.
            _ => commit(count as u32),
        };
        let mut state = self.state.lock();
        state.claimed -= count;
        match result {
            Ok(()) => {
                state.used -= count;
                for transfer in claimed.iter_mut().filter_map(Option::take) {
                    let _ = state.free.push_back(transfer);
                }
            }
            Err(_) => {
                for transfer in claimed.iter_mut().rev().filter_map(Option::take) {
                    let _ = state.done.push_front(transfer);
                }
            }
        }
        drop(state);
        if count > 0 {
            self.changed.notify_all();
        }
        result
    }

    /// Moves records to `claimed` and to the program, `count` of them.
    fn collect(
        &self,
        records: uapi::Array,
        min: usize,
        how: Patience,
        claimed: &mut [Option<KBox<Transfer>>],
        count: &mut usize,
    ) -> Result {
        let max = (records.count() as usize).min(claimed.len());
        loop {
            let mut state = self.state.lock();
            let mut woken = Ok(());
            let transfer = loop {
                if *count == max {
                    return Ok(());
                }
                if let Some(transfer) = state.done.pop_front() {
                    state.claimed += 1;
                    break transfer;
                }
                // Nothing is in flight: nothing more will come, unless another call gives back what it
                // holds. Only a call that has nothing itself waits for that, else two would wait for
                // each other.
                if state.used - state.rings == state.claimed && (*count > 0 || state.claimed == 0) {
                    return match self.gone.load(Acquire) {
                        true => Err(ENODEV),
                        false => Ok(()),
                    };
                }
                if *count >= min {
                    return Ok(());
                }
                woken?;
                woken = self.sleep(&mut state, how);
            };
            drop(state);
            // CAST: Below `DEPTH`.
            let written = records.write(*count as u32, &transfer.record());
            if let (Ok(()), Some(place)) = (written, claimed.get_mut(*count)) {
                *place = Some(transfer);
                *count += 1;
            } else {
                let mut state = self.state.lock();
                state.claimed -= 1;
                let _ = state.done.push_front(transfer);
                drop(state);
                // Somebody may have looked while it was not there.
                self.changed.notify_all();
                return Err(EFAULT);
            }
        }
    }

    /// Returns whether there is nothing that a WAIT could hand out, now or later.
    pub(crate) fn idle(&self) -> bool {
        let state = self.state.lock();
        state.used == state.rings
    }

    /// Registers a poller, and returns what is ready: a record, room for a transfer.
    pub(crate) fn poll(&self, file: &File, table: PollTable<'_>) -> (bool, bool) {
        // First, so that no wake-up is lost between looking and sleeping.
        table.register_wait(file, &self.changed);
        let state = self.state.lock();
        (!state.done.is_empty(), state.used < DEPTH)
    }
}

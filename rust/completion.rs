// SPDX-License-Identifier: GPL-2.0

//! The completion side of an open file: records that wait, and who sleeps. The rooms: `places` for transfers that
//! are to come, and for the request of read() or write(); `wait`, which hands records out.
//!
//! A [`Port`] is `'static` and needs no card: records can be collected after the card has gone.
//! It is reached from interrupts; its last reference is always dropped where sleeping is allowed,
//! because a transfer refers to its port only through its lane (see `queue.rs`).

mod places;
mod wait;

use kernel::{
    fs::File,
    new_poll_condvar,
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            ordering::Release,
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
    pure::{
        order::{
            Order,
            Ticket, //
        },
        ring::Ring, //
    },
    queue::{
        Pile,
        Transfer, //
    },
    service,
    stats, //
};

/// Transfers that an open file may have between SUBMIT and WAIT.
pub(crate) const DEPTH: usize = 128;

/// A queue that never allocates.
pub(crate) type Fifo<T> = Ring<KVec<Option<T>>>;

/// A queue of transfers.
pub(crate) type Queue = Fifo<KBox<Transfer>>;

/// Makes a queue with room for so many.
pub(crate) fn fifo<T>(capacity: usize) -> Result<Fifo<T>> {
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
    free: Pile,
    /// Records that wait to be collected.
    done: Queue,
    /// Places that are taken.
    used: usize,
    /// Those of them that a ring of io_uring's tells of.
    rings: usize,
    /// Records that calls of [`Port::wait`] hold, of all calls together.
    claimed: usize,
    /// Calls that sleep until something changes.
    sleepers: usize,
    /// Somebody has polled since pollers were last woken. Whoever is woken polls again before he sleeps again.
    polled: bool,
    direct: Direct,
    /// Gets 1 for each record.
    event: Option<EventFd>,
    /// Transfers that are submitted and have not ended.
    order: Order<DEPTH>,
    /// How many of them wait for earlier ones.
    barriers: usize,
}

impl State {
    /// Called when a transfer is queued.
    fn begin(&mut self, transfer: &mut Transfer) {
        // That of read() or write() has no place among the others.
        if !transfer.direct {
            transfer.ticket = self.order.begin();
            self.barriers += usize::from(transfer.barrier);
        }
    }

    /// Called when a transfer has ended, or never began.
    fn end(&mut self, ticket: Option<Ticket>, barrier: bool) {
        if let Some(ticket) = ticket {
            self.order.end(ticket);
            self.barriers -= usize::from(barrier);
        }
    }

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

impl Patience {
    /// Without sleeping.
    pub(crate) fn at_once(self) -> Self {
        Self {
            nonblock: true,
            ..self
        }
    }
}

impl Port {
    /// Makes the port of a new open file.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            let done = fifo(DEPTH)?;
            Ok(try_pin_init!(Self {
                state <- new_spinlock_irq!(State {
                    free: Pile::default(),
                    done,
                    used: 0,
                    rings: 0,
                    claimed: 0,
                    sleepers: 0,
                    polled: false,
                    direct: Direct::Free,
                    event: None,
                    order: Order::new(),
                    barriers: 0,
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
        state.sleepers += 1;
        let result = self.sleep_until(state, how.deadline);
        state.sleepers -= 1;
        result
    }

    fn sleep_until(
        &self,
        state: &mut Guard<'_, State, SpinLockIrqBackend>,
        deadline: u64,
    ) -> Result {
        if deadline == service::NEVER {
            return match self.changed.wait_interruptible(state) {
                true => Err(ERESTARTSYS),
                false => Ok(()),
            };
        }
        let now = service::now();
        if deadline <= now {
            return Err(ETIMEDOUT);
        }
        let ms = (deadline - now).div_ceil(1_000_000).min(60_000);
        // CAST: At most a minute; callers ask again.
        let jiffies = msecs_to_jiffies(ms as u32);
        match self.changed.wait_interruptible_timeout(state, jiffies) {
            CondVarTimeoutResult::Signal { .. } => Err(ERESTARTSYS),
            CondVarTimeoutResult::Woken { .. } | CondVarTimeoutResult::Timeout => Ok(()),
        }
    }

    /// Returns whether all transfers before this one have ended.
    pub(crate) fn may_begin(&self, transfer: &Transfer) -> bool {
        let state = self.state.lock();
        transfer
            .ticket
            .is_none_or(|ticket| state.order.is_first(ticket))
    }

    /// Called when a transfer has ended, in any context. Returns whether others may have waited for it.
    pub(crate) fn complete(&self, mut transfer: KBox<Transfer>) -> bool {
        match transfer.result {
            0 => self.stats.completed.add(1),
            _ => self.stats.failed.add(1),
        }
        match transfer.direction {
            Direction::ToCard => self.stats.bytes_to_card.add(transfer.bytes),
            Direction::FromCard => self.stats.bytes_from_card.add(transfer.bytes),
            Direction::HostToHost => self.stats.bytes_host_to_host.add(transfer.bytes),
        }
        let command = transfer.command.take();
        let end = (transfer.result, transfer.bytes);
        let mut state = self.state.lock();
        let barrier = core::mem::take(&mut transfer.barrier);
        state.end(transfer.ticket.take(), barrier);
        let awaited = state.barriers > 0;
        if command.is_some() {
            state.free.push(transfer);
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
        // Now and then in any case: who is woken may be killed before he polls again.
        let often = state.done.len().is_power_of_two();
        let wake = core::mem::take(&mut state.polled) || state.sleepers > 0 || often;
        drop(state);
        if wake {
            self.changed.notify_all();
        }
        if let Some(command) = command {
            let (result, bytes) = end;
            // CAST: Clamped; where completions have room for all of it, all of it is there.
            let moved = bytes.min(i32::MAX as u64) as i32;
            command.complete(if result == 0 { moved } else { result }, bytes);
        }
        awaited
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

    /// Returns whether there is nothing that a WAIT could hand out, now or later.
    pub(crate) fn idle(&self) -> bool {
        let state = self.state.lock();
        state.used == state.rings
    }

    /// Registers a poller, and returns what is ready: a record, room for a transfer.
    pub(crate) fn poll(&self, file: &File, table: PollTable<'_>) -> (bool, bool) {
        // First, so that no wake-up is lost between looking and sleeping.
        table.register_wait(file, &self.changed);
        let mut state = self.state.lock();
        state.polled = true;
        (!state.done.is_empty(), state.used < DEPTH)
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The queue of one channel: order within an open file, fairness between them.
//!
//! No hardware, no user pointers. Everything here is owned by a channel and protected by its lock.
//! Each open file has one [`Lane`] per channel. A transfer knows its lane, not its port; so no
//! interrupt ever drops the last reference to a port, which would have to sleep.

mod pile;

use kernel::{
    prelude::*,
    sync::Arc, //
};

use crate::{
    buffer::BufferRef,
    completion::{
        fifo,
        Port,
        Queue,
        DEPTH, //
    },
    ext::uring::Command,
    hw::Direction,
    pure::{
        fair::{
            pick,
            Clock,
            Share, //
        },
        order::Ticket,
        ring::fill, //
    },
    uapi, //
};

pub(crate) use pile::Pile;

/// What a file is charged for a transfer at least, in bytes. A card takes its time for a small one
/// too: else a file with one-byte transfers could have thousands of them go before a large one. Small
/// enough to leave sharing by bytes what it is.
const LEAST_CHARGE: u64 = 256;

/// What a transfer moves. Sizes are in bytes; all ranges have been checked.
pub(crate) struct Work {
    pub(crate) direction: Direction,
    /// What the program calls the buffer, or 0.
    pub(crate) handle: u32,
    pub(crate) buffer: BufferRef,
    /// What is written from the host to the host; `buffer` is read then.
    pub(crate) second: Option<BufferRef>,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// Into the card's memory, or into `second`.
    pub(crate) target: u64,
    /// The longest it may take on the card in nanoseconds, or 0.
    pub(crate) timeout_ns: u64,
}

impl Work {
    /// Returns all that the card uses.
    pub(crate) fn buffers(&self) -> impl Iterator<Item = &BufferRef> {
        [Some(&self.buffer), self.second.as_ref()]
            .into_iter()
            .flatten()
    }

    /// Lets go of the buffers in any context. The card is bound, and done with them.
    pub(crate) fn put_atomic(self) {
        self.buffer.put_atomic();
        if let Some(second) = self.second {
            second.put_atomic();
        }
    }
}

/// A transfer, from SUBMIT to WAIT; or a request of read() or write().
pub(crate) struct Transfer {
    pub(crate) user_data: u64,
    pub(crate) channel: u16,
    /// Its file's lane of the channel.
    pub(crate) lane: usize,
    /// It belongs to read() or write().
    pub(crate) direct: bool,
    /// Its place among the transfers of its file, from when it is queued to its end.
    pub(crate) ticket: Option<Ticket>,
    /// It begins when all earlier transfers of its file have ended.
    pub(crate) barrier: bool,
    /// It completes on a ring of io_uring's, and WAIT does not tell of it.
    pub(crate) command: Option<Command>,
    /// Which way it moves.
    pub(crate) direction: Direction,
    /// Gone when the transfer has ended.
    pub(crate) work: Option<Work>,
    /// Moved so far.
    pub(crate) bytes: u64,
    /// 0 or a negative errno.
    pub(crate) result: i32,
    pub(crate) submit_ns: u64,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// In a [`Pile`].
    below: Option<KBox<Transfer>>,
}

impl Transfer {
    /// Allocates a transfer that has nothing to do yet. May sleep.
    pub(crate) fn new(direct: bool) -> Result<KBox<Self>> {
        Ok(KBox::new(
            Self {
                user_data: 0,
                channel: 0,
                lane: 0,
                direct,
                ticket: None,
                barrier: false,
                command: None,
                direction: Direction::ToCard,
                work: None,
                bytes: 0,
                result: 0,
                submit_ns: 0,
                start_ns: 0,
                end_ns: 0,
                below: None,
            },
            GFP_KERNEL,
        )?)
    }

    /// Gives the transfer something to do.
    // Inline, as what makes the `Work`: else it is moved each time.
    #[inline(always)]
    pub(crate) fn assign(&mut self, user_data: u64, channel: u16, lane: usize, work: Work) {
        self.user_data = user_data;
        self.channel = channel;
        self.lane = lane;
        self.direction = work.direction;
        self.barrier = false;
        fill(&mut self.work, work);
        self.bytes = 0;
        self.result = 0;
        self.start_ns = 0;
        self.end_ns = 0;
    }

    /// Returns what WAIT tells about the transfer.
    pub(crate) fn record(&self) -> uapi::userdma_completion {
        uapi::userdma_completion {
            user_data: self.user_data,
            bytes: self.bytes,
            result: self.result,
            channel: u32::from(self.channel),
            flags: 0,
            reserved0: 0,
            submit_ns: self.submit_ns,
            start_ns: self.start_ns,
            end_ns: self.end_ns,
            reserved: 0,
        }
    }

    fn length(&self) -> u64 {
        self.work.as_ref().map_or(0, |work| work.length)
    }

    /// Returns how many bytes have not been moved yet.
    pub(crate) fn rest(&self) -> u64 {
        self.length().saturating_sub(self.bytes)
    }
}

/// What one open file has queued on one channel. Dropping it may sleep: buffers may be freed.
pub(crate) struct Lane {
    port: Arc<Port>,
    queue: Queue,
    share: Share,
}

impl Lane {
    /// Makes an empty lane with room for all that the file may have at once.
    pub(crate) fn new(port: Arc<Port>) -> Result<Self> {
        Ok(Self {
            port,
            queue: fifo(DEPTH + 1)?,
            share: Share::default(),
        })
    }

    /// Charges the file for a transfer that goes to the card.
    fn charge(&mut self, clock: &mut Clock, transfer: &Transfer) {
        clock.charge(&mut self.share, transfer.length().max(LEAST_CHARGE));
    }
}

/// The lanes of one channel.
///
/// # Invariants
///
/// `queued` is the number of transfers in all lanes.
pub(crate) struct Lanes {
    lanes: KVec<Option<Lane>>,
    queued: usize,
    clock: Clock,
    last: usize,
}

impl Lanes {
    /// Makes a channel without open files.
    pub(crate) const fn new() -> Self {
        Self {
            lanes: KVec::new(),
            queued: 0,
            clock: Clock::new(),
            last: 0,
        }
    }

    /// Returns how many places there must be so that one more lane can be added.
    pub(crate) fn needed(&self) -> usize {
        match self.lanes.iter().any(Option::is_none) {
            true => 0,
            false => self.lanes.len() + 1,
        }
    }

    /// Adds a lane, and returns its index. Never allocates: `spare` is taken if there is no free
    /// place, and gives the lane back if it is too small.
    pub(crate) fn add(
        &mut self,
        lane: Lane,
        spare: &mut KVec<Option<Lane>>,
    ) -> Result<usize, Lane> {
        if let Some(index) = self.lanes.iter().position(Option::is_none) {
            if let Some(place) = self.lanes.get_mut(index) {
                *place = Some(lane);
            }
            return Ok(index);
        }
        if spare.capacity() <= self.lanes.len() {
            return Err(lane);
        }
        for place in self.lanes.iter_mut() {
            let _ = spare.push_within_capacity(place.take());
        }
        let _ = spare.push_within_capacity(Some(lane));
        core::mem::swap(&mut self.lanes, spare);
        Ok(self.lanes.len() - 1)
    }

    /// Takes a lane out, at the close of its file.
    pub(crate) fn take(&mut self, index: usize) -> Option<Lane> {
        let lane = self.lanes.get_mut(index)?.take()?;
        self.queued -= lane.queue.len();
        Some(lane)
    }

    /// Returns whether nothing is queued.
    pub(crate) fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// Returns the port of a lane.
    pub(crate) fn port(&self, index: usize) -> Option<&Port> {
        Some(&self.lanes.get(index)?.as_ref()?.port)
    }

    /// Queues a transfer. Gives it back if the lane is full or gone.
    pub(crate) fn push(&mut self, transfer: KBox<Transfer>) -> Result<(), KBox<Transfer>> {
        let Some(lane) = self.lanes.get_mut(transfer.lane).and_then(Option::as_mut) else {
            return Err(transfer);
        };
        if lane.queue.is_empty() {
            self.clock.wake(&mut lane.share);
        }
        lane.queue.push_back(transfer)?;
        self.queued += 1;
        Ok(())
    }

    /// Called instead of [`Lanes::push`] and [`Lanes::next`] for a transfer that goes at once because nothing is
    /// queued. Returns whether there is such a lane.
    pub(crate) fn pass(&mut self, transfer: &Transfer) -> bool {
        let Some(lane) = self.lanes.get_mut(transfer.lane).and_then(Option::as_mut) else {
            return false;
        };
        self.clock.wake(&mut lane.share);
        lane.charge(&mut self.clock, transfer);
        self.last = transfer.lane;
        true
    }

    /// Takes the transfer that goes next, and the index of its lane.
    pub(crate) fn next(&mut self) -> Option<(usize, KBox<Transfer>)> {
        self.take_first(|lane, first| !first.barrier || lane.port.may_begin(first))
    }

    /// The same, whatever it still waits for: to end it.
    pub(crate) fn next_to_fail(&mut self) -> Option<(usize, KBox<Transfer>)> {
        self.take_first(|_, _| true)
    }

    /// Returns the lane that went last, if no other has anything: mostly there is but one.
    fn alone(&self) -> Option<(usize, &Option<Lane>)> {
        let place = self.lanes.get(self.last)?;
        let queued = place.as_ref()?.queue.len();
        (queued == self.queued).then_some((self.last, place))
    }

    fn take_first(
        &mut self,
        ready: impl Fn(&Lane, &Transfer) -> bool,
    ) -> Option<(usize, KBox<Transfer>)> {
        let waiting = |(index, lane): (usize, &Option<Lane>)| {
            let lane = lane.as_ref()?;
            ready(lane, lane.queue.front()?).then_some((index, lane.share))
        };
        let index = match self.alone() {
            Some(alone) => waiting(alone)?.0,
            None => pick(self.lanes.iter().enumerate().filter_map(waiting), self.last)?,
        };
        let lane = self.lanes.get_mut(index)?.as_mut()?;
        let transfer = lane.queue.pop_front()?;
        self.queued -= 1;
        lane.charge(&mut self.clock, &transfer);
        self.last = index;
        Some((index, transfer))
    }

    /// Takes back the first transfer of a lane that is `wanted`.
    pub(crate) fn withdraw(
        &mut self,
        index: usize,
        wanted: impl Fn(&Transfer) -> bool,
    ) -> Option<KBox<Transfer>> {
        let lane = self.lanes.get_mut(index)?.as_mut()?;
        let transfer = lane.queue.remove_first(|transfer| wanted(transfer))?;
        self.queued -= 1;
        Some(transfer)
    }

    /// Hands an ended transfer to its file. Returns whether others of that may wait for it on other channels.
    /// If the file was closed it is dropped: nothing of it is left that needs to sleep.
    pub(crate) fn complete(&self, lane: Option<usize>, transfer: KBox<Transfer>) -> bool {
        match lane.and_then(|index| self.lanes.get(index)?.as_ref()) {
            Some(lane) => lane.port.complete(transfer),
            None => false,
        }
    }

    /// Calls `f` with the port of each open file.
    pub(crate) fn for_each_port(&self, mut f: impl FnMut(&Port)) {
        for lane in self.lanes.iter().flatten() {
            f(&lane.port);
        }
    }
}

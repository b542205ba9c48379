// SPDX-License-Identifier: GPL-2.0

//! SUBMIT, CANCEL, WAIT and EVENTFD.

use kernel::prelude::*;

use super::{
    ioctl::{
        check_flags,
        require, //
    },
    OpenFile, //
};
use crate::{
    buffer::BufferRef,
    completion::{
        Patience,
        Teller,
        DEPTH, //
    },
    ext::{
        chardev::Device,
        eventfd::EventFd, //
    },
    hw::Direction,
    pure::range,
    queue::{
        Entry,
        Transfer,
        Work, //
    },
    service,
    uapi::{
        self,
        Argument,
        Array, //
    }, //
};

/// The most entries that are queued at once: the card is told of them together.
const BATCH: u32 = 64;

/// Which transfers are to be withdrawn.
pub(super) struct Withdraw {
    channel: usize,
    lane: usize,
    /// Those with this `user_data`; else all.
    only: Option<u64>,
}

impl OpenFile {
    pub(super) fn submit(&self, dev: &Device<Self>, arg: usize, nonblock: bool) -> Result {
        let (argument, mut submit) = Argument::read::<uapi::userdma_submit>(arg)?;
        Array::check::<uapi::userdma_transfer>(submit.entry_size)?;
        check_flags(submit.flags, 0)?;
        require(submit.reserved == 0)?;
        let entries = Array::new(submit.entries, submit.entry_size, submit.count)?;
        // Before anything is accepted: nobody could be told how many were.
        argument.check_writable(&submit)?;

        let mut accepted = 0;
        let mut one = [None];
        let mut many = KVec::new();
        let batch = match entries.count().min(BATCH) {
            1 => &mut one[..],
            count => {
                for _ in 0..count {
                    many.push(None, GFP_KERNEL)?;
                }
                &mut many[..]
            }
        };
        while accepted < entries.count() {
            match self.submit_some(dev, &entries, accepted, nonblock, batch) {
                Ok(count) => accepted += count,
                Err(error) if accepted == 0 => return Err(error),
                Err(_) => break,
            }
        }
        submit.out_count = accepted;
        argument.write(&submit)
    }

    /// Checks and queues entries from `first` on, as many as `batch` has places. Returns how many, at least
    /// one; it sleeps for a place only if `first` is 0.
    fn submit_some(
        &self,
        dev: &Device<Self>,
        entries: &Array,
        first: u32,
        nonblock: bool,
        batch: &mut [Option<Entry>],
    ) -> Result<u32> {
        let mut count = 0;
        for (index, place) in (first..entries.count()).zip(batch.iter_mut()) {
            match self.check(entries, index) {
                Ok(entry) => *place = Some(entry),
                Err(error) if count == 0 => return Err(error),
                Err(_) => break,
            }
            count += 1;
        }
        let batch = batch.get_mut(..count).ok_or(EINVAL)?;
        // Sleeps, if at all, without the guard; what it waits for, unbind ends.
        let patience = Patience {
            deadline: service::NEVER,
            nonblock: nonblock || first > 0,
        };
        let reserved = self.port.reserve(batch, Teller::Wait, patience);
        let queued = reserved.and_then(|()| dev.with(|bound| bound.card.engine.submit(batch)));
        // Memory of programs is given back here, without the guard.
        let mut left = false;
        for entry in batch.iter_mut().filter_map(Option::take) {
            left = true;
            if let Some(transfer) = entry.into_transfer() {
                self.give_back(transfer, Teller::Wait);
            }
        }
        if left {
            look_again(dev);
        }
        let queued = queued?;
        self.port.stats.submitted.add(u64::from(queued));
        Ok(queued)
    }

    /// Gives back the place of a transfer that was not queued.
    pub(super) fn give_back(&self, mut transfer: KBox<Transfer>, teller: Teller) {
        transfer.work = None;
        self.port.cancel_reservation(transfer, teller);
    }

    /// Reads and checks entry `index`.
    fn check(&self, entries: &Array, index: u32) -> Result<Entry> {
        self.checked(&entries.read(index)?)
    }

    /// Checks an entry.
    pub(super) fn checked(&self, entry: &uapi::userdma_transfer) -> Result<Entry> {
        let lane = self.lanes.get(usize::from(entry.channel)).ok_or(EINVAL);
        let lane = *lane.or_else(|error| check_entry(entry).and(Err(error)))?;
        let work = self.work(entry)?;
        Ok(Entry::new(entry.user_data, entry.channel, lane, work))
    }

    /// Turns the names in `entry` into references, and checks its ranges.
    fn work(&self, entry: &uapi::userdma_transfer) -> Result<Work> {
        check_entry(entry)?;
        let places = entry.buffer_offset | entry.card_offset | entry.length;
        require(places & (self.alignment - 1) == 0)?;
        let direction = match u32::from(entry.op) {
            uapi::USERDMA_OP_TO_CARD => Direction::ToCard,
            _ => Direction::FromCard,
        };
        let allowed = match direction {
            // The card reads what the program may write, and the other way round.
            Direction::ToCard => self.writable,
            Direction::FromCard => self.readable,
        };
        if !allowed {
            return Err(EBADF);
        }
        let buffer = self.with_buffer(entry.buffer, |buffer, _| buffer.clone())?;
        if direction == Direction::FromCard && buffer.source_only() {
            return Err(EACCES);
        }
        self.check_ranges(&buffer, entry)?;
        Ok(Work {
            direction,
            buffer,
            offset: entry.buffer_offset,
            length: entry.length,
            card_offset: entry.card_offset,
            timeout_ns: entry.timeout_ns,
            barrier: entry.flags & uapi::USERDMA_TRANSFER_BARRIER != 0,
        })
    }

    fn check_ranges(&self, buffer: &BufferRef, entry: &uapi::userdma_transfer) -> Result {
        let (length, align) = (entry.length, self.alignment);
        range::check(entry.buffer_offset, length, buffer.length, align)
            .and_then(|()| range::check(entry.card_offset, length, self.card_size, align))
            .map_err(range_error)
    }

    pub(super) fn cancel(&self, dev: &Device<Self>, arg: usize) -> Result {
        let (argument, mut cancel) = Argument::read::<uapi::userdma_cancel>(arg)?;
        let which = self.check_cancel(&cancel)?;
        // Before anything is withdrawn: nobody could be told how many were.
        argument.check_writable(&cancel)?;
        cancel.out_count = self.withdraw(dev, which)?;
        argument.write(&cancel)
    }

    /// Checks what is to be withdrawn.
    pub(super) fn check_cancel(&self, cancel: &uapi::userdma_cancel) -> Result<Withdraw> {
        check_flags(cancel.flags, uapi::USERDMA_CANCEL_ALL)?;
        let all = cancel.flags & uapi::USERDMA_CANCEL_ALL != 0;
        require(cancel.reserved == 0 && !(all && cancel.user_data != 0))?;
        let channel = usize::try_from(cancel.channel)?;
        Ok(Withdraw {
            channel,
            lane: *self.lanes.get(channel).ok_or(EINVAL)?,
            only: (!all).then_some(cancel.user_data),
        })
    }

    /// Withdraws transfers; returns how many.
    pub(super) fn withdraw(&self, dev: &Device<Self>, which: Withdraw) -> Result<u32> {
        let wanted = |transfer: &Transfer| {
            !transfer.direct && which.only.is_none_or(|data| data == transfer.user_data)
        };
        dev.with(|bound| {
            let engine = &bound.card.engine;
            Ok(engine.cancel(which.channel, which.lane, wanted))
        })
    }

    pub(super) fn eventfd(&self, dev: &Device<Self>, arg: usize) -> Result {
        let (_, eventfd) = Argument::read::<uapi::userdma_eventfd>(arg)?;
        check_flags(eventfd.flags, uapi::USERDMA_EVENTFD_VECTOR)?;
        let of_vector = eventfd.flags & uapi::USERDMA_EVENTFD_VECTOR != 0;
        let vectors = dev.with(|bound| Ok(bound.vectors))?;
        require(eventfd.vector < if of_vector { vectors } else { 1 })?;
        require(eventfd.fd >= -1)?;
        let new = match eventfd.fd {
            -1 => None,
            fd => Some(EventFd::get(fd)?),
        };
        dev.with(|bound| {
            if !of_vector {
                self.port.tell_records(new);
                return Ok(());
            }
            if new.is_some() {
                bound.card.engine.watch_interrupts();
            }
            self.port.tell_interrupts(eventfd.vector, new)
        })
    }

    pub(super) fn wait(&self, arg: usize, nonblock: bool) -> Result {
        let (argument, wait) = Argument::read::<uapi::userdma_wait>(arg)?;
        Array::check::<uapi::userdma_completion>(wait.entry_size)?;
        check_flags(wait.flags, 0)?;
        let records = Array::new(wait.entries, wait.entry_size, wait.max)?;
        if wait.min > wait.max {
            return Err(EINVAL);
        }
        argument.check_writable(&wait)?;
        let patience = Patience {
            deadline: wait.deadline_ns,
            nonblock,
        };
        // CAST: A small number.
        let min = wait.min.min(DEPTH as u32);
        let mut wait = wait;
        self.port.wait(records, min, patience, |count| {
            wait.out_count = count;
            argument.write(&wait)
        })
    }
}

/// A transfer that others waited for does not come.
pub(super) fn look_again(dev: &Device<OpenFile>) {
    // If the card is gone nobody waits.
    let _ = dev.with(|bound| {
        bound.card.kick.watch(service::now());
        Ok(())
    });
}

/// Checks what can be checked of an entry by itself.
fn check_entry(entry: &uapi::userdma_transfer) -> Result {
    match u32::from(entry.op) {
        uapi::USERDMA_OP_TO_CARD | uapi::USERDMA_OP_FROM_CARD => {}
        // HOST_TO_HOST comes with a card that can do it.
        _ => return Err(EOPNOTSUPP),
    }
    check_flags(entry.flags, uapi::USERDMA_TRANSFER_BARRIER)?;
    require(entry.reserved == 0 && entry.buffer2 == 0)?;
    require(entry.length != 0)
}

/// Returns the errno that says why a range is refused.
pub(super) fn range_error(error: range::Error) -> Error {
    match error {
        range::Error::Wraps => EOVERFLOW,
        range::Error::Outside => ERANGE,
        range::Error::Empty | range::Error::Misaligned => EINVAL,
    }
}

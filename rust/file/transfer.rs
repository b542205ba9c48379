// SPDX-License-Identifier: GPL-2.0

//! The entries of transfers; CANCEL, WAIT and EVENTFD.

use core::mem::offset_of;

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
        DEPTH, //
    },
    ext::{
        chardev::Device,
        eventfd::EventFd, //
    },
    hw::Direction,
    pure::range,
    queue::{
        Transfer,
        Work, //
    },
    uapi::{
        self,
        Argument,
        Array, //
    }, //
};

/// Which transfers are to be withdrawn.
pub(super) struct Withdraw {
    channel: usize,
    lane: usize,
    /// Those with this `user_data`; else all.
    only: Option<u64>,
}

impl OpenFile {
    /// Checks an entry and gives a transfer its job.
    pub(super) fn assign_checked(
        &self,
        transfer: &mut Transfer,
        entry: &uapi::userdma_transfer,
    ) -> Result {
        self.assign(transfer, entry, self.work(entry, None)?)
    }

    /// Gives a transfer the job of an entry that was checked.
    // See `Transfer::assign()`.
    #[inline(always)]
    pub(super) fn assign(
        &self,
        transfer: &mut Transfer,
        entry: &uapi::userdma_transfer,
        work: Work,
    ) -> Result {
        let lane = *self.lanes.get(usize::from(entry.channel)).ok_or(EINVAL)?;
        transfer.assign(entry.user_data, entry.channel, lane, work);
        transfer.barrier = entry.flags & uapi::USERDMA_TRANSFER_BARRIER != 0;
        Ok(())
    }

    /// Checks what can be checked of `entry` without its buffers. Returns which way it moves.
    pub(super) fn direction(&self, entry: &uapi::userdma_transfer) -> Result<Direction> {
        let (direction, unused) = match u32::from(entry.op) {
            uapi::USERDMA_OP_TO_CARD => (Direction::ToCard, entry.buffer2),
            uapi::USERDMA_OP_FROM_CARD => (Direction::FromCard, entry.buffer2),
            uapi::USERDMA_OP_HOST_TO_HOST if self.host_to_host => (Direction::HostToHost, 0),
            _ => return Err(EOPNOTSUPP),
        };
        check_flags(entry.flags, uapi::USERDMA_TRANSFER_BARRIER)?;
        require(entry.reserved | u64::from(unused) == 0)?;
        require(entry.length != 0)?;
        require(usize::from(entry.channel) < self.lanes.len())?;
        let allowed = match direction {
            // The card reads what the program may write, and the other way round.
            Direction::ToCard => self.writable,
            Direction::FromCard => self.readable,
            Direction::HostToHost => self.readable && self.writable,
        };
        match allowed {
            true => Ok(direction),
            false => Err(EBADF),
        }
    }

    /// Checks `entry`, and turns the names in it into references. Of the same buffer as `last`, if it names that.
    // See `Transfer::assign()`.
    #[inline(always)]
    pub(super) fn work(&self, entry: &uapi::userdma_transfer, last: Option<&Work>) -> Result<Work> {
        let direction = self.direction(entry)?;
        let buffer = match last {
            Some(last) if last.handle == entry.buffer => last.buffer.clone(),
            _ => self.with_buffer(entry.buffer, |buffer, _| buffer.clone())?,
        };
        if direction == Direction::HostToHost {
            return self.work_of_two(entry, buffer);
        }
        if direction == Direction::FromCard && buffer.source_only() {
            return Err(EACCES);
        }
        let (length, align) = (entry.length, self.alignment);
        range::check(entry.buffer_offset, length, buffer.length, align).map_err(range_error)?;
        self.check_target(entry, self.card_size)?;
        Ok(Work {
            direction,
            handle: entry.buffer,
            buffer,
            second: None,
            offset: entry.buffer_offset,
            length,
            target: entry.card_offset,
            timeout_ns: entry.timeout_ns,
        })
    }

    /// The same from the host to the host, once the buffer is found that is read.
    // Apart: else all others pay for it.
    #[inline(never)]
    fn work_of_two(&self, entry: &uapi::userdma_transfer, buffer: BufferRef) -> Result<Work> {
        let second = self.second(entry)?;
        let (length, align) = (entry.length, self.alignment);
        range::check(entry.buffer_offset, length, buffer.length, align).map_err(range_error)?;
        self.check_target(entry, second.length)?;
        // In which order a card moves the bytes of a transfer is its own affair.
        let apart = range::are_apart(entry.buffer_offset, entry.card_offset, length);
        require(entry.buffer != entry.buffer2 || apart)?;
        Ok(Work {
            direction: Direction::HostToHost,
            handle: entry.buffer,
            buffer,
            second: Some(second),
            offset: entry.buffer_offset,
            length,
            target: entry.card_offset,
            timeout_ns: entry.timeout_ns,
        })
    }

    /// Returns the buffer that is written from the host to the host.
    pub(super) fn second(&self, entry: &uapi::userdma_transfer) -> Result<BufferRef> {
        let second = self.with_buffer(entry.buffer2, |buffer, _| buffer.clone())?;
        match second.source_only() {
            true => Err(EACCES),
            false => Ok(second),
        }
    }

    /// Checks the place in the card's memory, or in the second buffer, of `size` bytes.
    pub(super) fn check_target(&self, entry: &uapi::userdma_transfer, size: u64) -> Result {
        range::check(entry.card_offset, entry.length, size, self.alignment).map_err(range_error)
    }

    pub(super) fn cancel(&self, dev: &Device<Self>, arg: usize) -> Result {
        let (argument, cancel) = Argument::read::<uapi::userdma_cancel>(arg)?;
        let which = self.check_cancel(&cancel)?;
        // Before anything is withdrawn: nobody could be told how many were.
        let out_count = offset_of!(uapi::userdma_cancel, out_count);
        argument.write_field(out_count, cancel.out_count)?;
        argument.write_field(out_count, self.withdraw(dev, which)?)
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
        let out_count = offset_of!(uapi::userdma_wait, out_count);
        argument.write_field(out_count, wait.out_count)?;
        let patience = Patience {
            deadline: wait.deadline_ns,
            nonblock,
        };
        // CAST: A small number.
        let min = wait.min.min(DEPTH as u32);
        self.port.wait(records, min, patience, |count| {
            argument.write_field(out_count, count)
        })
    }
}

/// Returns the errno that says why a range is refused.
pub(super) fn range_error(error: range::Error) -> Error {
    match error {
        range::Error::Wraps => EOVERFLOW,
        range::Error::Outside => ERANGE,
        range::Error::Empty | range::Error::Misaligned => EINVAL,
    }
}

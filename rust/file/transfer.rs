// SPDX-License-Identifier: GPL-2.0

//! SUBMIT and WAIT.

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
    ext::chardev::Device,
    hw::{
        Direction,
        Traits, //
    },
    pure::range,
    queue::Work,
    service,
    uapi::{
        self,
        Argument,
        Array, //
    }, //
};

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
        while accepted < entries.count() {
            match self.submit_one(dev, &entries, accepted, nonblock || accepted > 0) {
                Ok(()) => accepted += 1,
                Err(error) if accepted == 0 => return Err(error),
                Err(_) => break,
            }
        }
        submit.out_count = accepted;
        argument.write(&submit)
    }

    /// Checks and queues entry `index`.
    fn submit_one(
        &self,
        dev: &Device<Self>,
        entries: &Array,
        index: u32,
        nonblock: bool,
    ) -> Result {
        let entry: uapi::userdma_transfer = entries.read(index)?;
        let lane = *self
            .lanes
            .get(usize::from(entry.channel))
            .ok_or(EINVAL)
            .or_else(|error| check_entry(&entry).and(Err(error)))?;
        let work = self.work(dev, &entry)?;
        // Sleeps, if at all, without the guard; what it waits for, unbind ends.
        let patience = Patience {
            deadline: service::NEVER,
            nonblock,
        };
        let mut transfer = self.port.reserve(patience)?;
        transfer.assign(entry.user_data, entry.channel, work);
        let mut transfer = Some(transfer);
        let result = dev.with(|bound| {
            let Some(ready) = transfer.take() else {
                return Err(EINVAL);
            };
            let submitted = bound.card.engine.submit(entry.channel, lane, ready);
            submitted.map_err(|(back, error)| {
                transfer = Some(back);
                error
            })
        });
        match (result, transfer) {
            (Ok(()), _) => {
                self.port.stats.submitted.add(1);
                Ok(())
            }
            (Err(error), Some(mut transfer)) => {
                transfer.work = None;
                self.port.cancel_reservation(transfer);
                Err(error)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Turns the names in `entry` into references, and checks its ranges.
    fn work(&self, dev: &Device<Self>, entry: &uapi::userdma_transfer) -> Result<Work> {
        check_entry(entry)?;
        let traits: &'static Traits = dev.with(|bound| Ok(bound.card.engine.hw.traits()))?;
        let places = entry.buffer_offset | entry.card_offset | entry.length;
        require(places & (traits.alignment - 1) == 0)?;
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
        check_ranges(&buffer, entry, traits)?;
        Ok(Work {
            direction,
            buffer,
            offset: entry.buffer_offset,
            length: entry.length,
            card_offset: entry.card_offset,
            timeout_ns: entry.timeout_ns,
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

/// Checks what can be checked of an entry by itself.
fn check_entry(entry: &uapi::userdma_transfer) -> Result {
    match u32::from(entry.op) {
        uapi::USERDMA_OP_TO_CARD | uapi::USERDMA_OP_FROM_CARD => {}
        // HOST_TO_HOST comes with a card that can do it.
        _ => return Err(EOPNOTSUPP),
    }
    // A file's transfers on one channel are in order anyway, and there is but one channel.
    check_flags(entry.flags, uapi::USERDMA_TRANSFER_BARRIER)?;
    require(entry.reserved == 0 && entry.buffer2 == 0)?;
    require(entry.length != 0)
}

fn check_ranges(buffer: &BufferRef, entry: &uapi::userdma_transfer, traits: &Traits) -> Result {
    let align = traits.alignment;
    range::check(entry.buffer_offset, entry.length, buffer.length, align)
        .and_then(|()| range::check(entry.card_offset, entry.length, traits.card_size, align))
        .map_err(range_error)
}

/// Returns the errno that says why a range is refused.
pub(super) fn range_error(error: range::Error) -> Error {
    match error {
        range::Error::Wraps => EOVERFLOW,
        range::Error::Outside => ERANGE,
        range::Error::Empty | range::Error::Misaligned => EINVAL,
    }
}

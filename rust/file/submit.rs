// SPDX-License-Identifier: GPL-2.0

//! SUBMIT: entries become transfers, and are queued. One alone has a way of its own, which is shorter; a
//! command of io_uring's goes it, too.

use core::{
    mem::offset_of,
    ops::Range, //
};

use kernel::prelude::*;

use super::{
    ioctl::{
        check_flags,
        require, //
    },
    OpenFile, //
};
use crate::{
    completion::{
        Patience,
        Teller, //
    },
    engine::Told,
    ext::chardev::Device,
    pure::ring::fill,
    queue::Transfer,
    service,
    uapi::{
        self,
        Argument,
        Array,
        Elements, //
    }, //
};

/// The most entries that are queued at once: the card is told of them together.
const BATCH: usize = 64;

/// The most that are read from the program at once.
const READ: usize = 8;

impl OpenFile {
    pub(super) fn submit(&self, dev: &Device<Self>, arg: usize, nonblock: bool) -> Result {
        let (argument, submit) = Argument::read::<uapi::userdma_submit>(arg)?;
        Array::check::<uapi::userdma_transfer>(submit.entry_size)?;
        check_flags(submit.flags, 0)?;
        require(submit.reserved == 0)?;
        let entries = Array::new(submit.entries, submit.entry_size, submit.count)?;
        // Before anything is accepted: nobody could be told how many were.
        let out_count = offset_of!(uapi::userdma_submit, out_count);
        argument.write_field(out_count, submit.out_count)?;
        let accepted = match entries.count() {
            1 => self.submit_one(dev, &entries, nonblock),
            _ => self.submit_all(dev, &entries, nonblock),
        };
        argument.write_field(out_count, accepted?)
    }

    /// Checks and queues the only entry.
    fn submit_one(&self, dev: &Device<Self>, entries: &Array, nonblock: bool) -> Result<u32> {
        let entry = entries.read(0)?;
        let patience = Patience {
            deadline: service::NEVER,
            nonblock,
        };
        let check = || self.work(&entry, None).map(drop);
        let mut transfer = self.reserve_one(check, Teller::Wait, patience)?;
        let queued = match self.assign_checked(&mut transfer, &entry) {
            Ok(()) => self.queue_one(dev, transfer, Told::Now),
            Err(error) => Err((error, transfer)),
        };
        match queued {
            Ok(()) => Ok(1),
            Err((error, transfer)) => {
                self.give_back(transfer, Teller::Wait);
                Err(error)
            }
        }
    }

    /// Queues a transfer that has its job, or gives it back.
    pub(super) fn queue_one(
        &self,
        dev: &Device<Self>,
        transfer: KBox<Transfer>,
        told: Told,
    ) -> Result<(), (Error, KBox<Transfer>)> {
        let mut transfer = Some(transfer);
        let queued = dev.with(|bound| match transfer.take() {
            Some(given) => bound
                .card
                .engine
                .submit_one(given, told)
                .map_err(|(error, back)| {
                    fill(&mut transfer, back);
                    error
                }),
            None => Err(EINVAL),
        });
        match (queued, transfer) {
            (Err(error), Some(transfer)) => return Err((error, transfer)),
            // Without the transfer there is no error.
            (_, None) | (Ok(()), _) => {}
        }
        self.port.stats.submitted.add(1);
        Ok(())
    }

    /// Checks and queues all entries, many at once. Returns how many, at least one.
    fn submit_all(&self, dev: &Device<Self>, entries: &Array, nonblock: bool) -> Result<u32> {
        let mut batch = [const { None }; BATCH];
        let mut elements = Elements::new(entries);
        let mut accepted = 0;
        let result = loop {
            let range = accepted..entries.count();
            match self.submit_some(dev, &mut elements, range, nonblock, &mut batch) {
                Ok(count) => accepted += count,
                Err(error) if accepted == 0 => break Err(error),
                Err(_) => break Ok(accepted),
            }
            if accepted == entries.count() {
                break Ok(accepted);
            }
        };
        // Nothing is left in it, and to drop that is a call for each.
        core::mem::forget(batch);
        result
    }

    /// Checks and queues the first of a range of entries, as many as `batch` has places. Returns how many, at least
    /// one; it sleeps for a place only if the range begins at 0.
    fn submit_some(
        &self,
        dev: &Device<Self>,
        elements: &mut Elements<'_, uapi::userdma_transfer, READ>,
        range: Range<u32>,
        nonblock: bool,
        batch: &mut [Option<KBox<Transfer>>],
    ) -> Result<u32> {
        // Sleeps, if at all, without the guard; what it waits for, unbind ends.
        let patience = Patience {
            deadline: service::NEVER,
            nonblock: nonblock || range.start > 0,
        };
        let wanted = range.len().min(batch.len());
        let batch = batch.get_mut(..wanted).ok_or(EINVAL)?;
        let first = *elements.get(range.start)?;
        let check = || self.work(&first, None).map(drop);
        let reserved = self.reserve(batch, check, Teller::Wait, patience)?;
        let batch = batch.get_mut(..reserved).ok_or(EINVAL)?;

        let filled = self.fill(elements, range.start, batch);
        let queued = filled.and_then(|filled| {
            let filled = batch.get_mut(..filled).ok_or(EINVAL)?;
            dev.with(|bound| bound.card.engine.submit(filled))
        });
        self.give_back_all(batch, Teller::Wait);
        let queued = queued?;
        self.port.stats.submitted.add(u64::from(queued));
        Ok(queued)
    }

    /// Reserves places for `batch`. Returns how many. May sleep.
    ///
    /// # Errors
    ///
    /// Those of `check`, before those of [`Port::reserve`].
    fn reserve(
        &self,
        batch: &mut [Option<KBox<Transfer>>],
        check: impl FnOnce() -> Result,
        teller: Teller,
        patience: Patience,
    ) -> Result<usize> {
        self.port
            .reserve(batch, teller, patience.at_once())
            .or_else(|_| {
                check()?;
                self.port.reserve(batch, teller, patience)
            })
    }

    /// The same for one.
    pub(super) fn reserve_one(
        &self,
        check: impl FnOnce() -> Result,
        teller: Teller,
        patience: Patience,
    ) -> Result<KBox<Transfer>> {
        self.port
            .reserve_one(teller, patience.at_once())
            .or_else(|_| {
                check()?;
                self.port.reserve_one(teller, patience)
            })
    }

    /// Gives transfers the jobs of the entries from `index` on. Returns how many have one, at least one.
    fn fill(
        &self,
        elements: &mut Elements<'_, uapi::userdma_transfer, READ>,
        index: u32,
        batch: &mut [Option<KBox<Transfer>>],
    ) -> Result<usize> {
        let mut last: Option<&Transfer> = None;
        let mut count = 0;
        for (index, transfer) in (index..).zip(batch.iter_mut().flatten()) {
            let known = last.and_then(|last| last.work.as_ref());
            let checked = elements
                .get(index)
                .and_then(|entry| Ok((entry, self.work(entry, known)?)));
            match checked {
                Ok((entry, work)) => self.assign(transfer, entry, work)?,
                Err(error) if count == 0 => return Err(error),
                Err(_) => break,
            }
            last = Some(transfer);
            count += 1;
        }
        Ok(count)
    }

    /// Gives back the places of transfers that were not queued, and the memory of programs, without the guard.
    fn give_back_all(&self, batch: &mut [Option<KBox<Transfer>>], teller: Teller) {
        for transfer in batch.iter_mut().filter_map(Option::take) {
            self.give_back(transfer, teller);
        }
    }

    /// The same with one.
    pub(super) fn give_back(&self, mut transfer: KBox<Transfer>, teller: Teller) {
        transfer.work = None;
        self.port.cancel_reservation(transfer, teller);
    }
}

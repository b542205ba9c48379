// SPDX-License-Identifier: GPL-2.0

//! Commands of io_uring: transfers that complete on their ring, and to withdraw them.

use kernel::prelude::*;

use super::{
    ioctl::require,
    OpenFile, //
};
use crate::{
    buffer::{
        register,
        BufferRef,
        User, //
    },
    completion::{
        Patience,
        Teller, //
    },
    engine::Told,
    ext::{
        chardev::Device,
        lent::Lent,
        uring::{
            Id,
            Request, //
        }, //
    },
    hw::Direction,
    queue::{
        Transfer,
        Work, //
    },
    service,
    uapi, //
};

/// What a command keeps that keeps nothing.
const NOTHING: Option<KBox<()>> = None;

impl OpenFile {
    pub(super) fn uring_command(&self, dev: &Device<Self>, request: Request) -> Result<u32> {
        if dev.gone() {
            return Err(ENODEV);
        }
        match request.op() {
            uapi::USERDMA_URING_TRANSFER => self.uring_transfer(dev, request),
            uapi::USERDMA_URING_CANCEL => {
                let cancel = request.payload::<uapi::userdma_cancel>()?;
                require(cancel.out_count == 0)?;
                // CAST: `u32` fits.
                require(cancel.size as usize >= size_of_val(&cancel))?;
                self.withdraw(dev, self.check_cancel(&cancel)?)
            }
            _ => Err(EOPNOTSUPP),
        }
    }

    fn uring_transfer(&self, dev: &Device<Self>, request: Request) -> Result<u32> {
        let entry = request.payload::<uapi::userdma_transfer>()?;
        let full = request.file_nonblock();
        let check = || match request.fixed() {
            true => self.check_fixed(&entry).map(drop),
            false => self.work(&entry, None).map(drop),
        };
        let patience = Patience {
            deadline: service::NEVER,
            nonblock: full || request.nonblock(),
        };
        let mut transfer = match self.reserve_one(check, Teller::Ring, patience) {
            Ok(transfer) => transfer,
            Err(EAGAIN) if full => {
                // Returned, it would mean that a thread of io_uring's should try.
                request.begin(NOTHING).complete(EAGAIN.to_errno(), 0);
                return Err(EIOCBQUEUED);
            }
            // There is no system call to begin again.
            Err(ERESTARTSYS) => return Err(EINTR),
            Err(error) => return Err(error),
        };
        let told = match self.begin(dev, request, &entry, &mut transfer) {
            Ok(told) => told,
            Err(error) => {
                self.give_back(transfer, Teller::Ring);
                return Err(error);
            }
        };
        if let Err((error, mut transfer)) = self.queue_one(dev, transfer, told) {
            let command = transfer.command.take();
            self.give_back(transfer, Teller::Ring);
            if let Some(command) = command {
                command.complete(error.to_errno(), 0);
            }
        }
        Err(EIOCBQUEUED)
    }

    /// Gives a transfer its job, and returns when the card is to be told. If the job is good it ends by itself
    /// from here on, whatever happens.
    fn begin(
        &self,
        dev: &Device<Self>,
        request: Request,
        entry: &uapi::userdma_transfer,
        transfer: &mut Transfer,
    ) -> Result<Told> {
        let kept = if request.fixed() {
            let work = self.fixed_work(dev, &request, entry)?;
            // The last user is the command: the ring's memory is no buffer any more when it completes.
            let kept = KBox::new(work.buffer.clone(), GFP_KERNEL)?;
            self.assign(transfer, entry, work)?;
            Some(kept)
        } else {
            self.assign_checked(transfer, entry)?;
            None
        };
        // Nothing sleeps from here until the transfer is queued: to sleep ends the batch.
        let told = match request.put_off() {
            true => Told::Later,
            false => Told::Now,
        };
        transfer.command = Some(request.begin(kept));
        Ok(told)
    }

    /// Checks what can be checked of a transfer of the ring's memory before that is looked at. Returns which
    /// way it moves, and the second buffer.
    fn check_fixed(
        &self,
        entry: &uapi::userdma_transfer,
    ) -> Result<(Direction, Option<BufferRef>)> {
        let direction = self.direction(entry)?;
        require(entry.buffer == 0)?;
        let second = match direction {
            Direction::HostToHost => Some(self.second(entry)?),
            _ => None,
        };
        let places = entry.buffer_offset | entry.length;
        require(places & (self.alignment - 1) == 0)?;
        let size = second
            .as_ref()
            .map_or(self.card_size, |second| second.length);
        self.check_target(entry, size)?;
        Ok((direction, second))
    }

    /// Makes a buffer of memory that is registered with the ring, for one transfer.
    fn fixed_work(
        &self,
        dev: &Device<Self>,
        request: &Request,
        entry: &uapi::userdma_transfer,
    ) -> Result<Work> {
        let (direction, second) = self.check_fixed(entry)?;
        let write = direction == Direction::FromCard;
        let memory = request.memory(entry.buffer_offset, entry.length, write)?;
        // The kernel's own has other addresses.
        require(memory.alignment() & (self.alignment - 1) == 0)?;
        let mut user = Some(User {
            lent: Lent::new(memory, None, None)?,
            source_only: !write,
        });
        let buffer = dev.with(|bound| {
            let card = bound.card;
            register(&card.buffers, card.reach(), &mut user)
        })?;
        Ok(Work {
            direction,
            handle: 0,
            buffer,
            second,
            offset: 0,
            length: entry.length,
            target: entry.card_offset,
            timeout_ns: entry.timeout_ns,
        })
    }

    /// The ring ends: what has not begun is not waited for.
    pub(super) fn uring_withdraw(&self, dev: &Device<Self>, command: Id) {
        // Unbind ends it, if the card is gone.
        let _ = dev.with(|bound| {
            for (channel, lane) in self.lanes.iter().enumerate() {
                bound.card.engine.cancel(channel, *lane, |transfer| {
                    transfer.command.as_ref().is_some_and(|c| c.id() == command)
                });
            }
            Ok(())
        });
    }
}

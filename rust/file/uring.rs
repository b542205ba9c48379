// SPDX-License-Identifier: GPL-2.0

//! Commands of io_uring: transfers that complete on their ring, and to withdraw them.

use kernel::prelude::*;

use super::{
    ioctl::require,
    OpenFile, //
};
use crate::{
    completion::{
        Patience,
        Teller, //
    },
    ext::{
        chardev::Device,
        uring::{
            Id,
            Request, //
        }, //
    },
    service,
    uapi, //
};

/// Bytes of an entry of a ring that are ours.
const PAYLOAD: usize = 80;

/// Reads the structure of a command. What is behind it must be zero.
fn payload<T: uapi::Sized32>(request: &Request) -> Result<T> {
    let bytes = request.payload::<PAYLOAD>()?;
    let (value, rest) = T::read_from_prefix(&bytes).map_err(|_| EINVAL)?;
    require(rest.iter().all(|byte| *byte == 0))?;
    Ok(value)
}

impl OpenFile {
    pub(super) fn uring_command(&self, dev: &Device<Self>, request: Request) -> Result<u32> {
        if dev.gone() {
            return Err(ENODEV);
        }
        match request.op() {
            uapi::USERDMA_URING_TRANSFER => self.uring_transfer(dev, request),
            uapi::USERDMA_URING_CANCEL => {
                let cancel = payload::<uapi::userdma_cancel>(&request)?;
                require(cancel.out_count == 0)?;
                // CAST: `u32` fits.
                require(cancel.size as usize >= size_of_val(&cancel))?;
                self.withdraw(dev, self.check_cancel(&cancel)?)
            }
            _ => Err(EOPNOTSUPP),
        }
    }

    fn uring_transfer(&self, dev: &Device<Self>, request: Request) -> Result<u32> {
        let entry = payload::<uapi::userdma_transfer>(&request)?;
        let full = request.file_nonblock();
        let patience = Patience {
            deadline: service::NEVER,
            nonblock: full || request.nonblock(),
        };
        let mut batch = [None];
        let reserved = self.reserve(&mut batch, &entry, Teller::Ring, patience);
        if full && reserved == Err(EAGAIN) {
            // Returned, it would mean that a thread of io_uring's should try.
            request.begin().complete(EAGAIN.to_errno(), 0);
            return Err(EIOCBQUEUED);
        }
        // There is no system call to begin again.
        reserved.map_err(|error| if error == ERESTARTSYS { EINTR } else { error })?;
        if let [Some(transfer)] = &mut batch {
            match self.assign(transfer, &entry, None) {
                // From here on it ends by itself, whatever happens.
                Ok(()) => transfer.command = Some(request.begin()),
                Err(error) => {
                    self.give_back_all(dev, &mut batch, Teller::Ring);
                    return Err(error);
                }
            }
        }
        match dev.with(|bound| bound.card.engine.submit(&mut batch)) {
            Ok(_) => self.port.stats.submitted.add(1),
            Err(error) => {
                let command = match &mut batch {
                    [Some(transfer)] => transfer.command.take(),
                    [None] => None,
                };
                self.give_back_all(dev, &mut batch, Teller::Ring);
                if let Some(command) = command {
                    command.complete(error.to_errno(), 0);
                }
            }
        }
        Err(EIOCBQUEUED)
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

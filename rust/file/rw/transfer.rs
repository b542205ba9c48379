// SPDX-License-Identifier: GPL-2.0

//! One transfer of a `read()` or `write()`: through the driver's buffer, or of pinned pages, which are a
//! registered buffer for that long.

use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

use super::{
    OpenFile,
    CHUNK, //
};
use crate::{
    buffer::{
        alloc_chunk,
        register,
        BufferRef,
        User, //
    },
    engine::Told,
    ext::{
        chardev::Device,
        lent::Lent,
        pin::Pinned,
        scatter::Scatter, //
    },
    hw::Direction,
    limits::Charge,
    pure::range,
    queue::{
        Transfer,
        Work, //
    }, //
};

/// read() and write() use the first channel.
const CHANNEL: u16 = 0;

/// Whose memory a transfer uses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The driver's: the card may go on with it when nobody waits any more.
    Driver,
    /// The program's: the card must be done with it before the call returns.
    Program,
}

/// A call of read() or write(). It holds the file's place.
pub(super) struct Call<'a> {
    pub(super) file: &'a OpenFile,
    pub(super) dev: &'a Device<OpenFile>,
}

impl Call<'_> {
    /// Returns the file's chunk, made at first use.
    fn chunk(&self) -> Result<BufferRef> {
        let file = self.file;
        if let Some(chunk) = &*file.chunk.lock() {
            return Ok(chunk.clone());
        }
        let length = file.card_size.min(CHUNK);
        let length = range::round_up(length, PAGE_SIZE as u64).ok_or(EINVAL)?;
        let charge = Charge::new(&file.account, length)?;
        let chunk = self.dev.with(|bound| {
            let card = bound.card;
            alloc_chunk(&card.buffers, card.reach(), length, charge)
        })?;
        *file.chunk.lock() = Some(chunk.clone());
        Ok(chunk)
    }

    /// Calls `f`, which may touch user memory, with the chunk's memory.
    pub(super) fn with_chunk<R>(&self, f: impl FnOnce(&Scatter) -> Result<R>) -> Result<R> {
        self.chunk()?.memory().ok_or(EIO).and_then(f)
    }

    /// Moves `length` bytes between the start of the chunk and the card. Returns how many it has moved,
    /// and how that ended.
    pub(super) fn move_chunk(
        &self,
        direction: Direction,
        card_offset: u64,
        length: u64,
    ) -> (u64, Result) {
        match self.chunk() {
            Ok(chunk) => self.transfer(Owner::Driver, direction, chunk, card_offset, length),
            Err(error) => (0, Err(error)),
        }
    }

    /// Moves `pinned`. Returns how many bytes it has moved, and how that ended; `None` if the card cannot
    /// be made to reach it, for want of memory for instance.
    pub(super) fn move_pinned(
        &self,
        direction: Direction,
        card_offset: u64,
        pinned: Pinned,
    ) -> Option<(u64, Result)> {
        let length = pinned.len();
        let mut user = Some(User {
            lent: Lent::new(pinned, None, None).ok()?,
            source_only: direction == Direction::ToCard,
        });
        let buffer = self.dev.with(|bound| {
            let card = bound.card;
            register(&card.buffers, card.reach(), &mut user)
        });
        Some(self.transfer(Owner::Program, direction, buffer.ok()?, card_offset, length))
    }

    fn transfer(
        &self,
        owner: Owner,
        direction: Direction,
        buffer: BufferRef,
        card_offset: u64,
        length: u64,
    ) -> (u64, Result) {
        let port = &self.file.port;
        // The engine lets go before it tells: so the program's pages are unpinned here, before the call
        // returns, unless the card had to be cut off.
        let _buffer = buffer.clone();
        let lane = match self.submit(direction, buffer, card_offset, length) {
            Ok(lane) => lane,
            Err(error) => return (0, Err(error)),
        };
        let interrupted = match port.wait_direct(true) {
            Ok(transfer) => return outcome(&transfer, length),
            Err(error) => error,
        };
        let wanted = owner == Owner::Program;
        let tells = self.dev.with(|bound| {
            let engine = &bound.card.engine;
            Ok(engine.withdraw_direct(CHANNEL, lane, wanted))
        });
        // Unbind ends all transfers, and tells.
        if !tells.unwrap_or(wanted) {
            if owner == Owner::Driver {
                // The card may go on with the chunk: leave it alone from now on.
                *self.file.chunk.lock() = None;
            }
            return (0, Err(interrupted));
        }
        let ended = port.wait_direct(false);
        match ended.map(|transfer| outcome(&transfer, length)) {
            Ok((bytes, Err(error))) if error != ECANCELED => (bytes, Err(error)),
            // Also if all of this was moved: what comes behind it is not.
            Ok((bytes, _)) => (bytes, Err(interrupted)),
            Err(error) => (0, Err(error)),
        }
    }

    /// Queues a transfer; returns its lane.
    fn submit(
        &self,
        direction: Direction,
        buffer: BufferRef,
        card_offset: u64,
        length: u64,
    ) -> Result<usize> {
        let mut transfer = Transfer::new(true)?;
        let work = Work {
            direction,
            handle: 0,
            buffer,
            second: None,
            offset: 0,
            length,
            target: card_offset,
            timeout_ns: 0,
        };
        let lane = *self.file.lanes.first().ok_or(ENODEV)?;
        transfer.assign(0, CHANNEL, lane, work);
        // If it is not queued it is dropped here, without the guard.
        self.file
            .queue_one(self.dev, transfer, Told::Now)
            .map_err(|(error, _)| error)?;
        Ok(lane)
    }
}

/// Returns how many of `length` bytes a transfer has moved, and how it ended.
fn outcome(transfer: &Transfer, length: u64) -> (u64, Result) {
    match transfer.result {
        // What comes next would not go where it belongs: the request ends here.
        0 if transfer.bytes < length => (transfer.bytes, Err(EIO)),
        0 => (transfer.bytes, Ok(())),
        errno => (transfer.bytes, Err(Error::from_errno(errno))),
    }
}

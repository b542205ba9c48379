// SPDX-License-Identifier: GPL-2.0

//! `read()` and `write()` on the card's memory, through a small buffer of the driver's.
//!
//! As on a block device: a request that was accepted is waited for, O_NONBLOCK only refuses to
//! queue behind another one of the same file. A signal ends the wait at once; what the card is
//! working on then goes on in a buffer that nobody uses any more.

use kernel::{
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};

use super::OpenFile;
use crate::{
    buffer::{
        alloc_chunk,
        BufferRef, //
    },
    ext::{
        chardev::{
            Device,
            Position, //
        },
        folio::Memory, //
    },
    hw::Direction,
    limits::Charge,
    pure::range,
    queue::{
        Transfer,
        Work, //
    }, //
};

/// The most that one transfer of a request moves, in bytes.
const CHUNK: u64 = 64 << 10;

/// read() and write() use the first channel.
const CHANNEL: u16 = 0;

/// The file's place for read() and write(), given back on drop.
struct Place<'a>(&'a OpenFile);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.port.release_direct();
    }
}

impl OpenFile {
    /// Reads from the card's memory. May sleep.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if misaligned; [`EAGAIN`], [`EINTR`], [`EFAULT`], [`ENODEV`], [`ENOMEM`], [`EDQUOT`], [`EIO`] and
    /// [`ETIMEDOUT`], if nothing was read.
    pub(super) fn read_card(
        &self,
        dev: &Device<Self>,
        at: &Position,
        to: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        if to.is_empty() || at.offset >= self.card_size {
            return Ok(0);
        }
        self.check_aligned(at, to.len())?;
        let _place = self.take_place(at)?;
        dev.with(|bound| {
            bound.card.stats.reads.add(1);
            Ok(())
        })?;
        let mut total = 0;
        let result = loop {
            let offset = at.offset + total as u64;
            let length = (to.len() as u64).min(CHUNK).min(self.card_size - offset);
            if length == 0 {
                break Ok(());
            }
            let copied = self
                .transfer(dev, Direction::FromCard, offset, length)
                .and_then(|()| {
                    // CAST: At most `CHUNK`.
                    self.with_chunk(dev, |memory| memory.copy_to_iter(length as usize, to))
                });
            match copied {
                Ok(copied) => {
                    total += copied;
                    if copied as u64 != length {
                        break Err(EFAULT);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        short(total, result)
    }

    /// Writes to the card's memory. May sleep.
    ///
    /// # Errors
    ///
    /// As [`OpenFile::read_card`], and [`ENOSPC`] at the end.
    pub(super) fn write_card(
        &self,
        dev: &Device<Self>,
        at: &Position,
        from: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        if from.is_empty() {
            return Ok(0);
        }
        if at.offset >= self.card_size {
            return Err(ENOSPC);
        }
        self.check_aligned(at, from.len())?;
        let _place = self.take_place(at)?;
        dev.with(|bound| {
            bound.card.stats.writes.add(1);
            Ok(())
        })?;
        let mut total = 0;
        let result = loop {
            let offset = at.offset + total as u64;
            let length = (from.len() as u64).min(CHUNK).min(self.card_size - offset);
            if length == 0 {
                break Ok(());
            }
            // CAST: At most `CHUNK`.
            let copied =
                self.with_chunk(dev, |memory| memory.copy_from_iter(length as usize, from));
            let copied = match copied {
                Ok(0) => break Err(EFAULT),
                Ok(copied) => copied as u64,
                Err(error) => break Err(error),
            };
            if let Err(error) = self.transfer(dev, Direction::ToCard, offset, copied) {
                break Err(error);
            }
            total += copied as usize;
            if copied != length {
                break Err(EFAULT);
            }
        };
        short(total, result)
    }

    /// Refuses what the card cannot address. At the end of its memory a request is cut, as always.
    fn check_aligned(&self, at: &Position, length: usize) -> Result {
        match (at.offset | length as u64) & (self.alignment - 1) {
            0 => Ok(()),
            _ => Err(EINVAL),
        }
    }

    fn take_place(&self, at: &Position) -> Result<Place<'_>> {
        self.port.reserve_direct(at.nonblock)?;
        Ok(Place(self))
    }

    /// Returns the file's chunk, made at first use. The caller holds the place.
    fn chunk(&self, dev: &Device<Self>) -> Result<BufferRef> {
        if let Some(chunk) = &*self.chunk.lock() {
            return Ok(chunk.clone());
        }
        let length = self.card_size.min(CHUNK);
        let length = range::round_up(length, PAGE_SIZE as u64).ok_or(EINVAL)?;
        let charge = Charge::new(&self.account, length)?;
        let chunk = dev.with(|bound| {
            let card = bound.card;
            alloc_chunk(
                &card.buffers,
                card.pdev.as_ref(),
                length,
                card.engine.bounce,
                charge,
            )
        })?;
        *self.chunk.lock() = Some(chunk.clone());
        Ok(chunk)
    }

    /// Calls `f`, which may touch user memory, with the chunk's memory.
    fn with_chunk<R>(&self, dev: &Device<Self>, f: impl FnOnce(&Memory) -> Result<R>) -> Result<R> {
        self.chunk(dev)?.memory().ok_or(EIO).and_then(f)
    }

    /// Moves `length` bytes between the chunk and the card. The caller holds the place.
    fn transfer(
        &self,
        dev: &Device<Self>,
        direction: Direction,
        card_offset: u64,
        length: u64,
    ) -> Result {
        let mut transfer = Transfer::new(true)?;
        let work = Work {
            direction,
            buffer: self.chunk(dev)?,
            offset: 0,
            length,
            card_offset,
            timeout_ns: 0,
        };
        transfer.assign(0, CHANNEL, work);
        let lane = *self.lanes.first().ok_or(ENODEV)?;
        dev.with(|bound| {
            bound
                .card
                .engine
                .submit(CHANNEL, lane, transfer)
                .map_err(|(_, error)| error)
        })?;
        self.port.stats.submitted.add(1);
        match self.port.wait_direct() {
            Ok(transfer) if transfer.result == 0 => Ok(()),
            Ok(transfer) => Err(Error::from_errno(transfer.result)),
            Err(error) => {
                // The card may go on with the chunk: leave it alone from now on.
                let _ = dev.with(|bound| {
                    bound.card.engine.abandon_direct(CHANNEL, lane);
                    Ok(())
                });
                *self.chunk.lock() = None;
                Err(error)
            }
        }
    }
}

/// What was moved counts; an error only if nothing was.
fn short(total: usize, result: Result) -> Result<usize> {
    match result {
        Err(error) if total == 0 => Err(error),
        _ => Ok(total),
    }
}

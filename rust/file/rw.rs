// SPDX-License-Identifier: GPL-2.0

//! `read()` and `write()` on the card's memory: small ones are copied through a buffer of the driver's,
//! for large ones the program's own pages are pinned, and the card moves them.
//!
//! As on a block device: a request that was accepted is waited for, O_NONBLOCK only refuses to
//! queue behind another one of the same file. A signal withdraws what is queued. Where the data are
//! copied it ends the wait at once: what the card is working on then goes on in a buffer that nobody
//! uses any more. Where they are not, the piece that the card works on is waited for, which its time
//! limit bounds: the program does what it likes with the memory when the call has returned.

mod transfer;

use kernel::{
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*, //
};

use self::transfer::Call;
use super::OpenFile;
use crate::{
    ext::{
        chardev::{
            Device,
            Position, //
        },
        pin::{
            self,
            Pinned, //
        }, //
    },
    hw::Direction,
    stats, //
};

/// The most that one transfer of a request moves through the driver's buffer, in bytes.
const CHUNK: u64 = 64 << 10;

/// The most that is pinned at once for a request, in bytes.
const MOST_PINNED: u64 = 2 << 20;

/// Programs' memory that is worse aligned is copied, in bytes.
const LEAST_ALIGNMENT: u64 = 4;

/// The file's place for read() and write(), given back on drop.
struct Place<'a>(&'a OpenFile);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.port.release_direct();
    }
}

/// What a request reads into or writes from.
trait Iter {
    /// Returns how many bytes are left.
    fn left(&self) -> usize;

    /// Returns the bits of all addresses and lengths.
    fn alignment(&mut self) -> u64;

    /// Moves up to `most` bytes between the program's own pages and the card. `None`, and nothing has
    /// changed, if they cannot be pinned or not be reached.
    fn pinned(&mut self, call: &Call<'_>, offset: u64, most: u64) -> Option<(u64, Result)>;

    /// Moves up to `most` bytes, at most [`CHUNK`], through the driver's buffer.
    fn copied(&mut self, call: &Call<'_>, offset: u64, most: u64) -> (u64, Result);
}

impl Iter for IovIterDest<'_> {
    fn left(&self) -> usize {
        self.len()
    }

    fn alignment(&mut self) -> u64 {
        pin::dest_alignment(self)
    }

    fn pinned(&mut self, call: &Call<'_>, offset: u64, most: u64) -> Option<(u64, Result)> {
        let pinned = Pinned::dest(self, usize::try_from(most).ok()?).ok()?;
        let length = pinned.len();
        let moved = call.move_pinned(Direction::FromCard, offset, pinned);
        if moved.is_none() {
            pin::take_back_dest(self, length);
        }
        moved
    }

    fn copied(&mut self, call: &Call<'_>, offset: u64, most: u64) -> (u64, Result) {
        let (moved, result) = call.move_chunk(Direction::FromCard, offset, most);
        if moved == 0 {
            return (0, result);
        }
        // CAST: At most `CHUNK`.
        match call.with_chunk(|memory| memory.copy_to_iter(moved as usize, self)) {
            Ok(copied) if copied as u64 == moved => (moved, result),
            Ok(copied) => (copied as u64, Err(EFAULT)),
            Err(error) => (0, Err(error)),
        }
    }
}

impl Iter for IovIterSource<'_> {
    fn left(&self) -> usize {
        self.len()
    }

    fn alignment(&mut self) -> u64 {
        pin::source_alignment(self)
    }

    fn pinned(&mut self, call: &Call<'_>, offset: u64, most: u64) -> Option<(u64, Result)> {
        let pinned = Pinned::source(self, usize::try_from(most).ok()?).ok()?;
        let length = pinned.len();
        let moved = call.move_pinned(Direction::ToCard, offset, pinned);
        if moved.is_none() {
            pin::take_back_source(self, length);
        }
        moved
    }

    fn copied(&mut self, call: &Call<'_>, offset: u64, most: u64) -> (u64, Result) {
        // CAST: At most `CHUNK`.
        match call.with_chunk(|memory| memory.copy_from_iter(most as usize, self)) {
            Ok(0) => (0, Err(EFAULT)),
            Ok(copied) => {
                let (moved, result) = call.move_chunk(Direction::ToCard, offset, copied as u64);
                let whole = match copied as u64 == most {
                    true => Ok(()),
                    false => Err(EFAULT),
                };
                (moved, result.and(whole))
            }
            Err(error) => (0, Err(error)),
        }
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
        self.request(dev, at, to, |stats| &stats.reads)
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
        self.request(dev, at, from, |stats| &stats.writes)
    }

    fn request<I: Iter>(
        &self,
        dev: &Device<Self>,
        at: &Position,
        iter: &mut I,
        calls: fn(&stats::Card) -> &stats::Counter,
    ) -> Result<usize> {
        // Refuses what the card cannot address. At the end of its memory a request is cut, as always.
        if (at.offset | iter.left() as u64) & (self.alignment - 1) != 0 {
            return Err(EINVAL);
        }
        self.port.reserve_direct(at.nonblock)?;
        let _place = Place(self);
        let direct_min = dev.with(|bound| {
            calls(&bound.card.stats).add(1);
            Ok(bound.card.direct_min())
        })?;
        let call = Call { file: self, dev };
        let align = self.alignment.max(LEAST_ALIGNMENT);
        let rest = |iter: &I, offset| (iter.left() as u64).min(self.card_size - offset);
        let mut direct = direct_min != 0
            && rest(iter, at.offset) >= direct_min
            && iter.alignment() & (align - 1) == 0;
        let (mut pinned, mut copied) = (0, 0);
        let result = loop {
            let offset = at.offset + pinned + copied;
            let most = rest(iter, offset);
            if most == 0 {
                break Ok(());
            }
            let moved = match direct {
                true => iter.pinned(&call, offset, most.min(MOST_PINNED)),
                false => None,
            };
            let result = match moved {
                Some((bytes, result)) => {
                    pinned += bytes;
                    result
                }
                None => {
                    // What cannot be pinned may still be copied.
                    direct = false;
                    let (bytes, result) = iter.copied(&call, offset, most.min(CHUNK));
                    copied += bytes;
                    result
                }
            };
            if result.is_err() {
                break result;
            }
        };
        self.port.stats.moved(pinned, copied);
        let _ = dev.with(|bound| {
            bound.card.stats.moved(pinned, copied);
            Ok(())
        });
        match result {
            Err(error) if pinned + copied == 0 => Err(error),
            _ => Ok(usize::try_from(pinned + copied)?),
        }
    }
}

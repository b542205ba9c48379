// SPDX-License-Identifier: GPL-2.0

//! Memory of a transfer, made ready for the card and taken over again; copied where the card cannot
//! reach it. All of it may run in an interrupt.

use kernel::{
    dma::{
        Coherent,
        DataDirection, //
    },
    prelude::*, //
};

use super::Engine;
use crate::{
    buffer::Buffer,
    ext::dma,
    hw::{
        self,
        Descriptor,
        Direction, //
    },
    pure::split::{
        self,
        Piece, //
    },
    queue::Work, //
};

impl Engine<'_> {
    /// Puts down the next chain of `work`, of at most `most` bytes, and makes its memory ready for the card.
    /// Returns how many bytes it has; there is room for one descriptor at least.
    pub(super) fn put_down(
        &self,
        hw: &mut dyn hw::Channel,
        bounce: Option<&Coherent<[u8]>>,
        work: &Work,
        done: u64,
        most: u64,
    ) -> Result<u64> {
        let rest = (work.length - done).min(most);
        if let Some(second) = &work.second {
            return self.put_down_both(hw, work, second, done, rest);
        }
        let (offset, target) = (work.offset + done, work.target + done);
        let descriptor = |piece: Piece, moved| Descriptor {
            direction: work.direction,
            bus: piece.bus,
            // Cannot wrap: the range was checked against the card's memory.
            target: target + moved,
            length: piece.length,
        };
        let memory = work.buffer.memory();
        if let (Some(memory), true) = (memory, work.buffer.bounced()) {
            let bounce = bounce.ok_or(EIO)?;
            let length = rest
                .min(self.hw.traits().max_descriptor)
                .min(bounce.size() as u64);
            // From the card as well: if that moves less than it says, what is copied back is what was
            // there, and not what the last user of the bounce buffer had in it.
            // CAST: At most `MAX_BOUNCE`.
            dma::copy_out(memory, offset, length as usize, bounce)?;
            let bus = bounce.dma_address();
            hw.push(&descriptor(Piece { bus, length }, 0), false);
            self.stats.descriptors.add(1);
            return Ok(length);
        }
        let mut next = Some(self.piece(&work.buffer, offset, rest)?);
        let (mut moved, mut count) = (0, 0);
        while let Some(piece) = next {
            if memory.is_some() {
                self.sync_for_device(piece.bus, piece.length, direction(work.direction));
            }
            let behind = moved + piece.length;
            next = match behind < rest && hw.room() > 1 {
                true => self
                    .piece(&work.buffer, offset + behind, rest - behind)
                    .ok(),
                false => None,
            };
            hw.push(&descriptor(piece, moved), next.is_some());
            (moved, count) = (behind, count + 1);
        }
        self.stats.descriptors.add(count);
        Ok(moved)
    }

    /// The same from one buffer to another, `second`: a descriptor ends where a piece of either does.
    // Apart, as `OpenFile::work_of_two()`.
    #[inline(never)]
    fn put_down_both(
        &self,
        hw: &mut dyn hw::Channel,
        work: &Work,
        second: &Buffer,
        done: u64,
        rest: u64,
    ) -> Result<u64> {
        // Cannot wrap: both ranges were checked.
        let (offset, target) = (work.offset + done, work.target + done);
        let pair = |behind| {
            let from = self.piece(&work.buffer, offset + behind, rest - behind)?;
            let to = self.piece(second, target + behind, from.length)?;
            Ok::<_, Error>((from.bus, to))
        };
        let mut next = Some(pair(0)?);
        let (mut moved, mut count) = (0, 0);
        while let Some((bus, to)) = next {
            if work.buffer.memory().is_some() {
                self.sync_for_device(bus, to.length, DataDirection::ToDevice);
            }
            if second.memory().is_some() {
                self.sync_for_device(to.bus, to.length, DataDirection::FromDevice);
            }
            let behind = moved + to.length;
            next = match behind < rest && hw.room() > 1 {
                true => pair(behind).ok(),
                false => None,
            };
            let descriptor = Descriptor {
                direction: work.direction,
                bus,
                target: to.bus,
                length: to.length,
            };
            hw.push(&descriptor, next.is_some());
            (moved, count) = (behind, count + 1);
        }
        self.stats.descriptors.add(count);
        Ok(moved)
    }

    /// Makes a piece of memory that is not the DMA API's ready for the card.
    fn sync_for_device(&self, bus: u64, length: u64, direction: DataDirection) {
        // CAST: At most `max_descriptor`, which `usize` holds.
        dma::sync_for_device(self.pdev.as_ref(), bus, length as usize, direction);
    }

    /// Returns the first piece of a range that is mapped.
    fn piece(&self, buffer: &Buffer, offset: u64, length: u64) -> Result<Piece> {
        let traits = self.hw.traits();
        let (max, boundary) = (traits.max_descriptor, traits.boundary);
        split::first(buffer.segments(), offset, length, max, boundary).ok_or(EIO)
    }

    /// Takes over what the card has moved: `length` bytes behind `done`.
    pub(super) fn retire(
        &self,
        bounce: Option<&Coherent<[u8]>>,
        work: &Work,
        done: u64,
        length: u64,
    ) -> Result {
        let offset = work.offset + done;
        if let Some(second) = &work.second {
            self.sync_for_cpu(&work.buffer, offset, length, DataDirection::ToDevice)?;
            let target = work.target + done;
            return self.sync_for_cpu(second, target, length, DataDirection::FromDevice);
        }
        let Some(memory) = work.buffer.memory() else {
            return Ok(());
        };
        if work.buffer.bounced() {
            self.stats.bytes_bounced.add(length);
            if work.direction == Direction::FromCard {
                // CAST: At most `MAX_BOUNCE`.
                dma::copy_in(memory, offset, length as usize, bounce.ok_or(EIO)?)?;
            }
            return Ok(());
        }
        self.sync_for_cpu(&work.buffer, offset, length, direction(work.direction))
    }

    /// Takes over a range of a buffer.
    fn sync_for_cpu(
        &self,
        buffer: &Buffer,
        offset: u64,
        length: u64,
        direction: DataDirection,
    ) -> Result {
        if buffer.memory().is_none() {
            return Ok(());
        }
        let mut moved = 0;
        while moved < length {
            let piece = self.piece(buffer, offset + moved, length - moved)?;
            // CAST: At most `max_descriptor`, which `usize` holds.
            let (dev, length) = (self.pdev.as_ref(), piece.length as usize);
            dma::sync_for_cpu(dev, piece.bus, length, direction);
            moved += piece.length;
        }
        Ok(())
    }
}

/// Returns what the card does with the only buffer.
fn direction(direction: Direction) -> DataDirection {
    match direction {
        Direction::FromCard => DataDirection::FromDevice,
        _ => DataDirection::ToDevice,
    }
}

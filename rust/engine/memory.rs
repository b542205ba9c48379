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
        let (offset, card_offset) = (work.offset + done, work.card_offset + done);
        let descriptor = |piece: Piece, moved| Descriptor {
            direction: work.direction,
            bus: piece.bus,
            // Cannot wrap: the range was checked against the card's memory.
            card_offset: card_offset + moved,
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
        let mut next = Some(self.piece(work, offset, rest)?);
        let (mut moved, mut count) = (0, 0);
        while let Some(piece) = next {
            if memory.is_some() {
                // CAST: At most `max_descriptor`, which `usize` holds.
                let (dev, length) = (self.pdev.as_ref(), piece.length as usize);
                dma::sync_for_device(dev, piece.bus, length, direction(work.direction));
            }
            let behind = moved + piece.length;
            next = match behind < rest && hw.room() > 1 {
                true => self.piece(work, offset + behind, rest - behind).ok(),
                false => None,
            };
            hw.push(&descriptor(piece, moved), next.is_some());
            (moved, count) = (behind, count + 1);
        }
        self.stats.descriptors.add(count);
        Ok(moved)
    }

    /// Returns the first piece of a range that is mapped.
    fn piece(&self, work: &Work, offset: u64, length: u64) -> Result<Piece> {
        let traits = self.hw.traits();
        let (max, boundary) = (traits.max_descriptor, traits.boundary);
        split::first(work.buffer.segments(), offset, length, max, boundary).ok_or(EIO)
    }

    /// Takes over what the card has moved: `length` bytes behind `done`.
    pub(super) fn retire(
        &self,
        bounce: Option<&Coherent<[u8]>>,
        work: &Work,
        done: u64,
        length: u64,
    ) -> Result {
        let Some(memory) = work.buffer.memory() else {
            return Ok(());
        };
        let offset = work.offset + done;
        if work.buffer.bounced() {
            self.stats.bytes_bounced.add(length);
            if work.direction == Direction::FromCard {
                // CAST: At most `MAX_BOUNCE`.
                dma::copy_in(memory, offset, length as usize, bounce.ok_or(EIO)?)?;
            }
            return Ok(());
        }
        let mut moved = 0;
        while moved < length {
            let piece = self.piece(work, offset + moved, length - moved)?;
            // CAST: At most `max_descriptor`, which `usize` holds.
            let (dev, length) = (self.pdev.as_ref(), piece.length as usize);
            dma::sync_for_cpu(dev, piece.bus, length, direction(work.direction));
            moved += piece.length;
        }
        Ok(())
    }
}

fn direction(direction: Direction) -> DataDirection {
    match direction {
        Direction::ToCard => DataDirection::ToDevice,
        Direction::FromCard => DataDirection::FromDevice,
    }
}

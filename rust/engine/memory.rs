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
    hw::Direction,
    pure::split::{
        self,
        Piece, //
    },
    queue::Work, //
};

impl Engine<'_> {
    /// Finds the next piece, and makes its memory ready for the card.
    pub(super) fn prepare(
        &self,
        bounce: Option<&Coherent<[u8]>>,
        work: &Work,
        done: u64,
    ) -> Result<Piece> {
        let traits = self.hw.traits();
        let max = traits.max_descriptor.min(traits.boundary);
        let (offset, rest) = (work.offset + done, work.length - done);
        let (Some(memory), true) = (work.buffer.memory(), work.buffer.bounced()) else {
            let segments = work.buffer.segments();
            let piece = split::first(segments, offset, rest, max, traits.boundary).ok_or(EIO)?;
            if work.buffer.memory().is_some() {
                // CAST: At most `max_descriptor`.
                let (bus, length) = (piece.bus, piece.length as usize);
                dma::sync_for_device(self.pdev.as_ref(), bus, length, direction(work.direction));
            }
            return Ok(piece);
        };
        let bounce = bounce.ok_or(EIO)?;
        let length = rest.min(max).min(bounce.size() as u64);
        // From the card as well: if that moves less than it says, what is copied back is what was
        // there, and not what the last user of the bounce buffer had in it.
        // CAST: At most `MAX_BOUNCE`.
        dma::copy_out(memory, offset, length as usize, bounce)?;
        Ok(Piece {
            bus: bounce.dma_address(),
            length,
        })
    }

    /// Takes over what the card has moved.
    pub(super) fn retire(
        &self,
        bounce: Option<&Coherent<[u8]>>,
        work: &Work,
        done: u64,
        piece: Piece,
    ) -> Result {
        // CAST: At most `max_descriptor`.
        let length = piece.length as usize;
        if let Some(memory) = work.buffer.memory() {
            if work.buffer.bounced() {
                self.stats.bytes_bounced.add(piece.length);
                if work.direction == Direction::FromCard {
                    dma::copy_in(memory, work.offset + done, length, bounce.ok_or(EIO)?)?;
                }
            } else {
                let direction = direction(work.direction);
                dma::sync_for_cpu(self.pdev.as_ref(), piece.bus, length, direction);
            }
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

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The memory through which a copy goes: places in one huge buffer, which files
//! are read into and written from, and the card too.

use std::ops::Range;

use userdma::Access;
use userdma::Buffer;
use userdma::Device;
use userdma::Mapping;

/// One buffer, cut into as many pieces of the same size as are needed.
pub(super) struct Slots {
    buffer: Buffer,
    slots: Vec<Slot>,
}

/// One of the pieces.
pub(super) struct Slot {
    memory: Mapping,
    begin: u64,
    /// The card may be at it.
    busy: bool,
}

impl Slots {
    /// Makes `count` pieces of `size` bytes.
    pub(super) fn new(device: &Device, count: u64, size: u64) -> userdma::Result<Self> {
        // What is mapped begins at a page.
        let step = size.next_multiple_of(device.info().page_size.max(1));
        let buffer = device.huge(count * step).fallback(true).allocate()?;
        let slot = |number| {
            let begin = number * step;
            let mut mapping = buffer.mapping().range(begin..begin + step);
            if device.access() == Access::ReadOnly {
                mapping = mapping.read_only();
            }
            let memory = mapping.map()?;
            Ok(Slot {
                memory,
                begin,
                busy: false,
            })
        };
        let slots = (0..count).map(slot).collect::<userdma::Result<_>>()?;
        Ok(Self { buffer, slots })
    }

    pub(super) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Gives a slot; they are used in turns.
    pub(super) fn slot(&mut self, number: u64) -> &mut Slot {
        let index = usize::try_from(number).unwrap_or(0) % self.slots.len();
        &mut self.slots[index]
    }

    /// Gives the bytes of two slots, of the same length.
    pub(super) fn both(&self, first: u64, second: u64, length: usize) -> Option<(&[u8], &[u8])> {
        let of = |number| {
            let index = usize::try_from(number).ok()?;
            self.slots.get(index)?.bytes(length)
        };
        Some((of(first)?, of(second)?))
    }
}

impl Slot {
    /// Hands it to the card: the range of the buffer that it is.
    pub(super) fn lend(&mut self, length: u64) -> Range<u64> {
        self.busy = true;
        self.begin..self.begin + length
    }

    /// The card has done with it.
    pub(super) fn take_back(&mut self) {
        self.busy = false;
    }

    /// What is in it; `None` while the card may be at it.
    pub(super) fn bytes(&self, length: usize) -> Option<&[u8]> {
        if self.busy {
            return None;
        }
        // SAFETY: the card is not at it, and nothing else maps this part of the buffer.
        let all = unsafe { self.memory.as_slice() };
        all.get(..length)
    }

    /// What is in it, to be changed; `None` while the card may be at it.
    pub(super) fn bytes_mut(&mut self, length: usize) -> Option<&mut [u8]> {
        if self.busy {
            return None;
        }
        // SAFETY: the card is not at it, and nothing else maps this part of the buffer.
        let all = unsafe { self.memory.as_mut_slice() }?;
        all.get_mut(..length)
    }
}

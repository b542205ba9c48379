// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The memory through which a copy goes: places in one huge buffer, which files
//! are read into and written from, and the card too.

use std::ops::Range;

use userdma::Buffer;
use userdma::Device;
use userdma::Mapping;

use crate::memory;

/// One buffer, cut into as many slots of the same size as are needed. It is mapped as a
/// whole: so a page fault brings 2 MiB.
pub(super) struct Slots {
    buffer: Buffer,
    memory: Mapping,
    size: usize,
    /// Of each slot whether the card may be at it.
    busy: Vec<bool>,
}

impl Slots {
    /// Makes `count` slots of `size` bytes.
    pub(super) fn new(device: &Device, count: usize, size: usize) -> anyhow::Result<Self> {
        let length = u64::try_from(count)? * u64::try_from(size)?;
        let buffer = device.huge(length).fallback(true).allocate()?;
        let memory = memory::map(&buffer)?;
        Ok(Self {
            buffer,
            memory,
            size,
            busy: vec![false; count],
        })
    }

    pub(super) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Hands a slot to the card: the range of the buffer that it is.
    pub(super) fn lend(&mut self, slot: usize, length: usize) -> anyhow::Result<Range<u64>> {
        self.busy[slot] = true;
        let begin = u64::try_from(slot * self.size)?;
        Ok(begin..begin + u64::try_from(length)?)
    }

    /// The card has done with a slot.
    pub(super) fn take_back(&mut self, slot: usize) {
        self.busy[slot] = false;
    }

    /// What is in a slot; `None` while the card may be at it.
    pub(super) fn bytes(&self, slot: usize, length: usize) -> Option<&[u8]> {
        if self.busy[slot] || length > self.size {
            return None;
        }
        let begin = self.memory.as_ptr().wrapping_add(slot * self.size);
        // SAFETY: the slot lies in the mapping, which `self` keeps; the card is not at it, and
        // nothing else in this program writes to it while `self` is borrowed.
        Some(unsafe { std::slice::from_raw_parts(begin, length) })
    }

    /// What is in a slot, to be changed; `None` while the card may be at it.
    pub(super) fn bytes_mut(&mut self, slot: usize, length: usize) -> Option<&mut [u8]> {
        if self.busy[slot] || length > self.size || !self.memory.is_writable() {
            return None;
        }
        let begin = self.memory.as_mut_ptr().wrapping_add(slot * self.size);
        // SAFETY: as above, and `self` is borrowed mutably.
        Some(unsafe { std::slice::from_raw_parts_mut(begin, length) })
    }
}

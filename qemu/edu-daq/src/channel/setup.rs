// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The registers of a channel that are written before it runs.

use super::Channel;
use super::State;
use crate::registers::channel::*;
use crate::registers::MOST_ENTRIES;
use crate::registers::RING_ALIGNMENT;
use crate::registers::VECTORS;
use crate::ring::Ring;

impl Channel {
    /// The register at `offset`, if it is one of these.
    pub(super) fn read_setup(&self, state: &State, offset: u64) -> Option<u32> {
        let line = |visit: fn(&crate::moderation::Line) -> u32| {
            self.interrupts.line(self.index, |line| visit(line))
        };
        // CAST: halves of an address.
        Some(match offset {
            RING_LOW => state.ring.address as u32,
            RING_HIGH => (state.ring.address >> 32) as u32,
            RING_SIZE => state.ring.size,
            DONE_LOW => state.done.address as u32,
            DONE_HIGH => (state.done.address >> 32) as u32,
            DONE_SIZE => state.done.size,
            VECTOR => line(|line| line.vector),
            MODERATE_COUNT => line(|line| line.count),
            MODERATE_TIME => line(|line| line.time),
            RAISED => line(|line| line.raised),
            _ => return None,
        })
    }

    /// Writes the register at `offset`; false if it is none of these.
    pub(super) fn write_setup(&self, state: &mut State, offset: u64, value: u32) -> bool {
        if !is_setup(offset) {
            return false;
        }
        if state.run || state.is_busy() {
            let text = format!("register {offset:#x} written while the channel runs");
            self.host.violation("running", text);
            return true;
        }
        match offset {
            RING_LOW | RING_HIGH | RING_SIZE => {
                self.set_ring(&mut state.ring, offset - RING_LOW, value)
            }
            DONE_LOW | DONE_HIGH | DONE_SIZE => {
                self.set_ring(&mut state.done, offset - DONE_LOW, value)
            }
            _ => self.interrupts.line(self.index, |line| match offset {
                VECTOR => line.vector = value % u32::from(VECTORS),
                MODERATE_COUNT => line.count = value,
                _ => line.time = value,
            }),
        }
        true
    }

    fn set_ring(&self, ring: &mut Ring, part: u64, value: u32) {
        let value64 = u64::from(value);
        match part {
            0 if value % RING_ALIGNMENT != 0 => {
                let text = format!("a ring that is not aligned, {value:#x}");
                self.host.violation("running", text);
            }
            0 => ring.address = (ring.address >> 32 << 32) | value64,
            4 => ring.address = (value64 << 32) | ring.address & 0xffff_ffff,
            _ if value > MOST_ENTRIES => {
                let text = format!("a ring of 2^{value} entries");
                self.host.violation("running", text);
            }
            _ => ring.size = value,
        }
    }
}

fn is_setup(offset: u64) -> bool {
    matches!(
        offset,
        RING_LOW
            | RING_HIGH
            | RING_SIZE
            | DONE_LOW
            | DONE_HIGH
            | DONE_SIZE
            | VECTOR
            | MODERATE_COUNT
            | MODERATE_TIME
    )
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A driver of the card, as small as can be.

use anyhow::Context;
use anyhow::Result;
use serde_json::json;
use serde_json::Value;
use userdma_model::testing::until;
use userdma_model::testing::Event;
use userdma_model::testing::Guest;
use userdma_model::testing::Program;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_userdma-edu-daq");

/// Where the machine's memory is on the bus: beyond 4 GiB.
pub(crate) const BASE: u64 = 0x45_0000_0000;

/// Its size in bytes.
pub(crate) const SIZE: u64 = 64 << 20;

/// What is before it is for rings.
pub(crate) const DATA: u64 = 4 << 20;

pub(crate) const CONTROL: u64 = 0x00;
pub(crate) const RUN: u32 = 1;
pub(crate) const RESET: u32 = 2;
pub(crate) const STATUS: u64 = 0x04;
pub(crate) const BUSY: u32 = 1;
pub(crate) const HALTED: u32 = 2;
pub(crate) const RING_LOW: u64 = 0x08;
pub(crate) const RING_HIGH: u64 = 0x0c;
pub(crate) const RING_SIZE: u64 = 0x10;
pub(crate) const DONE_LOW: u64 = 0x14;
pub(crate) const DONE_HIGH: u64 = 0x18;
pub(crate) const DONE_SIZE: u64 = 0x1c;
pub(crate) const DOORBELL: u64 = 0x20;
pub(crate) const TAKEN: u64 = 0x24;
pub(crate) const VECTOR: u64 = 0x28;
pub(crate) const MODERATE_COUNT: u64 = 0x2c;
pub(crate) const MODERATE_TIME: u64 = 0x30;
pub(crate) const RAISED: u64 = 0x34;
pub(crate) const ACQUIRE: u64 = 0x100;
pub(crate) const PERIOD: u64 = 0x104;
pub(crate) const LEVEL: u64 = 0x108;
pub(crate) const DROPPED_LOW: u64 = 0x10c;
pub(crate) const DROPPED_HIGH: u64 = 0x110;
pub(crate) const SINE_PERIOD: u64 = 0x114;

pub(crate) const TO_CARD: u16 = 0;
pub(crate) const TO_HOST: u16 = 1;
pub(crate) const HOST_TO_HOST: u16 = 2;
pub(crate) const SAMPLES: u16 = 3;
const MORE: u16 = 1 << 2;
const QUIET: u16 = 1 << 3;
const PHASE: u16 = 1 << 15;

pub(crate) const OK: u16 = 0;
pub(crate) const ADDRESS: u16 = 1;
pub(crate) const RANGE: u16 = 2;
pub(crate) const OPERATION: u16 = 3;
pub(crate) const STALE: u16 = 4;
pub(crate) const FAILED: u16 = 5;
pub(crate) const MASTER: u16 = 6;

/// A machine with the card in it, bus mastering on, all memory mapped, and so many
/// vectors.
pub(crate) fn machine(program: &Program, vectors: u32) -> Result<(Guest, Vec<Event>)> {
    let mut guest = program.guest(SIZE as usize)?;
    guest.map(BASE, 0, SIZE)?;
    guest.set_master(true)?;
    let events = guest.enable_vectors(vectors)?;
    Ok((guest, events))
}

/// A descriptor. Its PHASE is put in when it is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    /// Bus addresses are those of the machine's memory plus `BASE`.
    pub(crate) address: u64,
    pub(crate) target: u64,
    pub(crate) length: u32,
    pub(crate) flags: u16,
    pub(crate) reserved: u16,
    pub(crate) cookie: u64,
}

impl Descriptor {
    /// A chain of one; `target` is a bus address for host to host.
    pub(crate) fn new(operation: u16, address: u64, target: u64, length: u32) -> Self {
        Self {
            address,
            target,
            length,
            flags: operation,
            reserved: 0,
            cookie: 0,
        }
    }

    pub(crate) fn cookie(self, cookie: u64) -> Self {
        Self { cookie, ..self }
    }

    /// Without an interrupt of its own.
    pub(crate) fn quiet(self) -> Self {
        Self {
            flags: self.flags | QUIET,
            ..self
        }
    }

    /// With MORE.
    pub(crate) fn more(self) -> Self {
        Self {
            flags: self.flags | MORE,
            ..self
        }
    }
}

/// A completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) cookie: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) bytes: u32,
    pub(crate) status: u16,
    pub(crate) gap: bool,
}

/// The driver of a channel. Its rings are in the first bytes of the memory.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) index: u64,
    /// The base-2 logarithms of the rings' entries.
    ring: u32,
    done: u32,
    /// Descriptors written.
    pub(crate) given: u32,
    /// Completions seen.
    pub(crate) seen: u32,
}

impl Channel {
    /// Sets the rings up, and RUN.
    pub(crate) fn start(guest: &mut Guest, index: u64, ring: u32, done: u32) -> Result<Self> {
        let channel = Self::prepare(guest, index, ring, done)?;
        channel.write(guest, CONTROL, RUN)?;
        Ok(channel)
    }

    /// Sets the rings up.
    pub(crate) fn prepare(guest: &mut Guest, index: u64, ring: u32, done: u32) -> Result<Self> {
        let channel = Self {
            index,
            ring,
            done,
            given: 0,
            seen: 0,
        };
        // Of a test before this one.
        guest.put(channel.ring_offset(), &vec![0; 32 << ring])?;
        guest.put(channel.done_offset(), &vec![0; 32 << done])?;
        for (low, high, size, offset, entries) in [
            (RING_LOW, RING_HIGH, RING_SIZE, channel.ring_offset(), ring),
            (DONE_LOW, DONE_HIGH, DONE_SIZE, channel.done_offset(), done),
        ] {
            let address = BASE + offset;
            channel.write(guest, low, address as u32)?;
            channel.write(guest, high, (address >> 32) as u32)?;
            channel.write(guest, size, entries)?;
        }
        Ok(channel)
    }

    pub(crate) fn ring_offset(&self) -> u64 {
        self.index << 18
    }

    pub(crate) fn done_offset(&self) -> u64 {
        (self.index << 18) + (1 << 17)
    }

    pub(crate) fn read(&self, guest: &mut Guest, register: u64) -> Result<u32> {
        guest.read32(0, 0x1000 * (self.index + 1) + register)
    }

    pub(crate) fn write(&self, guest: &mut Guest, register: u64, value: u32) -> Result<()> {
        guest.write32(0, 0x1000 * (self.index + 1) + register, value)
    }

    /// Writes descriptors into the ring.
    pub(crate) fn put(&mut self, guest: &Guest, descriptors: &[Descriptor]) -> Result<()> {
        for descriptor in descriptors {
            let phase = if (self.given >> self.ring) & 1 == 0 {
                PHASE
            } else {
                0
            };
            self.put_with_phase(guest, descriptor, phase)?;
        }
        Ok(())
    }

    /// Writes a descriptor of the pass before into the ring.
    pub(crate) fn put_stale(&mut self, guest: &Guest, descriptor: &Descriptor) -> Result<()> {
        let phase = if (self.given >> self.ring) & 1 == 0 {
            0
        } else {
            PHASE
        };
        self.put_with_phase(guest, descriptor, phase)
    }

    fn put_with_phase(&mut self, guest: &Guest, descriptor: &Descriptor, phase: u16) -> Result<()> {
        let mut bytes = Vec::new();
        bytes.extend(descriptor.address.to_le_bytes());
        bytes.extend(descriptor.target.to_le_bytes());
        bytes.extend(descriptor.length.to_le_bytes());
        bytes.extend((descriptor.flags | phase).to_le_bytes());
        bytes.extend(descriptor.reserved.to_le_bytes());
        bytes.extend(descriptor.cookie.to_le_bytes());
        let place = self.given & ((1 << self.ring) - 1);
        guest.put(self.ring_offset() + 32 * u64::from(place), &bytes)?;
        self.given += 1;
        Ok(())
    }

    /// Gives the card all that was put.
    pub(crate) fn ring_doorbell(&self, guest: &mut Guest) -> Result<()> {
        self.write(guest, DOORBELL, self.given)
    }

    /// Gives descriptors to the card.
    pub(crate) fn give(&mut self, guest: &mut Guest, descriptors: &[Descriptor]) -> Result<()> {
        self.put(guest, descriptors)?;
        self.ring_doorbell(guest)
    }

    /// The next completion, if it is there.
    pub(crate) fn look(&mut self, guest: &Guest) -> Result<Option<Done>> {
        let place = self.seen & ((1 << self.done) - 1);
        let entry = self.done_offset() + 32 * u64::from(place);
        let tail = guest.load(entry + 24)?;
        let flags = (tail >> 48) as u16;
        if (flags & PHASE != 0) != ((self.seen >> self.done) & 1 == 0) {
            return Ok(None);
        }
        self.seen += 1;
        Ok(Some(Done {
            cookie: guest.load(entry)?,
            start: guest.load(entry + 8)?,
            end: guest.load(entry + 16)?,
            bytes: tail as u32,
            status: (tail >> 32) as u16,
            gap: flags & 1 != 0,
        }))
    }

    /// Waits for the next completion.
    pub(crate) fn wait(&mut self, guest: &Guest) -> Result<Done> {
        until("a completion", || self.look(guest))
    }

    /// Gives a chain to the card and waits for its completion.
    pub(crate) fn run(&mut self, guest: &mut Guest, descriptors: &[Descriptor]) -> Result<Done> {
        self.give(guest, descriptors)?;
        self.wait(guest)
    }

    /// Waits until these bits of a register have these values.
    pub(crate) fn wait_for(
        &self,
        guest: &mut Guest,
        register: u64,
        bits: u32,
        value: u32,
    ) -> Result<()> {
        until(&format!("{value:#x} in register {register:#x}"), || {
            Ok((self.read(guest, register)? & bits == value).then_some(()))
        })
    }

    /// Waits until the channel is not busy.
    pub(crate) fn wait_idle(&self, guest: &mut Guest) -> Result<()> {
        self.wait_for(guest, STATUS, BUSY, 0)
    }

    /// Resets it, and waits for that.
    pub(crate) fn reset(&self, guest: &mut Guest) -> Result<()> {
        self.write(guest, CONTROL, RESET)?;
        self.wait_for(guest, CONTROL, RESET, 0)
    }
}

/// Injects a fault once.
pub(crate) fn inject(program: &Program, fault: &str, channel: u64, ms: Option<u64>) -> Result<()> {
    let mut arguments = json!({"fault": fault, "channel": channel});
    if let Some(ms) = ms {
        arguments["ms"] = json!(ms);
    }
    program.control(&json!({ "inject": arguments })).map(drop)
}

pub(crate) fn heal(program: &Program) -> Result<()> {
    program.control(&json!({"heal": {}})).map(drop)
}

/// A counter of a channel.
pub(crate) fn counter(program: &Program, channel: usize, name: &str) -> Result<u64> {
    let counters = program.control(&json!({"counters": {}}))?;
    let counter: &Value = &counters["channels"][channel][name];
    counter
        .as_u64()
        .with_context(|| format!("no {name} in {counters}"))
}

/// Nobody broke a rule.
pub(crate) fn assert_clean(program: &Program) -> Result<()> {
    assert_eq!(program.violations()?, Vec::<String>::new());
    Ok(())
}

/// Bytes that are nowhere the same.
pub(crate) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(step).collect()
}

// SPDX-License-Identifier: GPL-2.0

//! `edu-daq`: four channels, each with a ring of descriptors and a ring of completions in the host's memory.
//!
//! Specification: `Documentation/edu-daq.rst`. The card is told by one write of a register how many
//! descriptors there are, and tells by a phase bit in memory which completions are new: nothing is read from it
//! while it works.

mod regs;

use kernel::{
    device,
    io::{
        poll::read_poll_timeout,
        register::Array,
        Io, //
    },
    pci,
    prelude::*,
    sync::{
        barrier::{
            dma_mb,
            Read, //
        },
        Arc, //
    },
    time::Delta, //
};

use super::{
    check_alive,
    Backend,
    Channel,
    Descriptor,
    Direction,
    End,
    State,
    Traits, //
};
use crate::{
    ext::words::Words,
    pure::lap::Lap, //
};

pub(super) const TRAITS: Traits = Traits {
    name: c"edu-daq",
    max_descriptor: 1 << 31,
    boundary: 1 << 63,
    alignment: 1,
    channels: 4,
    depth: 1 << DONE_BITS,
    vectors: 4,
    dma_bits: 64,
    abort: true,
    host_to_host: true,
};

/// Entries of the rings, as powers of two.
const RING_BITS: u32 = 10;
const DONE_BITS: u32 = 7;

/// Words of an entry of either ring.
const ENTRY: usize = 4;

/// Where the completions begin, in words: a multiple of a page.
const DONE: usize = ENTRY << RING_BITS;

// Of a descriptor's third word.
const OPERATION: u32 = 32;
const MORE: u64 = 1 << 34;
const QUIET: u64 = 1 << 35;
const PHASE: u64 = 1 << 47;

// Of a completion's last word.
const STATUS: u64 = 0xffff << 32;
const DONE_PHASE: u64 = 1 << 63;

/// The last chain of a batch tells of all others; these bound how long they wait if it is a long one: until half of
/// what the channel takes has ended.
const MODERATE_COUNT: u32 = 1 << (DONE_BITS - 1);
const MODERATE_TIME_US: u32 = 100;

type Bar<'bound> = pci::Bar<'bound, { regs::END }>;

/// An `edu-daq` card.
pub(super) struct EduDaq<'bound> {
    pdev: &'bound pci::Device<device::Bound>,
    bar: Arc<Bar<'bound>>,
}

impl<'bound> EduDaq<'bound> {
    pub(super) fn new(pdev: &'bound pci::Device<device::Bound>) -> Result<Self> {
        let bar = pdev.iomap_region_sized(0, c"userdma edu-daq")?;
        Ok(Self {
            pdev,
            bar: Arc::new(bar, GFP_KERNEL)?,
        })
    }
}

impl<'bound> Backend<'bound> for EduDaq<'bound> {
    fn reset(&self) -> Result<u64> {
        let id = self.bar.read(regs::ID).into_raw();
        if id != regs::IDENTITY {
            dev_err!(self.pdev, "not an edu-daq card: id {id:#010x}\n");
            return Err(ENODEV);
        }
        check_alive(self.pdev, |probe| {
            self.bar
                .write_reg(regs::LIVENESS::zeroed().with_value(probe));
            self.bar.read(regs::LIVENESS).into_raw()
        })?;
        self.bar
            .write_reg(regs::CARD_CONTROL::zeroed().with_reset(true));
        read_poll_timeout(
            || Ok(self.bar.read(regs::CARD_CONTROL)),
            |control| !control.reset(),
            Delta::from_millis(1),
            Delta::from_millis(1000),
        )
        .inspect_err(|_| dev_err!(self.pdev, "card does not stop\n"))?;
        match self.bar.read(regs::MEMORY).into_raw() {
            0 | u32::MAX => Err(ENODEV),
            size => Ok(u64::from(size)),
        }
    }

    fn channel(&self, index: u16) -> Result<KBox<dyn Channel + 'bound>> {
        let words = DONE + (ENTRY << DONE_BITS);
        let channel = Rings {
            bar: self.bar.clone(),
            index: usize::from(index),
            memory: Some(Words::new(self.pdev.as_ref(), words)?),
            given: Lap::new(RING_BITS),
            free: 0,
            chains: [0; 1 << DONE_BITS],
            begun: Lap::new(DONE_BITS),
            done: Lap::new(DONE_BITS),
            open: 0,
        };
        Ok(KBox::new(channel, GFP_KERNEL)?)
    }

    /// The interrupts are messages, and belong to nobody else.
    fn interrupt(&self) -> bool {
        true
    }
}

/// A channel and its rings.
struct Rings<'bound> {
    bar: Arc<Bar<'bound>>,
    index: usize,
    /// Descriptors, then completions. `None` in quarantine.
    memory: Option<Words>,
    /// The descriptors that were put down.
    given: Lap,
    /// How many descriptors may be put down.
    free: usize,
    /// How many descriptors each chain has.
    chains: [u16; 1 << DONE_BITS],
    /// The chains that were put down, and those that have ended.
    begun: Lap,
    done: Lap,
    /// Descriptors of the chain that is being put down.
    open: u16,
}

/// Writes a register of the channel, which exists: there are as many channels as the array has places.
macro_rules! write {
    ($this:expr, $register:ident, $field:ident, $value:expr) => {
        if let Some(at) = regs::$register::try_at($this.index) {
            $this
                .bar
                .write(at, regs::$register::zeroed().$field($value));
        }
    };
}

impl Rings<'_> {
    /// Gives the word of a descriptor that says what it is; of the last that was put down.
    fn last_kind(&self) -> usize {
        let last = self.given.count().wrapping_sub(1) & ((1 << RING_BITS) - 1);
        // CAST: `u32` fits.
        ENTRY * last as usize + 2
    }
}

impl Channel for Rings<'_> {
    fn start(&mut self, vector: Option<u32>) {
        let Some(memory) = &mut self.memory else {
            return;
        };
        // Completions of an earlier life have a phase, too.
        for word in DONE..DONE + (ENTRY << DONE_BITS) {
            memory.write(word, 0);
        }
        let (ring, done) = (memory.bus(0), memory.bus(DONE));
        (self.given, self.free) = (Lap::new(RING_BITS), 1 << RING_BITS);
        (self.begun, self.done) = (Lap::new(DONE_BITS), Lap::new(DONE_BITS));
        self.open = 0;
        // CAST: Halves of addresses.
        write!(self, RING_LOW, with_address, ring as u32);
        write!(self, RING_HIGH, with_address, (ring >> 32) as u32);
        write!(self, RING_SIZE, with_log2, RING_BITS);
        write!(self, DONE_LOW, with_address, done as u32);
        write!(self, DONE_HIGH, with_address, (done >> 32) as u32);
        write!(self, DONE_SIZE, with_log2, DONE_BITS);
        // Where there is no vector none is enabled, either.
        write!(self, VECTOR, with_number, vector.unwrap_or(0));
        write!(self, MODERATE_COUNT, with_completions, MODERATE_COUNT);
        write!(self, MODERATE_TIME, with_microseconds, MODERATE_TIME_US);
        write!(self, CONTROL, with_run, true);
    }

    fn room(&self) -> usize {
        let chains = self.begun.count().wrapping_sub(self.done.count());
        match chains < 1 << DONE_BITS {
            true => self.free,
            false => 0,
        }
    }

    fn push(&mut self, descriptor: &Descriptor, more: bool) {
        let Some(memory) = &mut self.memory else {
            return;
        };
        // The last of a batch is not quiet: `submit()` sees to it.
        let operation = match descriptor.direction {
            Direction::ToCard => 0,
            Direction::FromCard => 1,
            Direction::HostToHost => 2,
        };
        let mut kind = descriptor.length | operation << OPERATION | QUIET;
        if more {
            kind |= MORE;
        }
        if self.given.phase() {
            kind |= PHASE;
        }
        let first = ENTRY * self.given.slot();
        let cookie = u64::from(self.begun.count());
        memory.write_all(first, [descriptor.bus, descriptor.target, kind, cookie]);
        self.given.advance();
        self.free = self.free.saturating_sub(1);
        self.open += 1;
        if !more {
            if let Some(chain) = self.chains.get_mut(self.begun.slot()) {
                *chain = self.open;
            }
            self.open = 0;
            self.begun.advance();
        }
    }

    fn submit(&mut self) {
        let last = self.last_kind();
        if let Some(memory) = &mut self.memory {
            let kind = memory.read(last);
            memory.write(last, kind & !QUIET);
        }
        // Ordered behind what was written to memory. It may stay posted.
        write!(self, DOORBELL, with_count, self.given.count());
    }

    fn pop(&mut self) -> Option<End> {
        if self.done == self.begun {
            return None;
        }
        let memory = self.memory.as_ref()?;
        let first = DONE + ENTRY * self.done.slot();
        let word = memory.read(first + 3);
        if (word & DONE_PHASE != 0) != self.done.phase() {
            return None;
        }
        // The data, and the rest of the entry, are older than this word.
        dma_mb(Read);
        let cookie = memory.read(first);
        let chain = self.chains.get(self.done.slot()).copied().unwrap_or(0);
        let end = End {
            bytes: word & u64::from(u32::MAX),
            // A card that takes one chain for another has not moved this one.
            failed: word & STATUS != 0 || cookie != u64::from(self.done.count()),
        };
        self.done.advance();
        self.free += usize::from(chain);
        Some(end)
    }

    fn abort(&mut self) {
        write!(self, CONTROL, with_reset, true);
    }

    fn state(&mut self) -> State {
        let Some(at) = regs::STATUS::try_at(self.index) else {
            return State::Gone;
        };
        let status = self.bar.read(at);
        match status.into_raw() {
            u32::MAX => State::Gone,
            _ if status.busy() => State::Busy,
            _ => State::Idle,
        }
    }

    fn quarantine(&mut self) {
        core::mem::forget(self.memory.take());
    }
}

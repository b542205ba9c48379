// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The card as QEMU sees it, and the registers of the card.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread::JoinHandle;

use serde_json::Value;
use userdma_model::Bar;
use userdma_model::DeviceMemory;
use userdma_model::Host;
use userdma_model::Identity;
use userdma_model::Model;

use crate::channel::Channel;
use crate::channel::Parts;
use crate::clock::Clock;
use crate::counters::CardCounters;
use crate::counters::ChannelCounters;
use crate::faults::Faults;
use crate::interrupts::Interrupts;
use crate::registers;
use crate::registers::card::*;
use crate::registers::Owner;
use crate::registers::FIRST_DIGITISER;
use crate::registers::VECTORS;
use crate::worker::Worker;

/// How long a reset of the function waits for the channels, in nanoseconds. A
/// channel that is stuck hard moves nothing, and need not be waited for.
const RESET_LIMIT: u64 = 100_000_000;

/// The card.
#[derive(Debug)]
pub(crate) struct EduDaq {
    pub(crate) host: Host,
    pub(crate) channels: Vec<Arc<Channel>>,
    pub(crate) interrupts: Arc<Interrupts>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) counters: CardCounters,
    clock: Clock,
    /// Bytes.
    memory: u32,
    liveness: AtomicU32,
    /// TIME_HIGH, as TIME_LOW was read.
    time_high: AtomicU32,
    /// CONTROL.RESET was written.
    resetting: AtomicBool,
    threads: Vec<JoinHandle<()>>,
}

impl Model for EduDaq {
    fn identity() -> Identity {
        Identity {
            vendor: 0x1234,
            device: 0x11e9,
            revision: 1,
            class: 0x118000,
            bars: vec![Bar::registers(0, registers::BAR)],
            vectors: VECTORS,
        }
    }

    fn read(&self, _bar: u8, offset: u64, _size: usize) -> u64 {
        self.counters.reads.add(1);
        let value = match registers::owner(offset) {
            Owner::Card => self.read_card(offset),
            Owner::Channel(index, offset) => self.channels[index].read(offset),
            Owner::Nobody => 0,
        };
        value.into()
    }

    fn write(&self, _bar: u8, offset: u64, _size: usize, value: u64) {
        self.counters.writes.add(1);
        // CAST: an access of this BAR has 32 bits.
        let value = value as u32;
        match registers::owner(offset) {
            Owner::Card => self.write_card(offset, value),
            Owner::Channel(index, offset) => self.channels[index].write(offset, value),
            Owner::Nobody => {}
        }
    }

    fn reset(&self) {
        self.reset_all();
        let deadline = self.clock.now() + RESET_LIMIT;
        for channel in &self.channels {
            channel.wait_for_reset(deadline);
        }
    }

    fn control(&self, name: &str, arguments: &Value) -> anyhow::Result<Value> {
        self.request(name, arguments)
    }
}

impl EduDaq {
    /// The card when power was just applied; `memory`: bytes of its own.
    pub(crate) fn new(host: Host, memory: u32) -> anyhow::Result<Self> {
        let clock = Clock::start();
        let faults = Arc::new(Faults::default());
        let counters: [Arc<ChannelCounters>; registers::CHANNELS] = Default::default();
        let interrupts = Interrupts::new(host.clone(), clock, faults.clone(), counters.clone());
        let interrupts = Arc::new(interrupts);
        let parts = Parts {
            host: host.clone(),
            memory: Arc::new(DeviceMemory::new(memory as usize)?),
            clock,
            faults: faults.clone(),
            interrupts: interrupts.clone(),
        };
        let mut card = Self {
            host,
            channels: Vec::new(),
            interrupts: interrupts.clone(),
            faults,
            counters: CardCounters::default(),
            clock,
            memory,
            liveness: AtomicU32::new(0),
            time_high: AtomicU32::new(0),
            resetting: AtomicBool::new(false),
            threads: Vec::new(),
        };
        card.threads.push(interrupts.start());
        for (index, counters) in counters.into_iter().enumerate() {
            let channel = Channel::new(index, index >= FIRST_DIGITISER, counters, &parts);
            let channel = Arc::new(channel);
            card.threads.push(Worker::start(&channel)?);
            card.channels.push(channel);
        }
        Ok(card)
    }

    fn read_card(&self, offset: u64) -> u32 {
        match offset {
            ID => ID_VALUE,
            LIVENESS => !self.liveness.load(Ordering::Relaxed),
            SHAPE => registers::shape(),
            MEMORY => self.memory,
            CONTROL => {
                let channels = self.channels.iter();
                let resetting = self.resetting.load(Ordering::Relaxed)
                    && channels.clone().any(|channel| channel.is_resetting());
                self.resetting.store(resetting, Ordering::Relaxed);
                if resetting {
                    CONTROL_RESET
                } else {
                    0
                }
            }
            VIOLATIONS => self.host.violations(),
            TIME_LOW => {
                let now = self.clock.now();
                // CAST: halves of a number.
                self.time_high.store((now >> 32) as u32, Ordering::Relaxed);
                now as u32
            }
            TIME_HIGH => self.time_high.load(Ordering::Relaxed),
            _ => 0,
        }
    }

    fn write_card(&self, offset: u64, value: u32) {
        match offset {
            LIVENESS => self.liveness.store(value, Ordering::Relaxed),
            CONTROL if value & CONTROL_RESET != 0 => {
                self.resetting.store(true, Ordering::Relaxed);
                self.reset_all();
            }
            RAISE => {
                let asked = |vector: &u32| (value >> vector) & 1 != 0;
                for vector in (0..VECTORS.into()).filter(asked) {
                    self.host.interrupt(vector);
                }
            }
            _ => {}
        }
    }

    fn reset_all(&self) {
        self.liveness.store(0, Ordering::Relaxed);
        for channel in &self.channels {
            channel.reset();
        }
    }
}

impl Drop for EduDaq {
    fn drop(&mut self) {
        for channel in &self.channels {
            channel.end();
        }
        self.interrupts.end();
        for thread in self.threads.drain(..) {
            // A panic of it has ended the process.
            let _ = thread.join();
        }
    }
}

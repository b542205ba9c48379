// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A model of a small PCI card, to be copied for a model of a card of your own:
//! copy this directory, add it to the workspace in `qemu/Cargo.toml`, and change
//! what the comments marked CHANGE name. What a card can do with the machine that
//! it is in is in `userdma_model::Host`; a card with rings is `qemu/edu-daq`.
//!
//! # Data sheet
//!
//! PCI 1234:11ea, class 11 80 00 (signal processing controller). One MSI vector,
//! 64 KiB of memory on the card, one DMA engine with bus addresses of 64 bits.
//! BAR 0 has 4 KiB of registers of 32 bits, read and written whole and aligned;
//! anything else reads as 0, is not written, and is a violation in the report.
//!
//! | Offset | Name      | Access | Meaning                                              |
//! |--------|-----------|--------|------------------------------------------------------|
//! | 0x00   | ID        | r      | 0x11ea0001                                           |
//! | 0x04   | LIVENESS  | rw     | reads as the complement of what was written          |
//! | 0x10   | HOST_LOW  | rw     | bus address of the host's memory                     |
//! | 0x14   | HOST_HIGH | rw     |                                                      |
//! | 0x18   | CARD      | rw     | offset in the card's memory, in bytes                |
//! | 0x1c   | LENGTH    | rw     | bytes, 1 to 65536                                    |
//! | 0x20   | COMMAND   | w      | 1 host to card, 2 card to host, 4 stop and forget    |
//! | 0x24   | STATUS    | r      | bit 0 busy, bit 1 the last transfer failed           |
//!
//! A transfer works on the values that the registers had when COMMAND was written.
//! It raises the interrupt when it has ended, well or not. A command while the
//! engine is busy is a violation and does nothing, except 4: what runs is stopped
//! where it is, without an interrupt; it is over when busy reads as 0. A transfer
//! with LENGTH 0, or beyond the card's memory, is a violation, fails and moves
//! nothing; one that meets memory that the card is not given fails there. A reset
//! of the function stops the engine and sets all registers to 0.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::sync::Mutex;

use clap::Parser;
use userdma_model::lock;
use userdma_model::Bar;
use userdma_model::DeviceMemory;
use userdma_model::Engine;
use userdma_model::Host;
use userdma_model::Identity;
use userdma_model::Model;
use userdma_model::Options;
use userdma_model::Place;
use userdma_model::Stop;

/// CHANGE: the card's memory, in bytes.
const MEMORY: u64 = 64 << 10;

/// CHANGE: the registers that remember something.
#[derive(Default)]
struct Registers {
    liveness: u32,
    host: u64,
    card: u32,
    length: u32,
}

/// CHANGE: what the engine has to know about one transfer.
#[derive(Clone, Copy)]
struct Job {
    to_card: bool,
    host: u64,
    card: u64,
    length: u64,
}

struct Template {
    host: Host,
    registers: Mutex<Registers>,
    failed: Arc<AtomicBool>,
    /// A register must answer at once: what takes long is done by a thread.
    engine: Engine<Job>,
}

/// CHANGE: what the card does. Whether it went well.
fn transfer(host: &Host, memory: &DeviceMemory, job: &Job, stop: &Stop) -> bool {
    let Job { card, length, .. } = *job;
    if length == 0 || card + length > memory.size() {
        host.violation("range", format_args!("{length} bytes at {card:#x}"));
        return false;
    }
    // Block by block: in between a stop is noticed, and the guest can take memory away.
    let mut done = 0;
    while done < length && !stop.is_asked_for() {
        let there = Place::Host(job.host.saturating_add(done));
        let here = Place::Card(memory, card + done);
        let (from, to) = if job.to_card {
            (there, here)
        } else {
            (here, there)
        };
        match host.copy(from, to, length - done) {
            Ok(bytes) => done += bytes,
            // It is in the report.
            Err(_) => return false,
        }
    }
    true
}

impl Template {
    /// The card when power was just applied.
    fn new(host: Host) -> anyhow::Result<Self> {
        let memory = DeviceMemory::new(MEMORY as usize)?;
        let failed = Arc::new(AtomicBool::new(false));
        let (worker, result, signal) = (host.named("engine"), failed.clone(), host.clone());
        let work = move |job: Job, stop: &Stop| {
            let good = transfer(&worker, &memory, &job, stop);
            result.store(!good && !stop.is_asked_for(), Relaxed);
        };
        Ok(Self {
            host,
            registers: Mutex::default(),
            failed,
            engine: Engine::new(work, move || signal.interrupt(0)),
        })
    }

    fn command(&self, command: u32, registers: &Registers) {
        let job = Job {
            to_card: command == 1,
            host: registers.host,
            card: registers.card.into(),
            length: registers.length.into(),
        };
        match command {
            1 | 2 if self.engine.start(job) => {}
            4 => self.engine.stop(),
            _ => self
                .host
                .violation("command", format_args!("{command}, or busy")),
        }
    }
}

impl Model for Template {
    /// CHANGE: who it is. Vendor 1234 is QEMU's, and good for experiments.
    fn identity() -> Identity {
        Identity {
            vendor: 0x1234,
            device: 0x11ea,
            revision: 1,
            class: 0x118000,
            bars: vec![Bar::registers(0, 4096)],
            vectors: 1,
        }
    }

    /// CHANGE: what reading a register gives.
    fn read(&self, _bar: u8, offset: u64, _size: usize) -> u64 {
        let registers = lock(&self.registers);
        let value = match offset {
            0x00 => 0x11ea_0001,
            0x04 => !registers.liveness,
            0x10 => registers.host as u32,
            0x14 => (registers.host >> 32) as u32,
            0x18 => registers.card,
            0x1c => registers.length,
            // Busy first: when it reads as 0 the other bit is that of the last transfer.
            0x24 => u32::from(self.engine.is_busy()) | (u32::from(self.failed.load(Relaxed)) << 1),
            _ => 0,
        };
        value.into()
    }

    /// CHANGE: what writing a register does.
    fn write(&self, _bar: u8, offset: u64, _size: usize, value: u64) {
        let mut registers = lock(&self.registers);
        // CAST: an access of this BAR has 32 bits.
        let word = value as u32;
        match offset {
            0x04 => registers.liveness = word,
            0x10 => registers.host = (registers.host >> 32 << 32) | value,
            0x14 => registers.host = (value << 32) | u64::from(registers.host as u32),
            0x18 => registers.card = word,
            0x1c => registers.length = word,
            0x20 => self.command(word, &registers),
            _ => {}
        }
    }

    fn reset(&self) {
        self.engine.stop();
        self.engine.wait();
        *lock(&self.registers) = Registers::default();
        self.failed.store(false, Relaxed);
    }
}

#[derive(Parser)]
#[command(
    version,
    about = "A model of a small PCI card, to be copied and changed"
)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> anyhow::Result<()> {
    Ok(userdma_model::serve(
        &Arguments::parse().options,
        Template::new,
    )?)
}

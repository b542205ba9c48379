// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a card sees of the machine that it is in.

use std::fmt::Display;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use crate::interrupts::Interrupts;
use crate::memory::Memory;
use crate::memory::Place;
use crate::memory::Refusal;
use crate::report::Report;
use crate::report::Violation;

/// The machine that a card is in: its memory, its interrupts, and the report of
/// what the card found fault with. A handle; clones are of the same machine.
///
/// Whatever reads or writes the machine's memory and is refused is a violation,
/// and in the report when the call returns. Only when the client is gone
/// ([`Refusal::Gone`]) there is nobody to blame.
#[derive(Clone, Debug)]
pub struct Host {
    machine: Arc<Machine>,
    who: Arc<str>,
}

#[derive(Debug)]
struct Machine {
    memory: Memory,
    interrupts: Interrupts,
    report: Report,
    violations: AtomicU32,
}

impl Host {
    pub(crate) fn new(vectors: u8, report: Report) -> Self {
        let machine = Machine {
            memory: Memory::new(),
            interrupts: Interrupts::new(vectors),
            report,
            violations: AtomicU32::new(0),
        };
        Self {
            machine: Arc::new(machine),
            who: "card".into(),
        }
    }

    /// The same machine; violations are those of the part `who` of the card.
    pub fn named(&self, who: &str) -> Self {
        Self {
            machine: self.machine.clone(),
            who: who.into(),
        }
    }

    /// Copies up to `length` bytes, not zero, and returns how many: at most
    /// [`BLOCK`](crate::BLOCK), fewer where the memory ends that the card is given.
    /// Call it again until all is done, or a refusal comes. While it runs, and only
    /// then, the client has to wait when it takes memory away; between two calls
    /// is the place to look whether the transfer is wanted any more.
    ///
    /// Memory of the machine that overlaps itself is copied in an order of blocks
    /// that nobody should rely on.
    ///
    /// # Errors
    ///
    /// Not even the first byte can be read, or written.
    pub fn copy(&self, from: Place<'_>, to: Place<'_>, length: u64) -> Result<u64, Refusal> {
        let what = || format!("copying {length} bytes from {from} to {to}");
        self.judge(self.machine.memory.copy(from, to, length), what)
    }

    /// Reads from a bus address on.
    ///
    /// # Errors
    ///
    /// Some byte cannot be read; `bytes` may hold those before it.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Refusal> {
        let length = bytes.len();
        let what = || format!("reading {length} bytes at {address:#x}");
        self.judge(self.machine.memory.read(address, bytes), what)
    }

    /// Writes from a bus address on, in no order that can be relied on.
    ///
    /// # Errors
    ///
    /// Some byte cannot be written; those before it may have been.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let what = || format!("writing {} bytes at {address:#x}", bytes.len());
        self.judge(self.machine.memory.write(address, bytes), what)
    }

    /// Loads an aligned word of 8 bytes, atomically; what is read later is not
    /// older than it (acquire).
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not aligned.
    pub fn load(&self, address: u64) -> Result<u64, Refusal> {
        let what = || format!("reading a word at {address:#x}");
        self.judge(self.machine.memory.load(address), what)
    }

    /// Stores an aligned word of 8 bytes, atomically, after all that this thread
    /// wrote before (release).
    ///
    /// # Errors
    ///
    /// It cannot be written, or is not aligned.
    pub fn store(&self, address: u64, value: u64) -> Result<(), Refusal> {
        let what = || format!("writing a word at {address:#x}");
        self.judge(self.machine.memory.store(address, value), what)
    }

    /// Raises an interrupt. Nothing happens if its vector is not enabled, or the
    /// bus master bit is 0: it is a message that the card writes.
    pub fn interrupt(&self, vector: u32) {
        if self.machine.memory.is_master() {
            self.machine.interrupts.raise(vector);
        }
    }

    /// How many vectors the driver has enabled, counted up to the highest.
    pub fn vectors(&self) -> u32 {
        self.machine.interrupts.enabled()
    }

    /// Whether the bus master bit of the command register is set.
    pub fn is_bus_master(&self) -> bool {
        self.machine.memory.is_master()
    }

    /// Records that the driver broke a rule: which one, in a word, and how.
    pub fn violation(&self, rule: &'static str, text: impl Display) {
        self.machine.violations.fetch_add(1, Ordering::Relaxed);
        self.machine.report.add(Violation {
            rule,
            who: self.who.to_string(),
            text: text.to_string(),
        });
    }

    /// How many violations there were since this card was made.
    pub fn violations(&self) -> u32 {
        self.machine.violations.load(Ordering::Relaxed)
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.machine.memory
    }

    pub(crate) fn interrupts(&self) -> &Interrupts {
        &self.machine.interrupts
    }

    fn judge<T>(
        &self,
        result: Result<T, Refusal>,
        what: impl FnOnce() -> String,
    ) -> Result<T, Refusal> {
        if let Err(refusal) = result {
            let rule = match refusal {
                Refusal::Gone => return result,
                Refusal::NotMaster => "master",
                Refusal::Outside(_) => "range",
                _ => "address",
            };
            self.violation(rule, format_args!("{}: {refusal}", what()));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_violation_of_the_part_that_met_it() {
        let report = Report::default();
        let host = Host::new(1, report.clone());
        assert_eq!(host.load(0), Err(Refusal::NotMaster));
        host.memory().set_master(true);
        assert!(host.is_bus_master());
        assert!(host.named("engine").read(0x1000, &mut [0; 4]).is_err());
        host.memory().detach();
        assert_eq!(host.store(0, 0), Err(Refusal::Gone));
        let found = report.get().violations;
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.rule, one.who.as_str()))
            .collect();
        assert_eq!(found, [("master", "card"), ("address", "engine")]);
        assert_eq!(host.violations(), 2);
        report.take();
        assert_eq!(host.violations(), 2);
    }
}

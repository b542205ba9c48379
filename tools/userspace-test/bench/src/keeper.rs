// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A program that runs whenever no other does.
//!
//! A model of a card is a process of the host, in whose time it works. While no
//! program runs, the guest's clock leaps to the next timer: the driver would give
//! a transfer up before the model had seen it. And the last time that this program
//! has seen is when an interrupt came: it has just been preempted.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread::JoinHandle;

use anyhow::bail;
use anyhow::Result;

use crate::counter;
use crate::registers::Registers;

/// How often a call may end before it could sleep: the card was faster.
const TRIES: usize = 20;

/// The program.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: AtomicU64,
    over: AtomicBool,
    /// There is a write to be made.
    asked: AtomicBool,
    write: Mutex<Option<Write>>,
}

/// A register, and what is written to it.
#[derive(Debug)]
struct Write {
    registers: Arc<Registers>,
    offset: usize,
    value: u32,
}

impl Keeper {
    /// Starts it, below all others.
    pub(crate) fn start() -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().spawn(move || {
            if counter::set_priority(libc::SCHED_IDLE, 0).is_err() {
                return;
            }
            while !theirs.over.load(Relaxed) {
                theirs.seen.store(counter::now(), Relaxed);
                if theirs.asked.swap(false, Relaxed) {
                    let write = theirs.write.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(write) = &*write {
                        theirs.seen.store(counter::now(), Relaxed);
                        write.registers.write(write.offset, write.value);
                    }
                }
            }
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Has it write to a register as soon as it runs again: when the caller sleeps.
    pub(crate) fn write(&self, registers: &Arc<Registers>, offset: usize, value: u32) {
        let write = Write {
            registers: Arc::clone(registers),
            offset,
            value,
        };
        let place = self.shared.write.lock();
        *place.unwrap_or_else(PoisonError::into_inner) = Some(write);
        self.shared.asked.store(true, Relaxed);
    }

    /// Counts from the interrupt on which `call` sleeps to its end. `after` undoes what it did.
    pub(crate) fn wake<T>(
        &self,
        mut call: impl FnMut() -> Result<T>,
        mut after: impl FnMut(T) -> Result<()>,
    ) -> Result<u64> {
        for _ in 0..TRIES {
            let begun = counter::now();
            let value = call()?;
            let ended = counter::now();
            let seen = self.shared.seen.load(Relaxed);
            after(value)?;
            if seen > begun {
                return Ok(ended - seen);
            }
        }
        bail!("the call never slept");
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.over.store(true, Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

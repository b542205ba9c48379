// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A program that runs whenever no other does.
//!
//! A model of a card is a process of the host, in whose time it works. While no
//! program runs, the guest's clock leaps to the next timer: the driver would give
//! a transfer up before the model had seen it. And the last time that this program
//! has seen is when an interrupt came.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Result;

use crate::counter;

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
            }
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// When it ran last.
    pub(crate) fn seen(&self) -> u64 {
        self.shared.seen.load(Relaxed)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.over.store(true, Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

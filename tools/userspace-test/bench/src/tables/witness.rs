// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Sees when a call begins to sleep.
//!
//! While a program sleeps for the card the counter goes on, to the card's next
//! deadline. So what a call takes is counted in two halves: until another program
//! runs, and from the card's interrupt on.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Result;
use rustix::event::EventfdFlags;

use crate::counter;

/// Long enough for the witness to be where it looks.
const READY: Duration = Duration::from_millis(1);

/// edu takes so long for a transfer of any size, in ticks, and begins to count at
/// a multiple of [`MILLISECOND`].
const CARD: u64 = 100 * MILLISECOND;
const MILLISECOND: u64 = 1_000_000;

/// What is more than this was not the call.
const SANE: u64 = MILLISECOND;

/// The other program.
#[derive(Debug)]
pub(super) struct Witness {
    /// Written to before each call, closed at the end.
    go: Arc<OwnedFd>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// 1 from before a call on, until it was seen.
    armed: AtomicU64,
    /// When it was seen.
    seen: AtomicU64,
    /// 1 when there is nothing more to see.
    over: AtomicU64,
}

/// What the two halves of a call took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Halves {
    pub(super) before: u64,
    pub(super) after: u64,
}

impl Witness {
    /// Starts it.
    pub(super) fn new() -> Result<Self> {
        let go = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?);
        let shared = Arc::new(Shared::default());
        let (theirs, fd) = (Arc::clone(&shared), Arc::clone(&go));
        let thread = std::thread::spawn(move || {
            // Below the program that is measured, which waits for it to be so.
            if counter::set_priority(libc::SCHED_OTHER, 0).is_err() {
                return;
            }
            let mut count = [0; 8];
            while rustix::io::read(fd.as_fd(), &mut count).is_ok() && theirs.over.load(SeqCst) == 0
            {
                // Preempted here, and on again here when the call sleeps.
                while theirs.armed.load(SeqCst) == 0 {
                    std::hint::spin_loop();
                }
                theirs.seen.store(counter::now(), SeqCst);
                theirs.armed.store(0, SeqCst);
            }
        });
        Ok(Self {
            go,
            shared,
            thread: Some(thread),
        })
    }

    /// Counts the halves of `call`, which lets the card do one thing and sleeps until that is done.
    pub(super) fn watch(&self, mut call: impl FnMut() -> Result<()>) -> Result<Halves> {
        loop {
            self.go()?;
            std::thread::sleep(READY);
            self.shared.armed.store(1, SeqCst);
            let begun = counter::now();
            call()?;
            let ended = counter::now();
            let seen = self.shared.seen.load(SeqCst);
            ensure!(
                self.shared.armed.load(SeqCst) == 0 && (begun..ended).contains(&seen),
                "the call did not sleep"
            );
            if begun / MILLISECOND != seen / MILLISECOND {
                // The card may have begun in the one or the other.
                continue;
            }
            let interrupt = (begun / MILLISECOND) * MILLISECOND + CARD;
            let after = ended
                .checked_sub(interrupt)
                .filter(|after| *after < SANE)
                .ok_or_else(|| {
                    anyhow!("the card did not take {CARD} ticks: from {begun} to {ended}")
                })?;
            return Ok(Halves {
                before: seen - begun,
                after,
            });
        }
    }

    fn go(&self) -> Result<()> {
        rustix::io::write(self.go.as_fd(), &1u64.to_ne_bytes())?;
        Ok(())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.shared.over.store(1, SeqCst);
        if self.go().is_ok() {
            let _ = self.thread.take().map(JoinHandle::join);
        }
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What processes have locked and pinned, by the kernel's own counts.

use std::fs;

use crate::guest;
use crate::memory::PAGE;
use crate::outcome::Outcome;
use crate::poll::until;
use crate::raw::wide;

/// Counts of one process, in bytes, and of the machine, in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    /// VmLck: what counts against RLIMIT_MEMLOCK.
    pub(crate) locked: u64,
    /// VmPin: another count, which must not move.
    pub(crate) pinned: u64,
    /// Pages of the whole machine that are pinned now.
    pub(crate) pins: u64,
}

/// One line of /proc/PID/status, in bytes.
pub(crate) fn status(pid: i32, key: &str) -> Outcome<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(guest::number(&guest::parse_counters(&text), key)? << 10)
}

/// VmLck of this process.
pub(crate) fn locked() -> Outcome<u64> {
    status(nix::unistd::getpid().as_raw(), "VmLck")
}

/// Pages of the machine that are pinned now.
pub(crate) fn pins() -> Outcome<u64> {
    let acquired = guest::vmstat("nr_foll_pin_acquired")?;
    Ok(acquired.wrapping_sub(guest::vmstat("nr_foll_pin_released")?))
}

impl Account {
    /// Of this process.
    pub(crate) fn now() -> Outcome<Self> {
        Self::of(nix::unistd::getpid().as_raw())
    }

    /// Of another one.
    pub(crate) fn of(pid: i32) -> Outcome<Self> {
        Ok(Self {
            locked: status(pid, "VmLck")?,
            pinned: status(pid, "VmPin")?,
            pins: pins()?,
        })
    }

    /// The same with so many bytes more locked.
    pub(crate) fn with_locked(self, bytes: u64) -> Self {
        Self {
            locked: self.locked + bytes,
            ..self
        }
    }

    /// The same with so many bytes of small pages more pinned.
    pub(crate) fn with_pins(self, bytes: u64) -> Self {
        Self {
            pins: self.pins + bytes / wide(PAGE),
            ..self
        }
    }

    /// Requires the counts of this process to be these now.
    pub(crate) fn check(self) -> Outcome {
        check_eq!(Self::now()?, self);
        Ok(())
    }

    /// Requires the counts of this process to be these soon: what the card was
    /// working on is unpinned when that has ended.
    pub(crate) fn settle(self) -> Outcome {
        let mut now = self;
        let settled = until("the counts as before", || {
            now = Self::now()?;
            Ok(now == self)
        });
        check!(settled.is_ok(), "{now:?}, want {self:?}");
        Ok(())
    }
}

/// Whole pages that hold `length` bytes at `address`, in bytes.
pub(crate) fn whole_pages(address: usize, length: usize) -> u64 {
    let begin = address / PAGE * PAGE;
    wide((address + length).next_multiple_of(PAGE) - begin)
}

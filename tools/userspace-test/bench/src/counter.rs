// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Instructions, counted by the time stamp counter.
//!
//! With QEMU's `-icount shift=0,sleep=off` one instruction is one tick of it, and
//! time in which the processor sleeps costs nothing to wait for.

use std::arch::asm;
use std::arch::x86_64::_rdtsc;
use std::time::Duration;

use anyhow::bail;
use anyhow::Result;

/// How often each figure is taken; the median counts.
pub(crate) const TIMES: usize = 7;

/// How often before the first that counts.
const WARM_UP: usize = 2;

/// What the kernel has to do after boot is done after so long.
const SETTLE: Duration = Duration::from_secs(5);

/// Above all other programs.
pub(crate) const PRIORITY: libc::c_int = 50;

/// Reads the counter.
pub(crate) fn now() -> u64 {
    // SAFETY: every x86-64 processor has it, and Linux lets programs read it.
    unsafe { _rdtsc() }
}

/// Counts instructions.
#[derive(Debug)]
pub(crate) struct Counter {
    /// What reading the counter twice takes.
    own: u64,
}

impl Counter {
    /// Makes this program the only one that runs, and checks that the counter
    /// counts instructions.
    pub(crate) fn new() -> Result<Self> {
        std::thread::sleep(SETTLE);
        set_priority(libc::SCHED_FIFO, PRIORITY)?;
        let mut this = Self { own: 0 };
        this.own = median(&this.samples(|count| count.time_of(|| ()).0));
        // Two instructions each time round.
        let rounds = 100_000;
        let taken = median(&this.samples(|count| count.time_of(|| spin(rounds)).0));
        if taken.abs_diff(2 * rounds) > 20 {
            bail!("the time stamp counter does not count instructions here ({taken} ticks for {}): start this with `make bench`", 2 * rounds);
        }
        Ok(this)
    }

    /// Counts the instructions of `f`, and passes on what it gives.
    pub(crate) fn time_of<T>(&self, f: impl FnOnce() -> T) -> (u64, T) {
        let begin = now();
        let value = f();
        let taken = now() - begin;
        (taken.saturating_sub(self.own), value)
    }

    /// Takes a figure [`TIMES`] times.
    fn samples(&self, f: impl Fn(&Self) -> u64) -> Vec<u64> {
        (0..WARM_UP + TIMES)
            .map(|_| f(self))
            .skip(WARM_UP)
            .collect()
    }
}

/// Calls `f` until it has given so many results that count, and gives these.
pub(crate) fn repeat<T>(f: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
    repeat_times(TIMES, f)
}

/// The same of a figure that is not always the same.
pub(crate) fn repeat_more<T>(f: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
    repeat_times(3 * TIMES, f)
}

fn repeat_times<T>(times: usize, mut f: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
    for _ in 0..WARM_UP {
        f()?;
    }
    (0..times).map(|_| f()).collect()
}

/// The middle one.
pub(crate) fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

/// Sets the calling thread's scheduling.
pub(crate) fn set_priority(policy: libc::c_int, priority: libc::c_int) -> Result<()> {
    let parameters = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: it reads the parameters, which live through the call.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    match result {
        0 => Ok(()),
        _ => bail!("setting the priority: {}", std::io::Error::last_os_error()),
    }
}

/// Runs 2 * `rounds` instructions and a few.
fn spin(rounds: u64) {
    // SAFETY: it changes one register and the flags.
    unsafe {
        asm!(
            "2: dec {rounds}",
            "jnz 2b",
            rounds = inout(reg) rounds => _,
            options(nomem, nostack),
        );
    }
}

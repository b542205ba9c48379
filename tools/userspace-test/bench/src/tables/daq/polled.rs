// SPDX-License-Identifier: GPL-2.0 OR MIT
//! io_uring whose ring a thread of the kernel looks at. That the program makes no
//! system call is proven: with syscall user dispatch the kernel makes a signal of each.

use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Result;

use super::uring;
use super::uring::File;
use super::uring::Ring;
use super::Bench;
use crate::counter;
use crate::counter::repeat;
use crate::lab::Counts;
use crate::report::Report;

/// The thread of the kernel goes on looking for so long.
const LOOKS_MS: u32 = 10_000;

/// Longer than all transfers take.
const LIMIT: Duration = Duration::from_secs(5);

/// What the kernel reads at each system call, and what it finds there.
static SELECTOR: AtomicU8 = AtomicU8::new(ALLOW);
const ALLOW: u8 = 0;
const BLOCK: u8 = 1;

/// `PR_SET_SYSCALL_USER_DISPATCH` and `PR_SYS_DISPATCH_ON`, which libc does not have.
const SET_DISPATCH: libc::c_int = 59;
const ON: libc::c_ulong = 1;

/// System calls that were caught.
static CAUGHT: AtomicU64 = AtomicU64::new(0);

pub(super) fn run(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    dispatch()?;
    // The thread of the kernel has its maker's priority; the two share a processor.
    counter::set_priority(libc::SCHED_OTHER, 0)?;
    let mut ring = Ring::builder()
        .setup_sqpoll(LOOKS_MS)
        .build(uring::ENTRIES)?;
    let files = [bench.card.file().as_raw_fd()];
    ring.submitter().register_files(&files)?;
    let all = uring::BATCHES.map(|size| (size, repeat(|| batch(bench, &mut ring, size))));
    drop(ring);
    counter::set_priority(libc::SCHED_FIFO, counter::PRIORITY)?;
    for (size, all) in all {
        let all = all?;
        let values = |value: fn(&Counts) -> u64| all.iter().map(|one| value(&one.1)).collect();
        report.row(
            "polled",
            format!("{size} transfers, fixed file, SQPOLL"),
            [
                ("system calls", all.iter().map(|one| one.0).collect()),
                ("doorbells", values(|one| one.doorbells)),
                ("interrupts", values(|one| one.interrupts)),
            ],
        );
    }
    let own = caught(|| {
        let _parent = rustix::process::getppid();
    });
    ensure!(own == 1, "of one system call {own} were caught");
    Ok(())
}

/// Gives transfers and takes their ends; gives how many system calls that took.
fn batch(bench: &mut Bench<'_>, ring: &mut Ring, size: usize) -> Result<(u64, Counts)> {
    let before = bench.model.counts(super::CHANNEL.into())?;
    let limit = Instant::now() + LIMIT;
    // It may have fallen asleep meanwhile.
    while ring.submission().need_wakeup() {
        ensure!(Instant::now() < limit, "the kernel's thread does not wake");
        ring.submit()?;
        bench.settle()?;
    }
    let mut result = Ok(0);
    let calls = caught(|| result = give_and_take(bench, ring, size, limit));
    let ended = result?;
    ensure!(ended == size, "{ended} of {size} transfers have ended");
    bench.settle()?;
    let after = bench.model.counts(super::CHANNEL.into())?;
    Ok((calls, after.since(&before)))
}

fn give_and_take(bench: &Bench<'_>, ring: &mut Ring, size: usize, limit: Instant) -> Result<usize> {
    uring::put(bench, ring, File::Fixed, size)?;
    let moved = i32::try_from(super::SMALL)?;
    let mut ended = 0;
    // The clock is read without a system call.
    while ended < size && Instant::now() < limit {
        for end in ring.completion() {
            ensure!(end.result() == moved, "it ended with {}", end.result());
            ended += 1;
        }
        if ring.submission().need_wakeup() {
            bail!("the kernel's thread has gone to sleep");
        }
    }
    Ok(ended)
}

/// Has the kernel look at [`SELECTOR`].
fn dispatch() -> Result<()> {
    // SAFETY: a structure of plain numbers.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int) = caught_one;
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: the handler does only what a handler may.
    let result = unsafe { libc::sigaction(libc::SIGSYS, &raw const action, ptr::null_mut()) };
    ensure!(
        result == 0,
        "sigaction: {}",
        std::io::Error::last_os_error()
    );
    let none: libc::c_ulong = 0;
    // SAFETY: the selector lives as long as the program.
    let result = unsafe { libc::prctl(SET_DISPATCH, ON, none, none, SELECTOR.as_ptr()) };
    let error = std::io::Error::last_os_error();
    ensure!(result == 0, "{error}");
    Ok(())
}

/// Counts the first system call of `call`; those after it are let through.
fn caught(call: impl FnOnce()) -> u64 {
    let before = CAUGHT.load(SeqCst);
    SELECTOR.store(BLOCK, SeqCst);
    call();
    SELECTOR.store(ALLOW, SeqCst);
    CAUGHT.load(SeqCst) - before
}

extern "C" fn caught_one(_signal: libc::c_int) {
    // Returning is a system call, too.
    SELECTOR.store(ALLOW, SeqCst);
    CAUGHT.fetch_add(1, SeqCst);
}

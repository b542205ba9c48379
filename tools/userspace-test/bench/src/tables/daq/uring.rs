// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The same by io_uring, and its NOP beside it.

use std::hint::black_box;
use std::os::fd::AsRawFd;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use io_uring::cqueue;
use io_uring::opcode;
use io_uring::squeue;
use io_uring::types::Fd;
use io_uring::types::Fixed;
use io_uring::IoUring;
use userdma::sys;

use super::Bench;
use crate::counter::repeat;
use crate::counter::Counter;
use crate::report::Report;

/// Commands in one call. More than a file has places for would be those of io_uring's threads.
pub(super) const BATCHES: [usize; 4] = [1, 8, 32, 64];

/// Room in a ring.
pub(super) const ENTRIES: u32 = 128;

/// A ring with entries in which a transfer has room.
pub(super) type Ring = IoUring<squeue::Entry128, cqueue::Entry>;

/// How commands name the card.
#[derive(Clone, Copy)]
pub(super) enum File {
    Own,
    Fixed,
}

pub(super) fn run(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    for size in BATCHES {
        let name = format!("{size} NOP");
        let all = repeat(|| nops(bench.counter, size)).with_context(|| name.clone())?;
        row(report, name, size, all.into_iter().map(|one| (one, 0)));
    }
    for (file, what) in [(File::Fixed, "fixed file"), (File::Own, "file")] {
        for size in BATCHES {
            let name = format!("{size} transfers, {what}");
            let mut ring = ring(bench)?;
            let all = repeat(|| batch(bench, &mut ring, file, size));
            row(report, name.clone(), size, all.context(name)?.into_iter());
        }
    }
    let mut words = [[0; 4]; DESCRIPTORS];
    let all = repeat(|| Ok(bench.counter.time_of(|| descriptors(&mut words)).0))?;
    black_box(&words);
    report.row(
        "uring",
        format!("{DESCRIPTORS} descriptors put down"),
        [
            (SUBMIT, all.clone()),
            (
                EACH,
                all.iter().map(|one| one / count(DESCRIPTORS)).collect(),
            ),
        ],
    );
    Ok(())
}

const SUBMIT: &str = "io_uring_enter";
const EACH: &str = "each";

fn row(report: &mut Report, name: String, size: usize, all: impl Iterator<Item = (u64, u64)>) {
    let (submit, take): (Vec<u64>, Vec<u64>) = all.unzip();
    let each = submit.iter().map(|one| one / count(size)).collect();
    report.row(
        "uring",
        name,
        [
            (SUBMIT, submit),
            (EACH, each),
            ("take, ready", take.clone()),
            (
                "take each",
                take.iter().map(|one| one / count(size)).collect(),
            ),
        ],
    );
}

fn count(size: usize) -> u64 {
    crate::card::wide(size)
}

/// Submits NOPs, which have ended when that returns.
fn nops(counter: &Counter, size: usize) -> Result<u64> {
    let mut ring = IoUring::new(ENTRIES)?;
    let mut taken = 0;
    // The first time brings pages in.
    for _ in 0..2 {
        for _ in 0..size {
            // SAFETY: it names no memory.
            unsafe { ring.submission().push(&opcode::Nop::new().build()) }?;
        }
        let (time, result) = counter.time_of(|| ring.submit());
        ensure!(result? == size, "not all were submitted");
        ensure!(ring.completion().count() == size, "not all have ended");
        taken = time;
    }
    Ok(taken)
}

/// Submits transfers while the card is held, lets them end, and collects them.
fn batch(bench: &mut Bench<'_>, ring: &mut Ring, file: File, size: usize) -> Result<(u64, u64)> {
    put(bench, ring, file, size)?;
    bench.hold()?;
    let (submit, result) = bench.counter.time_of(|| ring.submit());
    ensure!(result? == size, "not all were submitted");
    bench.release(size)?;
    let (take, result) = bench.counter.time_of(|| ring.submit_and_wait(size));
    result?;
    let ends: Vec<i32> = ring.completion().map(|end| end.result()).collect();
    let moved = i32::try_from(super::SMALL)?;
    ensure!(ends == vec![moved; size], "they ended with {ends:?}");
    Ok((submit, take))
}

/// Puts transfers into the ring.
pub(super) fn put(bench: &Bench<'_>, ring: &mut Ring, file: File, size: usize) -> Result<()> {
    for transfer in bench.transfers(size)? {
        let op = sys::USERDMA_URING_TRANSFER;
        let entry = match file {
            File::Own => opcode::UringCmd80::new(Fd(bench.card.file().as_raw_fd()), op),
            File::Fixed => opcode::UringCmd80::new(Fixed(0), op),
        };
        let entry = entry.cmd(payload(&transfer)).build();
        // SAFETY: the driver reaches only buffers that it knows by handle.
        unsafe { ring.submission().push(&entry) }?;
    }
    Ok(())
}

/// A ring that knows the card, and is looked at only when it is asked.
pub(super) fn ring(bench: &Bench<'_>) -> Result<Ring> {
    let ring = Ring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(ENTRIES)?;
    let files = [bench.card.file().as_raw_fd()];
    ring.submitter().register_files(&files)?;
    Ok(ring)
}

/// A transfer as an entry of a ring has it.
fn payload(transfer: &sys::userdma_transfer) -> [u8; 80] {
    let mut bytes = [0; 80];
    let length = size_of::<sys::userdma_transfer>();
    // SAFETY: it is a structure of plain numbers without gaps, shorter than the payload.
    unsafe {
        std::ptr::copy_nonoverlapping(
            std::ptr::from_ref(transfer).cast(),
            bytes.as_mut_ptr(),
            length,
        );
    }
    bytes
}

const DESCRIPTORS: usize = 32;

/// What a driver cannot but do: descriptors of four words.
fn descriptors(ring: &mut [[u64; 4]; DESCRIPTORS]) {
    for (number, entry) in (0..).zip(ring) {
        for (word, value) in entry.iter_mut().zip([1 << 20, 64, 5 << 32, number]) {
            // SAFETY: it is a word of ours.
            unsafe { std::ptr::from_mut(word).write_volatile(value) };
        }
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! SUBMIT, WAIT and CANCEL. The card is held meanwhile, so that it interrupts none
//! of them.

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use userdma::sys;

use super::Bench;
use crate::card::wide;
use crate::counter::repeat;
use crate::lab::Counts;
use crate::report::Report;

/// Transfers in one call. An open file has no place for the last at once: SUBMIT
/// with O_NONBLOCK takes as many as there are places.
const BATCHES: [usize; 4] = [1, 8, 64, 512];

/// What a batch took.
struct Batch {
    submit: u64,
    wait: u64,
    count: u64,
}

pub(super) fn run(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    let flags = rustix::fs::fcntl_getfl(bench.card.file())?;
    rustix::fs::fcntl_setfl(bench.card.file(), flags | rustix::fs::OFlags::NONBLOCK)?;
    for size in BATCHES {
        let all = repeat(|| batch(bench, size)).with_context(|| format!("{size} transfers"))?;
        let values = |value: fn(&Batch) -> u64| all.iter().map(value).collect();
        report.row(
            "transfer",
            batch_name(size),
            [
                ("SUBMIT", values(|one| one.submit)),
                ("SUBMIT each", values(|one| one.submit / one.count)),
                ("WAIT, ready", values(|one| one.wait)),
                ("WAIT each", values(|one| one.wait / one.count)),
                ("accepted", values(|one| one.count)),
            ],
        );
    }
    let none = repeat(|| cancel(bench, 0))?;
    report.row("cancel", "CANCEL of nothing", [("instructions", none)]);
    for size in [1, 64] {
        let queued = repeat(|| {
            let mut transfers = bench.transfers(size + 1)?;
            // The card is not given it, nor those behind it, before the first has ended.
            transfers[1].flags = sys::USERDMA_TRANSFER_BARRIER;
            bench.hold()?;
            bench.submit(&transfers)?;
            let taken = cancel(bench, wide(size))?;
            bench.release(1)?;
            bench.wait(size + 1)?;
            Ok(taken)
        })?;
        let name = format!("CANCEL of {size} queued");
        report.row("cancel", name, [("instructions", queued)]);
    }
    rustix::fs::fcntl_setfl(bench.card.file(), flags)?;
    traffic(bench, report)
}

/// Submits a batch, lets it end, and collects it.
fn batch(bench: &mut Bench<'_>, size: usize) -> Result<Batch> {
    let transfers = bench.transfers(size)?;
    bench.hold()?;
    let (submit, count) = bench.submit(&transfers)?;
    bench.release(count)?;
    let (wait, completions) = bench.wait(count)?;
    for completion in completions {
        ensure!(completion.result == 0, "ended with {}", completion.result);
    }
    Ok(Batch {
        submit,
        wait,
        count: wide(count),
    })
}

/// CANCEL of all, which must find so many.
fn cancel(bench: &Bench<'_>, found: u64) -> Result<u64> {
    let mut cancel = sys::userdma_cancel {
        size: sys::size_of::<sys::userdma_cancel>(),
        flags: sys::USERDMA_CANCEL_ALL,
        channel: super::CHANNEL.into(),
        ..Default::default()
    };
    // SAFETY: it names no arrays.
    let call = || unsafe { bench.card.call(&mut cancel) };
    let (taken, result) = bench.counter.time_of(call);
    result.context("CANCEL")?;
    ensure!(
        u64::from(cancel.out_count) == found,
        "CANCEL found {}",
        cancel.out_count
    );
    Ok(taken)
}

/// What SUBMIT and WAIT of a batch make the card, the driver and the program do. The
/// card is not held.
fn traffic(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    for size in BATCHES {
        let all = repeat(|| {
            let transfers = bench.transfers(size)?;
            let before = bench.model.counts(super::CHANNEL.into())?;
            let (mut ended, mut calls) = (0, 0);
            while ended < size {
                let (_, count) = bench.submit(&transfers[ended..])?;
                bench.wait(count)?;
                ended += count;
                calls += 2;
            }
            let after = bench.model.counts(super::CHANNEL.into())?;
            Ok((after.since(&before), calls))
        })?;
        let values = |value: fn(&Counts) -> u64| all.iter().map(|one| value(&one.0)).collect();
        report.row(
            "traffic",
            batch_name(size),
            [
                ("system calls", all.iter().map(|one| one.1).collect()),
                ("register reads", values(|one| one.reads)),
                ("register writes", values(|one| one.writes)),
                ("doorbells", values(|one| one.doorbells)),
                ("interrupts", values(|one| one.interrupts)),
            ],
        );
    }
    Ok(())
}

fn batch_name(size: usize) -> String {
    format!(
        "{size} transfer{} of 64 bytes",
        if size == 1 { "" } else { "s" }
    )
}

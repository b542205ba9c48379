// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Throughput of large transfers, against what the model of the card would do if it
//! never waited for anybody: the bytes that it moved in the time in which it was
//! moving some. Both are taken of the same transfers, by the clock.

use std::time::Instant;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use userdma::sys;

use super::daq::BACKEND;
use crate::card;
use crate::card::wide;
use crate::card::Card;
use crate::counter::repeat;
use crate::guest;
use crate::lab::Model;
use crate::report::Report;

/// 4 KiB to 64 MiB.
const SHIFTS: std::ops::RangeInclusive<u32> = 12..=26;
const LARGEST: usize = 1 << 26;

/// So much is moved for each figure, in at most so many transfers, of which so many
/// are queued at a time.
const AMOUNT: usize = 256 << 20;
const MOST: usize = 512;
const QUEUED: usize = 32;

/// What a figure is of.
struct Once {
    nanoseconds: u64,
    busy: u64,
    bytes: u64,
}

pub(super) fn run(report: &mut Report) -> Result<()> {
    let card = Card::open(&guest::node_of(BACKEND)?)?;
    let mut model = Model::at(&card.bus_name()?)?;
    let mut buffer = card::alloc(sys::USERDMA_BUF_HUGE, LARGEST);
    // SAFETY: it names no arrays.
    unsafe { card.call(&mut buffer) }.context("BUF_ALLOC")?;
    for (op, name) in [
        (sys::USERDMA_OP_TO_CARD, "to the card"),
        (sys::USERDMA_OP_FROM_CARD, "from the card"),
    ] {
        for length in SHIFTS.step_by(2).map(|shift| 1 << shift) {
            let transfer = sys::userdma_transfer {
                op: op.try_into()?,
                buffer: buffer.out_handle,
                length: wide(length),
                ..Default::default()
            };
            let count = (AMOUNT / length).min(MOST);
            let all = repeat(|| once(&card, &mut model, transfer, count));
            let all = all.with_context(|| format!("{length} bytes {name}"))?;
            let values = |value: fn(&Once) -> u64| all.iter().map(value).collect();
            report.row(
                "bulk",
                format!("{} KiB {name}", length >> 10),
                [
                    ("MiB/s", values(|one| speed(one.bytes, one.nanoseconds))),
                    ("of the model", values(|one| speed(one.bytes, one.busy))),
                    ("percent", values(|one| 100 * one.busy / one.nanoseconds)),
                ],
            );
        }
    }
    Ok(())
}

fn speed(bytes: u64, nanoseconds: u64) -> u64 {
    (bytes * 1_000_000_000 / nanoseconds.max(1)) >> 20
}

/// Moves so many, and keeps the card's queue filled.
fn once(
    card: &Card,
    model: &mut Model,
    transfer: sys::userdma_transfer,
    count: usize,
) -> Result<Once> {
    let before = model.counts(0)?;
    let begun = Instant::now();
    let (mut left, mut queued) = (count, 0);
    while left + queued > 0 {
        // When half is done the other half keeps the card busy meanwhile.
        let more = left.min(QUEUED - queued);
        if more > 0 {
            let transfers = vec![transfer; more];
            let mut submit = card::submit(&transfers);
            // SAFETY: its transfers live.
            unsafe { card.call(&mut submit) }.context("SUBMIT")?;
            let taken = usize::try_from(submit.out_count)?;
            left -= taken;
            queued += taken;
        }
        let mut completions = [sys::userdma_completion::default(); QUEUED];
        let room = queued.min(QUEUED / 2);
        let mut wait = card::wait(&mut completions[..room]);
        // SAFETY: its completions live, and nobody looks at them meanwhile.
        unsafe { card.call(&mut wait) }.context("WAIT")?;
        let ended = usize::try_from(wait.out_count)?;
        for completion in &completions[..ended] {
            ensure!(completion.result == 0, "ended with {}", completion.result);
        }
        queued -= ended;
    }
    let nanoseconds = u64::try_from(begun.elapsed().as_nanos())?;
    let counts = model.counts(0)?.since(&before);
    ensure!(
        counts.bytes == transfer.length * wide(count),
        "the card moved {} bytes",
        counts.bytes
    );
    Ok(Once {
        nanoseconds,
        busy: counts.busy_ns,
        bytes: counts.bytes,
    })
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! SUBMIT of one transfer, and WAIT for a completion that is ready.

use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use userdma::sys;

use crate::card;
use crate::card::Card;
use crate::counter::repeat;
use crate::counter::Counter;
use crate::memory::PAGE;
use crate::report::Report;

/// Longer than the card takes for a transfer.
const ENOUGH: Duration = Duration::from_millis(300);

pub(super) fn run(counter: &Counter, card: &Card, report: &mut Report) -> Result<()> {
    let mut buffer = card::alloc(sys::USERDMA_BUF_COHERENT, PAGE);
    // SAFETY: it names no arrays.
    unsafe { card.call(&mut buffer) }.context("BUF_ALLOC")?;
    let all = repeat(|| {
        let transfer = sys::userdma_transfer {
            op: sys::USERDMA_OP_TO_CARD.try_into()?,
            buffer: buffer.out_handle,
            length: card::wide(PAGE),
            ..Default::default()
        };
        let mut completion = sys::userdma_completion::default();
        let mut submit = card::submit(std::slice::from_ref(&transfer));
        let mut wait = card::wait(std::slice::from_mut(&mut completion));
        // SAFETY: its one transfer lives.
        let (submitted, result) = counter.time_of(|| unsafe { card.call(&mut submit) });
        result.context("SUBMIT")?;
        ensure!(submit.out_count == 1, "SUBMIT took nothing");
        std::thread::sleep(ENOUGH);
        // SAFETY: its one completion lives, and nobody looks at it meanwhile.
        let (waited, result) = counter.time_of(|| unsafe { card.call(&mut wait) });
        result.context("WAIT")?;
        ensure!(wait.out_count == 1, "WAIT gave nothing");
        // SAFETY: it is a structure of plain numbers, which the kernel has written.
        let result = unsafe { (&raw const completion.result).read_volatile() };
        ensure!(result == 0, "the transfer ended with {result}");
        Ok((submitted, waited))
    })?;
    report.row(
        "edu",
        "one transfer of 4 KiB",
        [
            ("SUBMIT", all.iter().map(|one| one.0).collect()),
            ("WAIT, ready", all.iter().map(|one| one.1).collect()),
        ],
    );
    let mut freed = card::free(buffer.out_handle);
    // SAFETY: it names no arrays.
    unsafe { card.call(&mut freed) }.context("BUF_FREE")
}

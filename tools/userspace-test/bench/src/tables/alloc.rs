// SPDX-License-Identifier: GPL-2.0 OR MIT
//! BUF_ALLOC and BUF_FREE.

use anyhow::Context;
use anyhow::Result;
use userdma::sys;

use super::LARGE;
use crate::card;
use crate::card::Card;
use crate::counter::repeat;
use crate::counter::Counter;
use crate::report::Report;

pub(super) fn run(counter: &Counter, card: &Card, report: &mut Report) -> Result<()> {
    for (kind, name) in [
        (sys::USERDMA_BUF_COHERENT, "coherent"),
        (sys::USERDMA_BUF_HUGE, "huge"),
    ] {
        for length in [LARGE / 2, LARGE] {
            let name = format!("{name} {} MiB", length >> 20);
            let all = repeat(|| {
                let mut request = card::alloc(kind, length);
                // SAFETY: it names no arrays.
                let (alloc, result) = counter.time_of(|| unsafe { card.call(&mut request) });
                result.context("BUF_ALLOC")?;
                let mut freed = card::free(request.out_handle);
                // SAFETY: as above.
                let (free, result) = counter.time_of(|| unsafe { card.call(&mut freed) });
                result.context("BUF_FREE")?;
                Ok((alloc, free, u64::from(request.out_segments)))
            })
            .with_context(|| name.clone())?;
            report.row(
                "alloc",
                name,
                [
                    ("alloc", all.iter().map(|one| one.0).collect()),
                    ("free", all.iter().map(|one| one.1).collect()),
                    ("segments", all.iter().map(|one| one.2).collect()),
                ],
            );
        }
    }
    Ok(())
}

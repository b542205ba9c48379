// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Pinning and mapping some memory against copying as much: from which size on
//! read() and write() had better not copy.

use std::os::fd::AsFd;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use super::register;
use crate::card::wide;
use crate::card::Card;
use crate::counter::repeat;
use crate::counter::Counter;
use crate::memory::Kind;
use crate::memory::Memory;
use crate::memory::HUGE;
use crate::report::Report;

/// 4 KiB to 1 MiB.
const SHIFTS: std::ops::RangeInclusive<u32> = 12..=20;

pub(super) fn run(counter: &Counter, card: &Card, report: &mut Report) -> Result<()> {
    let largest = 1 << SHIFTS.end();
    let small = Memory::new(Kind::Small, largest)?;
    // At least a page of its kind.
    let transparent = Memory::new(Kind::Transparent, largest.max(HUGE))?;
    let target = Memory::new(Kind::Small, largest)?;
    let source = Memory::new(Kind::Memfd, largest)?;
    let source = source.memfd.as_ref().context("a memfd has an fd")?;
    for length in SHIFTS.map(|shift| 1 << shift) {
        let pinned = |memory| -> Result<Vec<u64>> {
            let all = repeat(|| register::once(counter, card, memory, length))?;
            Ok(all.iter().map(|one| one.register + one.free).collect())
        };
        let copied = repeat(|| {
            // SAFETY: the memory is ours and nobody else knows it.
            let target = unsafe { std::slice::from_raw_parts_mut(target.pointer(), length) };
            let (taken, result) = counter.time_of(|| rustix::io::pread(source.as_fd(), target, 0));
            ensure!(result? == length, "pread of a memfd was short");
            Ok(taken)
        })?;
        report.row(
            "copy",
            format!("{} KiB", wide(length) >> 10),
            [
                (Kind::Small.name(), pinned(&small)?),
                (Kind::Transparent.name(), pinned(&transparent)?),
                ("copy", copied),
            ],
        );
    }
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What any system call takes.

use anyhow::ensure;
use anyhow::Result;

use crate::card::ioctl;
use crate::card::Card;
use crate::counter::repeat;
use crate::counter::Counter;
use crate::report::Report;

/// A number that no driver has.
const UNKNOWN: u32 = 0xff_ff;

pub(super) fn run(counter: &Counter, card: &Card, report: &mut Report) -> Result<()> {
    let getppid = repeat(|| Ok(counter.time_of(rustix::process::getppid).0))?;
    report.row("base", "getppid", [("instructions", getppid)]);
    let unknown = repeat(|| {
        let none = std::ptr::null_mut::<()>();
        // SAFETY: whoever knew the command would read from or write to nowhere.
        let (taken, result) = counter.time_of(|| unsafe { ioctl(card.file(), UNKNOWN, none) });
        ensure!(
            result.is_err_and(|error| error.raw_os_error() == Some(libc::ENOTTY)),
            "an unknown command was taken"
        );
        Ok(taken)
    })?;
    report.row("base", "unknown ioctl", [("instructions", unknown)]);
    Ok(())
}

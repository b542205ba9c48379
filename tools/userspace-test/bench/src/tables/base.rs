// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What any system call takes.

use std::fs::File;
use std::hint::black_box;

use anyhow::ensure;
use anyhow::Result;
use rustix::event::EventfdFlags;

use crate::card::ioctl;
use crate::card::Card;
use crate::counter::repeat;
use crate::counter::Counter;
use crate::report::Report;

/// A number that no driver has.
const UNKNOWN: u32 = 0xff_ff;

const COPIED: usize = 4096;

pub(super) fn run(counter: &Counter, card: &Card, report: &mut Report) -> Result<()> {
    let getppid = repeat(|| Ok(counter.time_of(rustix::process::getppid).0))?;
    report.row("base", "getppid", [("instructions", getppid)]);
    let null = File::open("/dev/null")?;
    for (name, file) in [
        ("unknown ioctl", card.file()),
        ("unknown ioctl of /dev/null", &null),
    ] {
        let unknown = repeat(|| {
            let none = std::ptr::null_mut::<()>();
            // SAFETY: whoever knew the command would read from or write to nowhere.
            let (taken, result) = counter.time_of(|| unsafe { ioctl(file, UNKNOWN, none) });
            ensure!(
                result.is_err_and(|error| error.raw_os_error() == Some(libc::ENOTTY)),
                "an unknown command was taken"
            );
            Ok(taken)
        })?;
        report.row("base", name, [("instructions", unknown)]);
    }
    let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?;
    let mut number = 1u64.to_ne_bytes();
    let written = repeat(|| {
        let (taken, result) = counter.time_of(|| rustix::io::write(&event, &number));
        result?;
        Ok(taken)
    })?;
    report.row("base", "eventfd write", [("instructions", written)]);
    let read = repeat(|| {
        rustix::io::write(&event, &1u64.to_ne_bytes())?;
        let (taken, result) = counter.time_of(|| rustix::io::read(&event, &mut number));
        result?;
        Ok(taken)
    })?;
    report.row("base", "eventfd read", [("instructions", read)]);
    let (source, mut target) = (vec![1u8; COPIED], vec![2u8; COPIED]);
    let copied = repeat(|| {
        Ok(counter
            .time_of(|| target.copy_from_slice(black_box(&source)))
            .0)
    })?;
    report.row("base", "memcpy of 4 KiB", [("instructions", copied)]);
    black_box(target);
    Ok(())
}

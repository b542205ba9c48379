// SPDX-License-Identifier: GPL-2.0 OR MIT
//! execve() with the file kept: the memory that was registered is gone for the
//! program, and stays for the card until it is freed. The new program has
//! nothing to give back (CVE-2023-53171).

use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::io::FdFlags;

use crate::account::{locked, pins};
use crate::child::spawn;
use crate::device::{to_card, Device};
use crate::hugepool::Pool;
use crate::kinds::Kind;
use crate::memory::PAGE;
use crate::outcome::{all_bytes, Outcome, Stop};
use crate::poll::{until, LONG};
use crate::raw::wide;
use crate::registry::Context;

/// What the old program wrote into the memory.
const WRITTEN: u8 = 0x6e;

/// What the new program does with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// BUF_FREE, then close.
    Frees,
    /// Close.
    Closes,
    /// Nothing: it ends.
    Ends,
    /// Nothing, until it is killed.
    Waits,
}

/// The same for tests that are elsewhere.
pub(crate) const WAIT_FOR_END: u8 = Then::Waits as u8;

pub(super) fn exec(context: &mut Context) -> Outcome {
    let path = context.card().path.clone();
    let before = pins()?;
    let pool = Pool::of(1)?;
    for kind in [Kind::Anonymous, Kind::HugetlbAnonymous] {
        for then in [Then::Frees, Then::Closes, Then::Ends] {
            let child = spawn(|| {
                let device = Device::open(&path)?;
                let memory = kind.make(4 * PAGE)?;
                memory.fill(0..4 * PAGE, WRITTEN);
                let registered = device.register(memory.address(), 4 * PAGE, 0)?;
                check_eq!(locked()?, wide(4 * PAGE));
                rustix::io::fcntl_setfd(&device, FdFlags::empty())?;
                let fd = device.as_fd().as_raw_fd();
                let words = format!("{fd} {} {}", registered.handle, then as u8);
                let mut program = Command::new("/proc/self/exe");
                let error = program.args(["selftest", "--after-exec", &words]).exec();
                Err(error.into())
            })?;
            child.join(LONG)?;
            until("all pages unpinned", || Ok(pins()? == before))?;
            pool.wait_free(1)?;
        }
    }
    Ok(())
}

/// The new program.
pub(crate) fn after_exec(words: &str) -> ExitCode {
    match work(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Fail(message) | Stop::Skip(message)) => {
            eprintln!("after execve: {message}");
            ExitCode::FAILURE
        }
    }
}

fn work(words: &str) -> Outcome {
    let mut words = words.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let fd = next().parse()?;
    let handle = next().parse()?;
    let then: u8 = next().parse()?;
    // SAFETY: the old program left this number for us, and nobody else here knows it.
    let device = Device::from(unsafe { OwnedFd::from_raw_fd(fd) });
    check_eq!(locked()?, 0, "VmLck of the new program");
    if then == Then::Waits as u8 {
        loop {
            nix::unistd::pause();
        }
    }
    // The pages are still there, and still what they were.
    device.run_well(&[to_card(handle, PAGE, 100, 0)])?;
    let mut got = [0; 100];
    std::os::unix::fs::FileExt::read_exact_at(device.file(), &mut got, 0)?;
    all_bytes(&got, WRITTEN, "memory of the old program")?;
    if then == Then::Frees as u8 {
        device.free(handle)?;
        check_eq!(locked()?, 0, "VmLck after BUF_FREE");
        check_err!(device.buffer_info(handle), ENOENT);
    }
    if then == Then::Closes as u8 {
        drop(device);
        check_eq!(locked()?, 0, "VmLck after close");
        return Ok(());
    }
    // Not even the new program's end gives back what it has not taken.
    let memory = Kind::Anonymous.make(PAGE)?;
    device.register(memory.address(), PAGE, 0)?;
    check_eq!(locked()?, wide(PAGE));
    std::mem::forget(device);
    Ok(())
}

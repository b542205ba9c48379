// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The processes that are killed.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rand::rngs::SmallRng;
use rand::Rng as _;
use rustix::io::FdFlags;

use crate::child::{spawn, Child, Gate};
use crate::device::{from_card, Device, COHERENT, HUGE};
use crate::kinds::Kind;
use crate::memory::{HUGE as HUGE_PAGE, PAGE};
use crate::outcome::Outcome;
use crate::requests::pread;
use crate::suites::account::WAIT_FOR_END;

/// What a victim has the card write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// A page of the pool, registered by its address.
    Registered,
    /// The same by the number of its memfd.
    ByFd,
    /// A huge buffer.
    Huge,
    /// A coherent buffer.
    Coherent,
    /// A page of the pool, by read().
    Request,
    /// A page of the pool that is registered; the process becomes another
    /// program with all of it under way.
    Exec,
}

impl How {
    const ALL: [Self; 6] = [
        Self::Registered,
        Self::ByFd,
        Self::Huge,
        Self::Coherent,
        Self::Request,
        Self::Exec,
    ];

    pub(super) fn random(rng: &mut SmallRng) -> Self {
        Self::ALL[rng.random_range(0..Self::ALL.len())]
    }
}

/// Starts a victim, which opens the gate and then never ends by itself.
pub(super) fn start(path: &Path, how: How, begun: &Gate) -> Outcome<Child> {
    Ok(spawn(|| {
        let device = Device::open(path)?;
        match how {
            How::Registered | How::Exec => {
                let memory = Kind::HugetlbAnonymous.make(HUGE_PAGE)?;
                let registered = device.register(memory.address(), HUGE_PAGE, 0)?;
                match how {
                    How::Exec => become_another(&device, registered.handle, begun),
                    _ => for_ever(&device, registered.handle, begun),
                }
            }
            How::ByFd => {
                let memory = Kind::HugetlbMemfd.make(HUGE_PAGE)?;
                let Some(fd) = memory.memfd() else {
                    fail!("a memfd without a number");
                };
                let registered = device.register_memfd(fd, 0, HUGE_PAGE, 0)?;
                for_ever(&device, registered.handle, begun)
            }
            How::Huge => for_ever(&device, device.alloc(HUGE, HUGE_PAGE)?.handle, begun),
            How::Coherent => for_ever(&device, device.alloc(COHERENT, 32 * PAGE)?.handle, begun),
            How::Request => {
                let memory = Kind::HugetlbAnonymous.make(HUGE_PAGE)?;
                begun.open()?;
                loop {
                    check_eq!(pread(&device, memory.address(), PAGE, 0), Ok(PAGE));
                }
            }
        }
    })?)
}

/// The card fills the buffer's pages, one after the other, again and again.
pub(super) fn for_ever(device: &Device, handle: u32, begun: &Gate) -> Outcome {
    let reads: Vec<_> = (0..32)
        .map(|page| from_card(handle, page * PAGE, PAGE, 0))
        .collect();
    begun.open()?;
    loop {
        check_eq!(device.submit(&reads)?, reads.len());
        device.collect(reads.len())?;
    }
}

/// execve() with transfers queued and moving.
fn become_another(device: &Device, handle: u32, begun: &Gate) -> Outcome {
    let reads: Vec<_> = (0..64)
        .map(|page| from_card(handle, page * PAGE, PAGE, 0))
        .collect();
    check_eq!(device.submit(&reads)?, reads.len());
    rustix::io::fcntl_setfd(device, FdFlags::empty())?;
    let fd = device.as_fd().as_raw_fd();
    begun.open()?;
    let mut program = Command::new("/proc/self/exe");
    let words = format!("{fd} {handle} {WAIT_FOR_END}");
    let error = program.args(["selftest", "--after-exec", &words]).exec();
    Err(error.into())
}

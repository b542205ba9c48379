// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Counters that the kernel adds to.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use rustix::event::EventfdFlags;

use crate::guest::parse_counters;
use crate::outcome::Outcome;

/// An eventfd.
#[derive(Debug)]
pub(crate) struct Counter {
    file: File,
}

impl Counter {
    /// Whose reads never sleep.
    pub(crate) fn new() -> Outcome<Self> {
        Self::with(EventfdFlags::NONBLOCK)
    }

    /// Whose reads sleep while it is 0.
    pub(crate) fn sleeping() -> Outcome<Self> {
        Self::with(EventfdFlags::empty())
    }

    fn with(flags: EventfdFlags) -> Outcome<Self> {
        let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | flags)?;
        Ok(Self { file: fd.into() })
    }

    /// The number of the file.
    pub(crate) fn number(&self) -> i32 {
        self.file.as_raw_fd()
    }

    /// What was added since the last call; 0 if nothing.
    pub(crate) fn take(&self) -> Outcome<u64> {
        let mut count = [0; 8];
        match (&self.file).read(&mut count) {
            Ok(8) => Ok(u64::from_ne_bytes(count)),
            Ok(length) => fail!("{length} bytes of an eventfd"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds to it, as another program might.
    pub(crate) fn add(&self, count: u64) -> Outcome {
        Ok((&self.file).write_all(&count.to_ne_bytes())?)
    }

    /// The kernel's number of the counter itself, the lowest that is free: it is
    /// given again when nobody has the counter any more.
    pub(crate) fn id(&self) -> Outcome<u64> {
        let path = format!("/proc/self/fdinfo/{}", self.number());
        let lines = parse_counters(&std::fs::read_to_string(path)?);
        crate::guest::number(&lines, "eventfd-id")
    }
}

impl AsFd for Counter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The kernel's pool of huge pages, and taking more out of it than was set
//! aside.
//!
//! While pages are taken the pool may overcommit: what it makes then is
//! *surplus* and goes back to the system with the memory, whatever the limit is
//! by then. So the limit is raised for that moment only, and a program that is
//! killed later leaves nothing behind.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::Write as _;
use std::path::PathBuf;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::Pages;
use crate::explain;

/// The pool of huge pages of one size.
#[derive(Debug)]
pub(crate) struct Pool {
    directory: PathBuf,
}

/// What is in a pool: numbers of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// In all, surplus included.
    pub(crate) total: u64,
    /// Not in use, but perhaps promised to a mapping.
    pub(crate) free: u64,
    /// Of the free ones, those that are promised.
    pub(crate) promised: u64,
    /// Made beyond what was set aside.
    pub(crate) surplus: u64,
}

impl State {
    /// Gives how many can be had.
    pub(crate) fn available(&self) -> u64 {
        self.free.saturating_sub(self.promised)
    }
}

/// What came of trying to make pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grown {
    /// The program may not.
    Refused,
    /// The kernel tried and found too few pieces of memory.
    TooFew,
}

impl Pool {
    /// Finds the pool, if these pages come from one and the machine has it.
    pub(crate) fn of(pages: Pages) -> Option<Self> {
        let kib = pages.are_pooled().then(|| pages.size() >> 10)?;
        let directory = PathBuf::from(format!("/sys/kernel/mm/hugepages/hugepages-{kib}kB"));
        directory.is_dir().then_some(Self { directory })
    }

    /// Asks what is in it; zero where that cannot be read.
    pub(crate) fn state(&self) -> State {
        State {
            total: self.number("nr_hugepages"),
            free: self.number("free_hugepages"),
            promised: self.number("resv_hugepages"),
            surplus: self.number("surplus_hugepages"),
        }
    }

    fn number(&self, name: &str) -> u64 {
        let text = fs::read_to_string(self.directory.join(name));
        text.ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Lets the kernel make `count` pages for as long as the result lives.
    fn grow(&self, count: u64) -> io::Result<Overcommit> {
        let name = self.directory.join("nr_overcommit_hugepages");
        let mut file = OpenOptions::new().read(true).write(true).open(name)?;
        // Other programs that use this library take turns.
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let before = text.trim().parse().map_err(io::Error::other)?;
        let mut overcommit = Overcommit { file, before };
        overcommit.set(before.max(self.state().surplus.saturating_add(count)))?;
        Ok(overcommit)
    }
}

/// The pool's limit of surplus pages, raised; set back and unlocked on drop.
struct Overcommit {
    file: File,
    before: u64,
}

impl Overcommit {
    fn set(&mut self, count: u64) -> io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(count.to_string().as_bytes())
    }
}

impl Drop for Overcommit {
    fn drop(&mut self) {
        // It worked a moment ago, and there is no other way to set it back.
        let _ = self.set(self.before);
    }
}

/// Calls `take`, which takes pages; if there are too few, once more while the
/// kernel may make some, if that was asked for. Says with an error what came of
/// that.
pub(super) fn draw<T>(
    request: &explain::PagesRequest,
    take: impl Fn() -> Result<T, Errno>,
) -> Result<T, (Errno, Option<Grown>)> {
    let errno = match take() {
        Ok(taken) => return Ok(taken),
        Err(errno) => errno,
    };
    let pool = Pool::of(request.pages).filter(|_| request.reserve);
    let Some(pool) = pool.filter(|_| matches!(errno, Errno::NOMEM | Errno::NOSPC)) else {
        return Err((errno, None));
    };
    match pool.grow(request.count()) {
        Ok(_overcommit) => take().map_err(|errno| (errno, Some(Grown::TooFew))),
        Err(_) => Err((errno, Some(Grown::Refused))),
    }
}

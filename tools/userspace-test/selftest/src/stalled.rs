// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A page that does not come until it is told to: userfaultfd.

use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use rustix::event::PollFlags;

use crate::kinds::no_huge_pages;
use crate::memory::{Mapping, PAGE};
use crate::outcome::Outcome;
use crate::poll::{ready, LONG};
use crate::raw::{self, wide, Sys};

/// From linux/userfaultfd.h, which no crate that is used here has.
const UFFD_API: u64 = 0xaa;
const UFFDIO_API: u32 = 0xc018_aa3f;
const UFFDIO_REGISTER: u32 = 0xc020_aa00;
const UFFDIO_ZEROPAGE: u32 = 0xc020_aa04;
const UFFDIO_REGISTER_MODE_MISSING: u64 = 1;

/// One page of memory that does not come, and who answers for it.
#[derive(Debug)]
pub(crate) struct Page {
    memory: Mapping,
    offset: usize,
    fault: OwnedFd,
}

impl Page {
    /// Makes one that has not come.
    pub(crate) fn new() -> Outcome<Self> {
        Self::among(1, 0)
    }

    /// Makes `pages` pages, one of which has not come.
    pub(crate) fn among(pages: usize, number: usize) -> Outcome<Self> {
        let memory = Mapping::anonymous(pages * PAGE)?;
        // Else a neighbour could bring it.
        no_huge_pages(&memory)?;
        let fault = match raw::userfaultfd() {
            Ok(fault) => fault,
            Err(Errno::ENOSYS | Errno::EPERM) => skip!("needs a kernel with userfaultfd"),
            Err(error) => return Err(error.into()),
        };
        let page = Self {
            memory,
            offset: number * PAGE,
            fault,
        };
        // struct uffdio_api: api, features, ioctls.
        page.command(UFFDIO_API, [UFFD_API, 0, 0, 0])?;
        // struct uffdio_register: start, len, mode, ioctls.
        let (start, length) = (wide(page.address()), wide(PAGE));
        page.command(
            UFFDIO_REGISTER,
            [start, length, UFFDIO_REGISTER_MODE_MISSING, 0],
        )?;
        Ok(page)
    }

    fn command(&self, command: u32, mut argument: [u64; 4]) -> Sys<()> {
        let address = argument.as_mut_ptr().expose_provenance();
        // SAFETY: the commands used here have at most 32 bytes.
        unsafe { raw::ioctl(&self.fault, command, address) }.map(drop)
    }

    /// Where it will be.
    pub(crate) fn address(&self) -> usize {
        self.memory.address() + self.offset
    }

    /// It and its neighbours; whoever touches it waits until it comes.
    pub(crate) fn memory(&self) -> &Mapping {
        &self.memory
    }

    /// Waits until somebody waits for it.
    pub(crate) fn wait(&self) -> Outcome {
        let events = ready(&self.fault, PollFlags::IN, LONG)?;
        check_eq!(events, PollFlags::IN, "nobody touched the page");
        Ok(())
    }

    /// Lets it come, all zero.
    pub(crate) fn fill(&self) -> Outcome {
        let (start, length) = (wide(self.address()), wide(PAGE));
        // struct uffdio_zeropage: start, len, mode, zeropage.
        match self.command(UFFDIO_ZEROPAGE, [start, length, 0, 0]) {
            // It came before.
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(error) => fail!("{error:?} on file {}", self.fault.as_raw_fd()),
        }
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The registers of a card, mapped.

use std::fs::File;
use std::path::Path;
use std::ptr;

use anyhow::Context;
use anyhow::Result;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

use crate::memory::PAGE;

/// The first page of them.
#[derive(Debug)]
pub(crate) struct Registers {
    address: usize,
}

impl Registers {
    /// Maps what is at `offset` of a file.
    pub(crate) fn map(file: &File, offset: u64) -> Result<Self> {
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses a place where nothing is.
        let pointer = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                PAGE,
                rights,
                MapFlags::SHARED,
                file,
                offset,
            )
        };
        let pointer = pointer.context("mapping registers")?;
        Ok(Self {
            address: pointer.expose_provenance(),
        })
    }

    /// Maps the first ones of a card that no driver has claimed.
    pub(crate) fn of_card(bus_name: &str) -> Result<Self> {
        let path = Path::new("/sys/bus/pci/devices")
            .join(bus_name)
            .join("resource0");
        let file = File::options().read(true).write(true).open(&path);
        Self::map(
            &file.with_context(|| format!("opening {}", path.display()))?,
            0,
        )
    }

    /// Writes to one, a multiple of 4 below a page.
    pub(crate) fn write(&self, offset: usize, value: u32) {
        assert!(offset % 4 == 0 && offset < PAGE, "no register");
        let pointer: *mut u32 = ptr::with_exposed_provenance_mut(self.address + offset);
        // SAFETY: it is within the mapping, aligned, and the card's.
        unsafe { pointer.write_volatile(value) };
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing refers to it any more.
        let result =
            unsafe { rustix::mm::munmap(ptr::with_exposed_provenance_mut(self.address), PAGE) };
        debug_assert!(result.is_ok(), "munmap of a whole mapping of our own");
    }
}

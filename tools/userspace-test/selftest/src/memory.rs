// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Memory that is looked at from outside, and one mapping, anonymous or of a
//! buffer.
//!
//! Card, kernel and other processes write to such memory at any time, so there
//! is never a reference to it: bytes are copied in and out.

use std::ops::{Deref, Range};
use std::os::fd::{AsFd, AsRawFd as _};

use libc::c_int;

use crate::child::{spawn, Exit};
use crate::outcome::Outcome;
use crate::raw::{self, Sys};

/// The page size of the guests (x86).
pub(crate) const PAGE: usize = 4096;
/// A huge page.
pub(crate) const HUGE: usize = 2 << 20;
/// Readable and writable.
pub(crate) const RW: c_int = libc::PROT_READ | libc::PROT_WRITE;
/// Readable.
pub(crate) const RO: c_int = libc::PROT_READ;

/// A place in memory, as long as its owner lives.
#[derive(Debug)]
pub(crate) struct Window {
    address: usize,
    length: usize,
}

/// A mapping that goes with its owner.
#[derive(Debug)]
pub(crate) struct Mapping {
    window: Window,
}

/// What came of touching memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touch {
    /// The byte that was there.
    Byte(u8),
    /// The signal it ended in.
    Signal(i32),
}

impl Window {
    /// Names a place. Whoever has the window sees to it that the memory stays.
    pub(crate) fn new(address: usize, length: usize) -> Self {
        Self { address, length }
    }

    /// Where it begins.
    pub(crate) fn address(&self) -> usize {
        self.address
    }

    /// Its bytes.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    fn pointer(&self, offset: usize, length: usize) -> *mut u8 {
        let end = offset.checked_add(length).expect("no wrap");
        assert!(end <= self.length, "a test went outside its mapping");
        std::ptr::with_exposed_provenance_mut(self.address + offset)
    }

    /// Copies bytes out.
    pub(crate) fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let source = self.pointer(offset, length);
        // SAFETY: the range is inside the mapping, `bytes` is apart from it.
        unsafe { std::ptr::copy_nonoverlapping(source, bytes.as_mut_ptr(), length) };
        bytes
    }

    /// Copies bytes in.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        let target = self.pointer(offset, bytes.len());
        // SAFETY: the range is inside the mapping, `bytes` is apart from it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
    }

    /// Sets a range to one value.
    pub(crate) fn fill(&self, range: Range<usize>, value: u8) {
        let target = self.pointer(range.start, range.len());
        // SAFETY: the range is inside the mapping.
        unsafe { std::ptr::write_bytes(target, value, range.len()) };
    }

    /// The byte at one place.
    pub(crate) fn byte(&self, offset: usize) -> u8 {
        // SAFETY: it is inside the mapping.
        unsafe { self.pointer(offset, 1).read_volatile() }
    }

    /// Sets one byte.
    pub(crate) fn set_byte(&self, offset: usize, value: u8) {
        // SAFETY: it is inside the mapping.
        unsafe { self.pointer(offset, 1).write_volatile(value) };
    }

    /// Touches one byte in a forked child, which inherits the mapping, so that
    /// a fatal signal is only a result.
    pub(crate) fn touch(&self, offset: usize, write: Option<u8>) -> Outcome<Touch> {
        let exit = spawn(|| {
            if let Some(value) = write {
                self.set_byte(offset, value);
            }
            // The byte is the exit status.
            std::process::exit(i32::from(self.byte(offset)))
        })?
        .wait()?;
        Ok(match exit {
            Exit::Signal(signal) => Touch::Signal(signal),
            Exit::Code(code) => Touch::Byte(u8::try_from(code)?),
        })
    }

    /// Requires that reading and writing anywhere in the range is SIGBUS.
    pub(crate) fn check_gone(&self, range: Range<usize>) -> Outcome {
        for offset in [range.start, range.start + range.len() / 2, range.end - 1] {
            check_eq!(self.touch(offset, None)?, Touch::Signal(libc::SIGBUS));
        }
        check_eq!(
            self.touch(range.start, Some(1))?,
            Touch::Signal(libc::SIGBUS)
        );
        Ok(())
    }
}

impl Mapping {
    fn at(address: usize, length: usize) -> Self {
        Self {
            window: Window::new(address, length),
        }
    }

    /// Zeroed memory of the program's own.
    pub(crate) fn anonymous(length: usize) -> Sys<Self> {
        Self::anonymous_with(length, 0)
    }

    /// The same with more flags, such as MAP_32BIT.
    pub(crate) fn anonymous_with(length: usize, flags: c_int) -> Sys<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
        // SAFETY: no MAP_FIXED.
        let address = unsafe { raw::mmap(0, length, RW, flags, -1, 0) }?;
        Ok(Self::at(address, length))
    }

    /// Memory at one address, far from where the kernel puts other mappings: so
    /// what lies beside it stays unmapped.
    pub(crate) fn alone_at(address: usize, length: usize) -> Sys<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: it replaces nothing.
        let got = unsafe { raw::mmap(address, length, RW, flags, -1, 0) }?;
        assert_eq!(got, address);
        Ok(Self::at(address, length))
    }

    /// A shared mapping of a file.
    pub(crate) fn of(fd: &impl AsFd, offset: u64, length: usize, protection: c_int) -> Sys<Self> {
        Self::with(fd, offset, length, protection, libc::MAP_SHARED)
    }

    /// A mapping of a file with any flags but MAP_FIXED.
    pub(crate) fn with(
        fd: &impl AsFd,
        offset: u64,
        length: usize,
        protection: c_int,
        flags: c_int,
    ) -> Sys<Self> {
        assert_eq!(flags & libc::MAP_FIXED, 0);
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: no MAP_FIXED.
        let address = unsafe { raw::mmap(0, length, protection, flags, fd, offset) }?;
        Ok(Self::at(address, length))
    }

    /// Changes the protection of a part.
    pub(crate) fn protect(&self, range: Range<usize>, protection: c_int) -> Sys<()> {
        raw::mprotect(self.address + range.start, range.len(), protection)
    }

    /// Unmaps a part; the rest stays usable.
    pub(crate) fn unmap(&self, range: Range<usize>) -> Sys<()> {
        // SAFETY: `pointer` is used for no reference; a later access to the hole is a test's bug
        // and ends in SIGSEGV.
        unsafe { raw::munmap(self.address + range.start, range.len()) }
    }

    /// Puts zeroed memory of the program's own over a part.
    pub(crate) fn cover(&self, range: Range<usize>) -> Sys<()> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let address = self.address + range.start;
        // SAFETY: only this mapping is there, and nothing refers into it.
        unsafe { raw::mmap(address, range.len(), RW, flags, -1, 0) }.map(drop)
    }

    /// Puts a shared mapping of a file over a part.
    pub(crate) fn cover_with(&self, range: Range<usize>, fd: &impl AsFd, offset: u64) -> Sys<()> {
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        let address = self.address + range.start;
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: only this mapping is there, and nothing refers into it.
        unsafe { raw::mmap(address, range.len(), RW, flags, fd, offset) }.map(drop)
    }

    /// Changes the length, moving it if that helps.
    pub(crate) fn resize(&mut self, length: usize) -> Sys<()> {
        let (address, old) = (self.address, self.length);
        // SAFETY: nothing refers into the mapping, and the new place is noted.
        let address = unsafe { raw::mremap(address, old, length, libc::MREMAP_MAYMOVE) }?;
        self.window = Window::new(address, length);
        Ok(())
    }
}

impl Deref for Mapping {
    type Target = Window;

    fn deref(&self) -> &Window {
        &self.window
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nothing refers into the mapping.
        let _ = unsafe { raw::munmap(self.address, self.length) };
    }
}

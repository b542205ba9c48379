// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One open file of the driver, with the ioctls as they are.
//!
//! Not the library's types: they check before they call, and here the kernel's
//! checks are what is tested.

mod transfer;

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use libc::c_int;
use nix::errno::Errno;
use userdma::sys;
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes};

use crate::memory::{Mapping, RO, RW};
use crate::outcome::Outcome;
use crate::poll::{after, LONG};
use crate::raw::{self, size, Sys};

pub(crate) use transfer::{from_card, host_to_host, tagged, to_card};

/// An open file.
#[derive(Debug)]
pub(crate) struct Device {
    file: File,
}

/// A buffer, as BUF_ALLOC described it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buffer {
    pub(crate) handle: u32,
    pub(crate) length: usize,
    pub(crate) cookie: u64,
    pub(crate) segments: u32,
    pub(crate) page_size: u64,
}

/// Memory of the program's, as BUF_REGISTER described it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registered {
    pub(crate) handle: u32,
    pub(crate) length: usize,
    pub(crate) segments: u32,
    pub(crate) page_size: u64,
    pub(crate) pinned: u64,
}

/// Kinds, shorter.
pub(crate) const COHERENT: u32 = sys::USERDMA_BUF_COHERENT;
/// See above.
pub(crate) const HUGE: u32 = sys::USERDMA_BUF_HUGE;

impl Device {
    /// Opens for reading and writing.
    pub(crate) fn open(path: &Path) -> Sys<Self> {
        Self::open_with(path, libc::O_RDWR)
    }

    /// Opens with O_* flags.
    pub(crate) fn open_with(path: &Path, flags: c_int) -> Sys<Self> {
        let access = flags & libc::O_ACCMODE;
        let file = OpenOptions::new()
            .read(access != libc::O_WRONLY)
            .write(access != libc::O_RDONLY)
            .custom_flags(flags & !libc::O_ACCMODE)
            .open(path)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
        Ok(Self { file })
    }

    /// As a file, for read and write.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// An ioctl with a structure of the right size.
    pub(crate) fn ioctl<T: FromBytes + IntoBytes + Immutable>(
        &self,
        command: u32,
        argument: &mut T,
    ) -> Sys<()> {
        let address = (&raw mut *argument).expose_provenance();
        // SAFETY: the kernel writes at most the structure, whose size is in it.
        unsafe { raw::ioctl(self, command, address) }.map(drop)
    }

    /// INFO.
    pub(crate) fn info(&self) -> Sys<sys::userdma_info> {
        let mut info = sys::userdma_info::new_zeroed();
        info.size = sys::size_of::<sys::userdma_info>();
        self.ioctl(sys::USERDMA_IOCTL_INFO, &mut info)?;
        Ok(info)
    }

    /// Whether INFO tells of a capability.
    pub(crate) fn can(&self, capability: u32) -> Sys<bool> {
        Ok(self.info()?.out_capabilities & u64::from(capability) != 0)
    }

    /// An argument of BUF_ALLOC.
    pub(crate) fn request(kind: u32, length: u64, flags: u32) -> sys::userdma_buf_alloc {
        let mut request = sys::userdma_buf_alloc::new_zeroed();
        request.size = sys::size_of::<sys::userdma_buf_alloc>();
        request.kind = kind;
        request.length = length;
        request.flags = flags;
        request
    }

    /// BUF_ALLOC without flags.
    pub(crate) fn alloc(&self, kind: u32, length: usize) -> Sys<Buffer> {
        self.alloc_with(&mut Self::request(kind, raw::wide(length), 0))
    }

    /// BUF_ALLOC with anything.
    pub(crate) fn alloc_with(&self, request: &mut sys::userdma_buf_alloc) -> Sys<Buffer> {
        self.ioctl(sys::USERDMA_IOCTL_BUF_ALLOC, request)?;
        Ok(Buffer {
            handle: request.out_handle,
            length: size(request.out_length),
            cookie: request.out_mmap_offset,
            segments: request.out_segments,
            page_size: request.out_page_size,
        })
    }

    /// An argument of BUF_REGISTER.
    pub(crate) fn registration(
        address: usize,
        length: usize,
        flags: u32,
    ) -> sys::userdma_buf_register {
        let mut request = sys::userdma_buf_register::new_zeroed();
        request.size = sys::size_of::<sys::userdma_buf_register>();
        request.address = raw::wide(address);
        request.length = raw::wide(length);
        request.flags = flags;
        request
    }

    /// BUF_REGISTER of memory that nothing refers to, or of none.
    pub(crate) fn register(&self, address: usize, length: usize, flags: u32) -> Sys<Registered> {
        self.register_with(&mut Self::registration(address, length, flags))
    }

    /// BUF_REGISTER of a part of a memfd.
    pub(crate) fn register_memfd(
        &self,
        fd: &impl AsFd,
        offset: usize,
        length: usize,
        flags: u32,
    ) -> Sys<Registered> {
        let flags = flags | sys::USERDMA_REGISTER_MEMFD;
        let mut request = Self::registration(offset, length, flags);
        request.fd = fd.as_fd().as_raw_fd();
        self.register_with(&mut request)
    }

    /// BUF_REGISTER with anything.
    pub(crate) fn register_with(&self, request: &mut sys::userdma_buf_register) -> Sys<Registered> {
        self.ioctl(sys::USERDMA_IOCTL_BUF_REGISTER, request)?;
        Ok(Registered {
            handle: request.out_handle,
            length: size(request.length),
            segments: request.out_segments,
            page_size: request.out_page_size,
            pinned: request.out_pinned,
        })
    }

    /// BUF_SYNC.
    pub(crate) fn sync(&self, handle: u32, offset: usize, length: usize, flags: u32) -> Sys<()> {
        let mut sync = sys::userdma_buf_sync::new_zeroed();
        sync.size = sys::size_of::<sys::userdma_buf_sync>();
        sync.flags = flags;
        sync.handle = handle;
        sync.offset = raw::wide(offset);
        sync.length = raw::wide(length);
        self.ioctl(sys::USERDMA_IOCTL_BUF_SYNC, &mut sync)
    }

    /// BUF_INFO.
    pub(crate) fn buffer_info(&self, handle: u32) -> Sys<sys::userdma_buf_info> {
        let mut info = sys::userdma_buf_info::new_zeroed();
        info.size = sys::size_of::<sys::userdma_buf_info>();
        info.handle = handle;
        self.ioctl(sys::USERDMA_IOCTL_BUF_INFO, &mut info)?;
        Ok(info)
    }

    /// BUF_FREE.
    pub(crate) fn free(&self, handle: u32) -> Sys<()> {
        let mut free = sys::userdma_buf_free::new_zeroed();
        free.size = sys::size_of::<sys::userdma_buf_free>();
        free.handle = handle;
        self.ioctl(sys::USERDMA_IOCTL_BUF_FREE, &mut free)
    }

    /// A mapping of a whole buffer, readable and writable.
    pub(crate) fn map(&self, buffer: &Buffer) -> Sys<Mapping> {
        Mapping::of(self, buffer.cookie, buffer.length, RW)
    }

    /// The same, read-only.
    pub(crate) fn map_read(&self, buffer: &Buffer) -> Sys<Mapping> {
        Mapping::of(self, buffer.cookie, buffer.length, RO)
    }

    /// SUBMIT; how many were accepted.
    pub(crate) fn submit(&self, transfers: &[sys::userdma_transfer]) -> Sys<usize> {
        let mut submit = sys::userdma_submit::new_zeroed();
        submit.size = sys::size_of::<sys::userdma_submit>();
        submit.entries = raw::wide(transfers.as_ptr().expose_provenance());
        submit.entry_size = sys::size_of::<sys::userdma_transfer>();
        submit.count = u32::try_from(transfers.len()).expect("a batch");
        self.ioctl(sys::USERDMA_IOCTL_SUBMIT, &mut submit)?;
        Ok(size(submit.out_count.into()))
    }

    /// CANCEL of one name; how many were withdrawn.
    pub(crate) fn cancel(&self, channel: u32, user_data: u64) -> Sys<u32> {
        let mut cancel = sys::userdma_cancel::new_zeroed();
        cancel.size = sys::size_of::<sys::userdma_cancel>();
        cancel.channel = channel;
        cancel.user_data = user_data;
        self.ioctl(sys::USERDMA_IOCTL_CANCEL, &mut cancel)?;
        Ok(cancel.out_count)
    }

    /// CANCEL of all of a channel; how many were withdrawn.
    pub(crate) fn cancel_all(&self, channel: u32) -> Sys<u32> {
        let mut cancel = sys::userdma_cancel::new_zeroed();
        cancel.size = sys::size_of::<sys::userdma_cancel>();
        cancel.flags = sys::USERDMA_CANCEL_ALL;
        cancel.channel = channel;
        self.ioctl(sys::USERDMA_IOCTL_CANCEL, &mut cancel)?;
        Ok(cancel.out_count)
    }

    /// EVENTFD for records, or for the interrupts of a vector; any number for a
    /// file.
    pub(crate) fn tell(&self, fd: c_int, vector: Option<u32>) -> Sys<()> {
        let mut eventfd = sys::userdma_eventfd::new_zeroed();
        eventfd.size = sys::size_of::<sys::userdma_eventfd>();
        eventfd.flags = vector.map_or(0, |_| sys::USERDMA_EVENTFD_VECTOR);
        eventfd.fd = fd;
        eventfd.vector = vector.unwrap_or(0);
        self.ioctl(sys::USERDMA_IOCTL_EVENTFD, &mut eventfd)
    }

    /// WAIT: at least `min`, at most `max` records, until the deadline.
    pub(crate) fn wait(
        &self,
        min: u32,
        max: u32,
        deadline_ns: u64,
    ) -> Sys<Vec<sys::userdma_completion>> {
        let mut records = vec![sys::userdma_completion::new_zeroed(); size(max.into())];
        let address = raw::wide(records.as_mut_ptr().expose_provenance());
        let count = self.wait_at(address, min, max, deadline_ns)?;
        records.truncate(count);
        Ok(records)
    }

    /// WAIT with an array of the caller's, whatever is there; how many came.
    pub(crate) fn wait_at(&self, entries: u64, min: u32, max: u32, deadline_ns: u64) -> Sys<usize> {
        let mut wait = sys::userdma_wait::new_zeroed();
        wait.size = sys::size_of::<sys::userdma_wait>();
        wait.entries = entries;
        wait.entry_size = sys::size_of::<sys::userdma_completion>();
        wait.max = max;
        wait.min = min;
        wait.deadline_ns = deadline_ns;
        self.ioctl(sys::USERDMA_IOCTL_WAIT, &mut wait)?;
        Ok(size(wait.out_count.into()))
    }

    /// Submits all, whatever it takes, and gives a completion for each, in the
    /// order in which they came.
    pub(crate) fn run(
        &self,
        transfers: &[sys::userdma_transfer],
    ) -> Outcome<Vec<sys::userdma_completion>> {
        let (mut sent, mut done) = (0, Vec::new());
        while done.len() < transfers.len() {
            let room = size(self.info()?.out_depth.into()) - (sent - done.len());
            let batch = &transfers[sent..transfers.len().min(sent + room)];
            if !batch.is_empty() {
                sent += self.submit(batch)?;
            }
            let records = self.wait(1, 64, after(LONG))?;
            check!(
                !records.is_empty(),
                "WAIT gave none of {} outstanding",
                sent - done.len()
            );
            done.extend(records);
        }
        Ok(done)
    }

    /// The same, and each must succeed in full.
    pub(crate) fn run_well(&self, transfers: &[sys::userdma_transfer]) -> Outcome {
        for (record, transfer) in self.run(transfers)?.iter().zip(transfers) {
            check_eq!(record.user_data, transfer.user_data);
            check_eq!(record.result, 0, "{transfer:?}");
            check_eq!(record.bytes, transfer.length, "{transfer:?}");
        }
        Ok(())
    }

    /// Waits for `count` completions of what was submitted before.
    pub(crate) fn collect(&self, count: usize) -> Outcome<Vec<sys::userdma_completion>> {
        let mut done = Vec::new();
        while done.len() < count {
            let records = self.wait(1, 64, after(LONG))?;
            check!(
                !records.is_empty(),
                "{} of {count} completions came",
                done.len()
            );
            done.extend(records);
        }
        Ok(done)
    }

    /// Requires that nothing is outstanding and no record waits.
    pub(crate) fn check_idle(&self) -> Outcome {
        // With nothing outstanding this returns at once.
        let records = self.wait(1, 1, after(Duration::from_secs(5)))?;
        check_eq!(records.len(), 0, "a record that nobody submitted");
        Ok(())
    }
}

impl From<std::os::fd::OwnedFd> for Device {
    fn from(fd: std::os::fd::OwnedFd) -> Self {
        Self { file: fd.into() }
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

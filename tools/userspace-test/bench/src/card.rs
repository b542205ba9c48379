// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The calls of userdma, each prepared first and then made: what is counted is
//! the system call alone.

use std::ffi::CStr;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use userdma::sys;

use crate::memory::Memory;

/// An open card.
#[derive(Debug)]
pub(crate) struct Card {
    file: File,
}

/// ioctl with a structure, and nothing around it.
///
/// # Safety
///
/// `argument` must be what `file` expects for `command`, and valid for what it does.
pub(crate) unsafe fn ioctl<T>(file: &File, command: u32, argument: *mut T) -> io::Result<i32> {
    // SAFETY: promised by the caller.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::c_ulong::from(command), argument) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// A call that is ready to be made.
pub(crate) trait Call {
    /// The command's number.
    const COMMAND: u32;
}

macro_rules! calls {
    ($($structure:ident = $command:ident;)*) => {
        $(impl Call for sys::$structure {
            const COMMAND: u32 = sys::$command;
        })*
    };
}

calls! {
    userdma_info = USERDMA_IOCTL_INFO;
    userdma_buf_alloc = USERDMA_IOCTL_BUF_ALLOC;
    userdma_buf_register = USERDMA_IOCTL_BUF_REGISTER;
    userdma_buf_free = USERDMA_IOCTL_BUF_FREE;
    userdma_submit = USERDMA_IOCTL_SUBMIT;
    userdma_wait = USERDMA_IOCTL_WAIT;
    userdma_cancel = USERDMA_IOCTL_CANCEL;
    userdma_eventfd = USERDMA_IOCTL_EVENTFD;
}

impl Card {
    /// Opens a node.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        Ok(Self { file })
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Makes a call.
    ///
    /// # Safety
    ///
    /// The arrays that the structure names must be valid for what the call does.
    pub(crate) unsafe fn call<T: Call>(&self, argument: &mut T) -> io::Result<()> {
        // SAFETY: number and structure belong together, the rest is the caller's promise.
        unsafe { ioctl(&self.file, T::COMMAND, argument) }.map(drop)
    }

    /// What the card is.
    pub(crate) fn info(&self) -> Result<sys::userdma_info> {
        let mut info = sys::userdma_info {
            size: sys::size_of::<sys::userdma_info>(),
            ..Default::default()
        };
        // SAFETY: it names no arrays.
        unsafe { self.call(&mut info) }.context("INFO")?;
        Ok(info)
    }

    /// Its name on the bus.
    pub(crate) fn bus_name(&self) -> Result<String> {
        text(&self.info()?.out_bus_name)
    }

    /// The name of its kind.
    pub(crate) fn backend(&self) -> Result<String> {
        text(&self.info()?.out_backend)
    }
}

/// A name as INFO gives it.
fn text(name: &[std::ffi::c_char]) -> Result<String> {
    let bytes: Vec<u8> = name.iter().map(|byte| byte.to_ne_bytes()[0]).collect();
    let name = CStr::from_bytes_until_nul(&bytes).context("a name has no end")?;
    Ok(name.to_str()?.to_owned())
}

/// BUF_REGISTER of the first `length` bytes.
pub(crate) fn register(memory: &Memory, length: usize) -> sys::userdma_buf_register {
    let memfd = memory.memfd.as_ref();
    sys::userdma_buf_register {
        size: sys::size_of::<sys::userdma_buf_register>(),
        flags: memfd.map_or(0, |_| sys::USERDMA_REGISTER_MEMFD),
        address: memfd.map_or(wide(memory.address), |_| 0),
        length: wide(length),
        fd: memfd.map_or(0, AsRawFd::as_raw_fd),
        ..Default::default()
    }
}

/// BUF_ALLOC.
pub(crate) fn alloc(kind: u32, length: usize) -> sys::userdma_buf_alloc {
    sys::userdma_buf_alloc {
        size: sys::size_of::<sys::userdma_buf_alloc>(),
        kind,
        length: wide(length),
        ..Default::default()
    }
}

/// BUF_FREE.
pub(crate) fn free(handle: u32) -> sys::userdma_buf_free {
    sys::userdma_buf_free {
        size: sys::size_of::<sys::userdma_buf_free>(),
        handle,
        ..Default::default()
    }
}

/// SUBMIT of transfers, which must live until the call was made.
pub(crate) fn submit(transfers: &[sys::userdma_transfer]) -> sys::userdma_submit {
    sys::userdma_submit {
        size: sys::size_of::<sys::userdma_submit>(),
        entries: wide(transfers.as_ptr().expose_provenance()),
        entry_size: sys::size_of::<sys::userdma_transfer>(),
        count: narrow(transfers.len()),
        ..Default::default()
    }
}

/// WAIT for as many completions as there is room for, which must live until the call was made.
pub(crate) fn wait(room: &mut [sys::userdma_completion]) -> sys::userdma_wait {
    sys::userdma_wait {
        size: sys::size_of::<sys::userdma_wait>(),
        entries: wide(room.as_mut_ptr().expose_provenance()),
        entry_size: sys::size_of::<sys::userdma_completion>(),
        max: narrow(room.len()),
        min: narrow(room.len()),
        deadline_ns: sys::USERDMA_WAIT_FOREVER,
        ..Default::default()
    }
}

/// A count as the ABI has it.
fn narrow(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A length as the ABI has it.
pub(crate) fn wide(value: usize) -> u64 {
    // CAST: the guest has 64 bits.
    value as u64
}

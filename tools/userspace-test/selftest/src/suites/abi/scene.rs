// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Open files with all that calls need, and what calls that succeed leave.

use std::fs::File;
use std::mem::offset_of;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use rustix::fs::SealFlags;
use userdma::sys;
use zerocopy::IntoBytes as _;

use super::call::{Access, Call, Command, Place, BEFORE};
use crate::account;
use crate::device::{to_card, Device, COHERENT};
use crate::eventfd::Counter;
use crate::guest::Card;
use crate::kinds;
use crate::memory::{Mapping, PAGE, RO};
use crate::outcome::Outcome;
use crate::raw::wide;

/// What BUF_REGISTER and EVENTFD can be pointed at: addresses, numbers of files, a handle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Targets {
    /// A page that can only be read.
    pub(crate) read_only: u64,
    /// Where nothing is mapped.
    pub(crate) hole: u64,
    /// A memfd of a page.
    pub(crate) memfd: i32,
    /// The same, opened to be read only.
    pub(crate) memfd_read_only: i32,
    /// A memfd that is sealed against writing.
    pub(crate) sealed: i32,
    /// A file that is no memfd.
    pub(crate) no_memfd: i32,
    /// A buffer that is a source only.
    pub(crate) source: u32,
    /// An eventfd.
    pub(crate) eventfd: i32,
    /// The file that is called.
    pub(crate) own: i32,
}

/// Memory and files for [`Targets`].
#[derive(Debug)]
struct Grounds {
    good: Mapping,
    read_only: Mapping,
    /// Nothing lies behind it.
    holed: Mapping,
    memfd: OwnedFd,
    memfd_read_only: OwnedFd,
    sealed: OwnedFd,
    eventfd: Counter,
}

/// A page with nothing behind it; several scenes may be there at once.
fn alone() -> Outcome<Mapping> {
    const FIRST: usize = 2 << 32;
    for number in 0..16 {
        match Mapping::alone_at(FIRST + number * 16 * PAGE, PAGE) {
            Err(Errno::EEXIST) => {}
            other => return Ok(other?),
        }
    }
    fail!("too many scenes at once");
}

impl Grounds {
    fn new() -> Outcome<Self> {
        let read_only = Mapping::anonymous(PAGE)?;
        read_only.protect(0..PAGE, RO)?;
        let memfd = kinds::memfd(false, PAGE)?;
        let again = format!("/proc/self/fd/{}", memfd.as_raw_fd());
        let sealed = kinds::memfd(false, PAGE)?;
        rustix::fs::fcntl_add_seals(&sealed, SealFlags::WRITE)?;
        Ok(Self {
            good: Mapping::anonymous(PAGE)?,
            read_only,
            holed: alone()?,
            memfd,
            memfd_read_only: File::open(again)?.into(),
            sealed,
            eventfd: Counter::new()?,
        })
    }

    fn targets(&self, device: &Device, other: &Device) -> Outcome<Targets> {
        let read_only = self.read_only.address();
        let source = device.register(read_only, PAGE, sys::USERDMA_REGISTER_SOURCE)?;
        Ok(Targets {
            read_only: wide(read_only),
            hole: wide(self.holed.address() + PAGE),
            memfd: self.memfd.as_raw_fd(),
            memfd_read_only: self.memfd_read_only.as_raw_fd(),
            sealed: self.sealed.as_raw_fd(),
            no_memfd: other.as_fd().as_raw_fd(),
            source: source.handle,
            eventfd: self.eventfd.number(),
            own: device.as_fd().as_raw_fd(),
        })
    }
}

/// An open file with a buffer, and all that a valid call needs.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) device: Device,
    /// A buffer of two pages.
    pub(crate) buffer: u32,
    /// Another open file and its buffers; handles of its that ours does not
    /// have.
    other: Device,
    foreign: u32,
    grounds: Grounds,
    targets: Targets,
    pub(crate) info: sys::userdma_info,
}

impl Scene {
    /// Opens the card twice.
    pub(crate) fn new(card: &Card, access: Access) -> Outcome<Self> {
        let flags = match access {
            Access::ReadWrite => libc::O_RDWR,
            Access::ReadOnly => libc::O_RDONLY,
            Access::WriteOnly => libc::O_WRONLY,
        };
        let device = Device::open_with(&card.path, flags)?;
        let info = device.info()?;
        let buffer = device.alloc(COHERENT, 2 * PAGE)?.handle;
        let other = Device::open(&card.path)?;
        let grounds = Grounds::new()?;
        let targets = grounds.targets(&device, &other)?;
        // The first handles of a file may be the same numbers: take one that ours does not have.
        let mut foreign = other.alloc(COHERENT, PAGE)?.handle;
        while device.buffer_info(foreign).is_ok() {
            foreign = other.alloc(COHERENT, PAGE)?.handle;
        }
        Ok(Self {
            device,
            buffer,
            other,
            foreign,
            grounds,
            targets,
            info,
        })
    }

    /// A call that succeeds.
    pub(crate) fn valid(&self, command: Command) -> Outcome<Call> {
        let mut call = Call {
            command,
            number: command.number(),
            bytes: vec![0; command.size()],
            place: Place::Good,
            array: Vec::new(),
            array_place: Place::Good,
            foreign: self.foreign,
            victim: None,
            targets: self.targets,
            info: self.info,
        };
        for (offset, length) in outputs(command) {
            call.bytes[offset..offset + length].fill(BEFORE);
        }
        call.resize(command.size(), 0);
        match command {
            Command::Info => {}
            Command::BufAlloc => {
                call.set_u32(offset_of!(sys::userdma_buf_alloc, kind), COHERENT);
                call.set_u64(offset_of!(sys::userdma_buf_alloc, length), wide(PAGE));
            }
            Command::BufInfo => {
                call.set_u32(offset_of!(sys::userdma_buf_info, handle), self.buffer);
            }
            Command::BufFree => {
                let victim = self.device.alloc(COHERENT, PAGE)?;
                call.victim = Some(victim.handle);
                call.set_u32(offset_of!(sys::userdma_buf_free, handle), victim.handle);
            }
            Command::Submit => {
                call.array = to_card(self.buffer, 0, 64, 0).as_bytes().to_vec();
                call.set_u32(offset_of!(sys::userdma_submit, entry_size), 64);
                call.set_u32(offset_of!(sys::userdma_submit, count), 1);
            }
            Command::Wait => {
                call.array = vec![BEFORE; 2 * size_of::<sys::userdma_completion>()];
                call.set_u32(offset_of!(sys::userdma_wait, entry_size), 64);
                call.set_u32(offset_of!(sys::userdma_wait, max), 2);
            }
            // Nothing is queued that could have it.
            Command::Cancel => {
                call.set_u64(offset_of!(sys::userdma_cancel, user_data), 0x5eed);
            }
            Command::Eventfd => {
                let fd = u32::try_from(self.targets.eventfd)?;
                call.set_u32(offset_of!(sys::userdma_eventfd, fd), fd);
            }
            Command::BufRegister => {
                let address = wide(self.grounds.good.address() + 100);
                call.set_u64(offset_of!(sys::userdma_buf_register, address), address);
                call.set_u64(offset_of!(sys::userdma_buf_register, length), 200);
            }
            Command::BufSync => {
                call.set_u32(4, sys::USERDMA_SYNC_FOR_DEVICE | sys::USERDMA_SYNC_FOR_CPU);
                call.set_u32(offset_of!(sys::userdma_buf_sync, handle), self.buffer);
                call.set_u64(offset_of!(sys::userdma_buf_sync, length), 64);
            }
        }
        Ok(call)
    }

    /// Bytes that both files hold and this process has locked, to see that
    /// nothing was left behind.
    pub(crate) fn held(&self) -> Outcome<u64> {
        let used = self.device.info()?.out_used_file + self.other.info()?.out_used_file;
        Ok(used + account::locked()?)
    }

    /// Looks at what a successful call gave and takes it back.
    pub(crate) fn undo(&self, call: &Call, bytes: &[u8]) -> Outcome {
        let field = |offset: usize| {
            let mut value = [0; 4];
            value.copy_from_slice(&bytes[offset..offset + 4]);
            u32::from_ne_bytes(value)
        };
        match call.command {
            Command::Info => {
                let version = field(offset_of!(sys::userdma_info, out_abi_version));
                check!(version >= sys::USERDMA_ABI_VERSION);
            }
            Command::BufAlloc => {
                let handle = field(offset_of!(sys::userdma_buf_alloc, out_handle));
                check!(handle != 0);
                self.device.free(handle)?;
            }
            Command::BufInfo => {
                let kind = field(offset_of!(sys::userdma_buf_info, out_kind));
                check_eq!(kind, sys::USERDMA_BUF_COHERENT);
            }
            Command::BufFree => {
                let victim = call.victim.unwrap_or_default();
                check_err!(self.device.buffer_info(victim), ENOENT);
                check_err!(self.device.free(victim), ENOENT);
            }
            Command::Submit => {
                let accepted = field(offset_of!(sys::userdma_submit, out_count));
                check_eq!(accepted, 1);
                check_eq!(self.device.collect(1)?[0].result, 0);
            }
            Command::Wait => {
                check_eq!(field(offset_of!(sys::userdma_wait, out_count)), 0);
            }
            Command::BufRegister => {
                let handle = field(offset_of!(sys::userdma_buf_register, out_handle));
                check_eq!(
                    self.device.buffer_info(handle)?.out_kind,
                    sys::USERDMA_BUF_USER
                );
                self.device.free(handle)?;
            }
            Command::BufSync => {}
            Command::Cancel => {
                check_eq!(field(offset_of!(sys::userdma_cancel, out_count)), 0);
            }
            Command::Eventfd => {
                let flags = field(4);
                let vector = field(offset_of!(sys::userdma_eventfd, vector));
                self.device.tell(-1, (flags != 0).then_some(vector))?;
            }
        }
        Ok(())
    }
}

/// Where a structure's output fields are: (offset, length).
pub(crate) fn outputs(command: Command) -> Vec<(usize, usize)> {
    let span = |from: usize| vec![(from, command.size() - from)];
    match command {
        Command::Info => span(offset_of!(sys::userdma_info, out_abi_version)),
        Command::BufAlloc => span(offset_of!(sys::userdma_buf_alloc, out_handle)),
        Command::BufInfo => span(offset_of!(sys::userdma_buf_info, out_kind)),
        Command::BufFree => Vec::new(),
        Command::Submit => vec![(offset_of!(sys::userdma_submit, out_count), 4)],
        Command::Wait => vec![(offset_of!(sys::userdma_wait, out_count), 4)],
        Command::BufRegister => span(offset_of!(sys::userdma_buf_register, out_handle)),
        Command::BufSync | Command::Eventfd => Vec::new(),
        Command::Cancel => vec![(offset_of!(sys::userdma_cancel, out_count), 4)],
    }
}

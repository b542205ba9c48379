// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One ioctl as bytes and places, so that anything about it can be wrong.

use std::mem::offset_of;

use userdma::sys;

use super::scene::Targets;
use crate::device::Device;
use crate::memory::{Mapping, PAGE, RO};
use crate::outcome::{all_bytes, Outcome};
use crate::raw::{self, wide, Sys};

/// The commands of the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Command {
    Info,
    BufAlloc,
    BufInfo,
    BufFree,
    Submit,
    Wait,
    Cancel,
    BufRegister,
    BufSync,
    Eventfd,
}

impl Command {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [Self; 10] = [
        Self::Info,
        Self::BufAlloc,
        Self::BufInfo,
        Self::BufFree,
        Self::Submit,
        Self::Wait,
        Self::Cancel,
        Self::BufRegister,
        Self::BufSync,
        Self::Eventfd,
    ];

    /// As in the header, without the prefix.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::BufAlloc => "BUF_ALLOC",
            Self::BufInfo => "BUF_INFO",
            Self::BufFree => "BUF_FREE",
            Self::Submit => "SUBMIT",
            Self::Wait => "WAIT",
            Self::Cancel => "CANCEL",
            Self::BufRegister => "BUF_REGISTER",
            Self::BufSync => "BUF_SYNC",
            Self::Eventfd => "EVENTFD",
        }
    }

    /// The number for ioctl().
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Info => sys::USERDMA_IOCTL_INFO,
            Self::BufAlloc => sys::USERDMA_IOCTL_BUF_ALLOC,
            Self::BufInfo => sys::USERDMA_IOCTL_BUF_INFO,
            Self::BufFree => sys::USERDMA_IOCTL_BUF_FREE,
            Self::Submit => sys::USERDMA_IOCTL_SUBMIT,
            Self::Wait => sys::USERDMA_IOCTL_WAIT,
            Self::Cancel => sys::USERDMA_IOCTL_CANCEL,
            Self::BufRegister => sys::USERDMA_IOCTL_BUF_REGISTER,
            Self::BufSync => sys::USERDMA_IOCTL_BUF_SYNC,
            Self::Eventfd => sys::USERDMA_IOCTL_EVENTFD,
        }
    }

    /// The size that its structure had at first: the least that is accepted.
    pub(crate) fn first_size(self) -> usize {
        match self {
            Self::Info => offset_of!(sys::userdma_info, out_direct_min),
            _ => self.size(),
        }
    }

    /// The size of its structure.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Info => size_of::<sys::userdma_info>(),
            Self::BufAlloc => size_of::<sys::userdma_buf_alloc>(),
            Self::BufInfo => size_of::<sys::userdma_buf_info>(),
            Self::BufFree => size_of::<sys::userdma_buf_free>(),
            Self::Submit => size_of::<sys::userdma_submit>(),
            Self::Wait => size_of::<sys::userdma_wait>(),
            Self::Cancel => size_of::<sys::userdma_cancel>(),
            Self::BufRegister => size_of::<sys::userdma_buf_register>(),
            Self::BufSync => size_of::<sys::userdma_buf_sync>(),
            Self::Eventfd => size_of::<sys::userdma_eventfd>(),
        }
    }

    /// Where its `handle` is, if it has one of its own.
    pub(crate) fn handle(self) -> Option<usize> {
        match self {
            Self::BufInfo => Some(offset_of!(sys::userdma_buf_info, handle)),
            Self::BufFree => Some(offset_of!(sys::userdma_buf_free, handle)),
            Self::BufSync => Some(offset_of!(sys::userdma_buf_sync, handle)),
            _ => None,
        }
    }

    /// Where the pointer to its array is.
    pub(crate) fn entries(self) -> Option<usize> {
        match self {
            Self::Submit => Some(offset_of!(sys::userdma_submit, entries)),
            Self::Wait => Some(offset_of!(sys::userdma_wait, entries)),
            _ => None,
        }
    }
}

/// How the file was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
    WriteOnly,
}

/// Where an argument or an array is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In ordinary memory.
    Good,
    /// At address 0.
    Null,
    /// In the kernel's half of the addresses.
    Kernel,
    /// Where nothing may be read.
    NoAccess,
    /// Where nothing may be written.
    ReadOnly,
    /// So that its second half is not mapped.
    Crossing,
}

/// An address of the kernel's half, on x86-64.
const KERNEL_ADDRESS: usize = 0xffff_8880_0010_0000;
/// What output fields hold before the call.
pub(super) const BEFORE: u8 = 0xa5;
/// Room for a structure of any size that is tried.
const ROOM: usize = 4 * PAGE;

/// One call that is about to be made.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) command: Command,
    pub(crate) number: u32,
    /// The structure, and more or less than it.
    pub(crate) bytes: Vec<u8>,
    pub(crate) place: Place,
    /// The array of SUBMIT or WAIT.
    pub(crate) array: Vec<u8>,
    pub(crate) array_place: Place,
    /// A handle that another open file has.
    pub(crate) foreign: u32,
    /// The buffer that BUF_FREE was meant for.
    pub(crate) victim: Option<u32>,
    /// What BUF_REGISTER and EVENTFD can be pointed at.
    pub(crate) targets: Targets,
    /// What the card told.
    pub(crate) info: sys::userdma_info,
}

/// What was left of a call.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) result: Sys<usize>,
    /// The structure afterwards, as long as it was given, if it can be read.
    pub(crate) bytes: Vec<u8>,
    /// The array afterwards.
    pub(crate) array: Vec<u8>,
}

impl Call {
    /// Whether the card has a capability.
    pub(crate) fn can(&self, capability: u32) -> bool {
        self.info.out_capabilities & u64::from(capability) != 0
    }

    /// Sets a 32-bit field.
    pub(crate) fn set_u32(&mut self, offset: usize, value: u32) {
        self.bytes[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    }

    /// Sets a 64-bit field.
    pub(crate) fn set_u64(&mut self, offset: usize, value: u64) {
        self.bytes[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
    }

    /// `size` as it is set.
    pub(crate) fn given(&self) -> usize {
        let mut size = [0; 4];
        size.copy_from_slice(&self.bytes[..4]);
        raw::size(u32::from_ne_bytes(size).into())
    }

    /// Sets `size`, and makes the structure as long with `tail` behind ours.
    pub(crate) fn resize(&mut self, size: usize, tail: u8) {
        self.bytes.resize(size.max(self.bytes.len()), tail);
        self.set_u32(0, u32::try_from(size).unwrap_or(u32::MAX));
    }

    /// Sets `entry_size`, and moves the array's entries apart.
    pub(crate) fn resize_entries(&mut self, size: usize, tail: u8) {
        let offset = match self.command {
            Command::Submit => offset_of!(sys::userdma_submit, entry_size),
            _ => offset_of!(sys::userdma_wait, entry_size),
        };
        self.set_u32(offset, u32::try_from(size).unwrap_or(u32::MAX));
        let old = size_of::<sys::userdma_transfer>();
        let stride = size.clamp(1, 2 * PAGE);
        let mut array = Vec::new();
        for entry in self.array.chunks(old) {
            let mut entry = entry.to_vec();
            entry.resize(stride, tail);
            array.extend(entry);
        }
        self.array = array;
    }

    /// Changes the array's first transfer.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut sys::userdma_transfer)) {
        use zerocopy::FromBytes as _;
        let bytes = &mut self.array[..size_of::<sys::userdma_transfer>()];
        // Of the right size, and any bytes are a transfer.
        if let Ok(transfer) = sys::userdma_transfer::mut_from_bytes(bytes) {
            change(transfer);
        }
    }

    /// Makes the call.
    pub(crate) fn make(&self, device: &Device) -> Outcome<Done> {
        let array = Placed::new(&self.array, self.array_place)?;
        let mut bytes = self.bytes.clone();
        if let Some(offset) = self.command.entries() {
            let address = wide(array.address).to_ne_bytes();
            bytes[offset..offset + 8].copy_from_slice(&address);
        }
        let argument = Placed::new(&bytes, self.place)?;
        // SAFETY: the address is in memory made for it, or in none of this program's.
        let result = unsafe { raw::ioctl(device, self.number, argument.address) };
        argument.check_spill()?;
        array.check_spill()?;
        let mut after = argument.after();
        // So that it can be compared with `bytes`.
        if let (Some(offset), false) = (self.command.entries(), after.is_empty()) {
            after[offset..offset + 8].copy_from_slice(&self.bytes[offset..offset + 8]);
        }
        Ok(Done {
            result,
            bytes: after,
            array: array.after(),
        })
    }
}

/// Bytes that lie where they are meant to.
#[derive(Debug)]
struct Placed {
    memory: Mapping,
    offset: usize,
    length: usize,
    address: usize,
    place: Place,
}

impl Placed {
    fn new(bytes: &[u8], place: Place) -> Outcome<Self> {
        let memory = Mapping::anonymous(ROOM)?;
        let offset = match place {
            Place::Crossing => PAGE - (bytes.len() / 2).min(PAGE),
            _ => 0,
        };
        // What lies behind the bytes shows an output that is too long.
        memory.fill(0..ROOM, BEFORE);
        memory.write(offset, bytes);
        match place {
            Place::Crossing => memory.unmap(PAGE..2 * PAGE)?,
            Place::ReadOnly => memory.protect(0..ROOM, RO)?,
            Place::NoAccess => memory.protect(0..ROOM, libc::PROT_NONE)?,
            Place::Good | Place::Null | Place::Kernel => {}
        }
        let address = match place {
            Place::Null => 0,
            Place::Kernel => KERNEL_ADDRESS,
            _ => memory.address() + offset,
        };
        Ok(Self {
            memory,
            offset,
            length: bytes.len(),
            address,
            place,
        })
    }

    /// Requires that nothing was written behind the bytes.
    fn check_spill(&self) -> Outcome {
        if self.place != Place::Good {
            return Ok(());
        }
        let end = self.offset + self.length;
        all_bytes(
            &self.memory.read(end, ROOM - end),
            BEFORE,
            "behind the argument",
        )
    }

    /// The bytes after the call; none where they cannot be read.
    fn after(&self) -> Vec<u8> {
        match self.place {
            Place::Good | Place::ReadOnly => self.memory.read(self.offset, self.length),
            _ => Vec::new(),
        }
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The rows of the table, each:
//!
//! ```text
//! "cause", commands => error, stage, part that is changed: how;
//! ```

use std::mem::offset_of;

use nix::errno::Errno;
use userdma::sys;

use super::super::call::Command::{
    self, BufAlloc, BufFree, BufInfo, BufRegister, BufSync, Cancel, Eventfd, Info, Submit, Wait,
};
use super::super::call::{Access, Call, Place};
use super::{Part, Row, Stage, Want};
use crate::memory::PAGE;
use crate::raw::wide;

const ALL: &[Command] = &Command::ALL;
const WITH_OUTPUT: &[Command] = &[Info, BufAlloc, BufInfo, Submit, Wait, Cancel, BufRegister];
const ARRAYS: &[Command] = &[Submit, Wait];
const HANDLES: &[Command] = &[BufInfo, BufFree, BufSync];
const RESERVED: &[Command] = &[BufFree, Submit, Cancel, BufRegister, BufSync];
const ALLOC: &[Command] = &[BufAlloc];
const SUBMIT: &[Command] = &[Submit];
const WAIT: &[Command] = &[Wait];

/// Direction bits that `_IOWR` would set.
const IOWR: u32 = 3 << 30;

/// Makes rows; one that needs a file opened in a special way says `as`.
macro_rules! rows {
    ($($cause:literal, $on:expr $(, as $access:ident)? =>
       $want:ident, $stage:ident, $part:ident: $apply:expr;)*) => {
        &[$(Row {
            cause: $cause,
            on: $on,
            want: rows!(@want $want),
            stage: Stage::$stage,
            part: Part::$part,
            access: rows!(@access $($access)?),
            apply: $apply,
        },)*]
    };
    (@want Ok) => { Want::Ok };
    (@want $errno:ident) => { Want::Error(Errno::$errno) };
    (@access) => { Access::ReadWrite };
    (@access $access:ident) => { Access::$access };
}

mod event;
mod register;

/// In the order of the documentation.
pub(super) const ALL_ROWS: &[&[Row]] = &[
    GENERAL,
    ARRAY,
    BUFFER,
    TRANSFER,
    WAITING,
    event::CANCELLING,
    register::REGISTRATION,
    register::SYNCING,
    event::TELLING,
];

const GENERAL: &[Row] = rows! {
    "nothing wrong", ALL => Ok, None, Number: |_| {};
    "direction bits in the number", ALL => ENOTTY, NoCommand, Number: |c| c.number |= IOWR;
    "size bits in the number", ALL => ENOTTY, NoCommand, Number: |c| {
        c.number |= u32::try_from(c.command.size()).unwrap_or(1) << 16;
    };
    "another type letter", ALL => ENOTTY, NoCommand, Number: |c| c.number ^= 0x0100;
    "argument NULL", ALL => EFAULT, BadPointer, Pointer: |c| c.place = Place::Null;
    "argument at a kernel address", ALL => EFAULT, BadPointer, Pointer: |c| c.place = Place::Kernel;
    "argument in PROT_NONE memory", ALL => EFAULT, BadPointer, Pointer: |c| {
        c.place = Place::NoAccess;
    };
    "argument runs into an unmapped page", ALL => EFAULT, None, Pointer: |c| {
        c.place = Place::Crossing;
    };
    "argument in read-only memory", WITH_OUTPUT => EFAULT, None, Pointer: |c| {
        c.place = Place::ReadOnly;
    };
    "argument in read-only memory", &[BufFree, BufSync, Eventfd] => Ok, None, Pointer: |c| {
        c.place = Place::ReadOnly;
    };
    "size 0", ALL => EINVAL, TooSmall, Size: |c| c.set_u32(0, 0);
    "size of two words", ALL => EINVAL, TooSmall, Size: |c| c.set_u32(0, 8);
    "size 1 below the first version's", ALL => EINVAL, TooSmall, Size: |c| {
        c.resize(c.command.first_size() - 1, 0);
    };
    "size of the first version", ALL => Ok, None, Size: |c| c.resize(c.command.first_size(), 0);
    "size 1 larger, tail zero", ALL => Ok, None, Size: |c| c.resize(c.command.size() + 1, 0);
    "size 1 larger, tail not zero", ALL => E2BIG, TooBig, Size: |c| {
        c.resize(c.command.size() + 1, 1);
    };
    "size 8 larger, tail zero", ALL => Ok, None, Size: |c| c.resize(c.command.size() + 8, 0);
    "size 8 larger, last byte not zero", ALL => E2BIG, TooBig, Size: |c| {
        c.resize(c.command.size() + 8, 0);
        if let Some(last) = c.bytes.last_mut() {
            *last = 0x80;
        }
    };
    "size of a page, tail zero", ALL => Ok, None, Size: |c| c.resize(PAGE, 0);
    "size above a page", ALL => E2BIG, TooBig, Size: |c| c.resize(PAGE + 1, 0);
    "size of all ones", ALL => E2BIG, TooBig, Size: |c| c.set_u32(0, u32::MAX);
    "unknown flag", ALL => EOPNOTSUPP, Unsupported, Flags: |c| c.set_u32(4, 1 << 31);
    "reserved not 0", RESERVED => EINVAL, BadValue, Reserved: |c| {
        let offset = match c.command {
            BufFree => offset_of!(sys::userdma_buf_free, reserved),
            Cancel => offset_of!(sys::userdma_cancel, reserved),
            BufRegister => offset_of!(sys::userdma_buf_register, reserved),
            BufSync => offset_of!(sys::userdma_buf_sync, reserved),
            _ => offset_of!(sys::userdma_submit, reserved),
        };
        c.set_u32(offset, 1);
    };
    "handle 0", HANDLES => ENOENT, NoHandle, Handle: |c| set_handle(c, 0);
    "handle that never was", HANDLES => ENOENT, NoHandle, Handle: |c| set_handle(c, 0xdead_beef);
    "handle of another open file", HANDLES => ENOENT, NoHandle, Handle: |c| {
        set_handle(c, c.foreign);
    };
};

fn set_handle(call: &mut Call, handle: u32) {
    if let Some(offset) = call.command.handle() {
        call.set_u32(offset, handle);
    }
}

const ARRAY: &[Row] = rows! {
    "entry_size 0", ARRAYS => EINVAL, EntriesTooSmall, EntrySize: |c| c.resize_entries(0, 0);
    "entry_size 1", ARRAYS => EINVAL, EntriesTooSmall, EntrySize: |c| c.resize_entries(1, 0);
    "entry_size 63", ARRAYS => EINVAL, EntriesTooSmall, EntrySize: |c| c.resize_entries(63, 0);
    "entry_size 65, tail zero", ARRAYS => Ok, None, EntrySize: |c| c.resize_entries(65, 0);
    "entry_size 72, tail zero", ARRAYS => Ok, None, EntrySize: |c| c.resize_entries(72, 0);
    "entry_size 72, tail not zero", SUBMIT => E2BIG, EntryTooBig, EntrySize: |c| {
        c.resize_entries(72, 1);
    };
    "entry_size 72, tail not zero", WAIT => Ok, None, EntrySize: |c| c.resize_entries(72, 1);
    "entry_size of a page, tail zero", ARRAYS => Ok, None, EntrySize: |c| c.resize_entries(PAGE, 0);
    "entry_size above a page", ARRAYS => E2BIG, EntriesTooBig, EntrySize: |c| {
        c.resize_entries(PAGE + 1, 0);
    };
    "entry_size of all ones", ARRAYS => E2BIG, EntriesTooBig, EntrySize: |c| {
        c.resize_entries(usize::MAX, 0);
    };
    "array at NULL", SUBMIT => EFAULT, EntryPointer, Array: |c| c.array_place = Place::Null;
    "array at a kernel address", SUBMIT => EFAULT, EntryPointer, Array: |c| {
        c.array_place = Place::Kernel;
    };
    "array in PROT_NONE memory", SUBMIT => EFAULT, EntryPointer, Array: |c| {
        c.array_place = Place::NoAccess;
    };
    "array in read-only memory", SUBMIT => Ok, None, Array: |c| c.array_place = Place::ReadOnly;
    "count 0", SUBMIT => EINVAL, BadValue, Values: |c| {
        c.set_u32(offset_of!(sys::userdma_submit, count), 0);
    };
};

/// Sets a 32-bit or a 64-bit field of BUF_ALLOC.
macro_rules! alloc {
    ($call:ident.$field:ident = $value:expr, u32) => {
        $call.set_u32(offset_of!(sys::userdma_buf_alloc, $field), $value)
    };
    ($call:ident.$field:ident = $value:expr) => {
        $call.set_u64(offset_of!(sys::userdma_buf_alloc, $field), $value)
    };
}

const BUFFER: &[Row] = rows! {
    "kind 0", ALLOC => EOPNOTSUPP, Unsupported, Values: |c| alloc!(c.kind = 0, u32);
    "unknown kind", ALLOC => EOPNOTSUPP, Unsupported, Values: |c| alloc!(c.kind = 77, u32);
    "flag of another kind of buffer", ALLOC => EOPNOTSUPP, Unsupported, Flags: |c| {
        c.set_u32(4, sys::USERDMA_ALLOC_NO_BOUNCE);
    };
    "length 0", ALLOC => EINVAL, BadValue, Values: |c| alloc!(c.length = 0);
    "length beyond every limit", ALLOC => EDQUOT, None, Values: |c| alloc!(c.length = 1 << 62);
    "length that wraps when rounded up", ALLOC => EDQUOT, None, Values: |c| {
        alloc!(c.length = u64::MAX);
    };
    "numa_node without its flag", ALLOC => EINVAL, BadValue, Reserved: |c| {
        alloc!(c.numa_node = 1, u32);
    };
    "numa_node that is not there", ALLOC => EINVAL, None, Flags: |c| {
        c.set_u32(4, sys::USERDMA_ALLOC_NODE);
        alloc!(c.kind = sys::USERDMA_BUF_HUGE, u32);
        alloc!(c.numa_node = 4000, u32);
    };
    "page_size of a coherent buffer", ALLOC => EINVAL, BadValue, Values: |c| {
        alloc!(c.page_size = 2 << 20);
    };
    "page_size that is none", ALLOC => EINVAL, None, Values: |c| {
        alloc!(c.kind = sys::USERDMA_BUF_HUGE, u32);
        alloc!(c.page_size = 12345);
    };
};

const TRANSFER: &[Row] = rows! {
    "operation 0", SUBMIT => EOPNOTSUPP, EntryUnsupported, EntryOp: |c| c.edit(|t| t.op = 0);
    "unknown operation", SUBMIT => EOPNOTSUPP, EntryUnsupported, EntryOp: |c| {
        c.edit(|t| t.op = 99);
    };
    "operation that the card lacks", SUBMIT => EOPNOTSUPP, EntryUnsupported, EntryOp: |c| {
        // A card that has them all lacks the one that there is not yet.
        let lacked = match c.can(sys::USERDMA_CAP_HOST_TO_HOST) {
            false => sys::USERDMA_OP_HOST_TO_HOST,
            true => sys::USERDMA_OP_HOST_TO_HOST + 1,
        };
        c.edit(|t| (t.op, t.buffer2) = (operation(lacked), t.buffer));
    };
    "unknown flag of a transfer", SUBMIT => EOPNOTSUPP, EntryUnsupported, EntryFlags: |c| {
        c.edit(|t| t.flags = 1 << 31);
    };
    "channel that is not there", SUBMIT => EINVAL, EntryBadValue, EntryChannel: |c| {
        let channels = u16::try_from(c.info.out_channels).unwrap_or(u16::MAX);
        c.edit(|t| t.channel = channels);
    };
    "reserved of a transfer not 0", SUBMIT => EINVAL, EntryBadValue, EntryReserved: |c| {
        c.edit(|t| t.reserved = 1 << 63);
    };
    "buffer2 where none is used", SUBMIT => EINVAL, EntryBadValue, EntryReserved: |c| {
        c.edit(|t| t.buffer2 = 1);
    };
    "length 0 of a transfer", SUBMIT => EINVAL, EntryBadValue, EntryRange: |c| {
        c.edit(|t| t.length = 0);
    };
    "to the card, the file opened read-only", SUBMIT, as ReadOnly =>
        EBADF, EntryPrivilege, EntryOp: |c| {
            c.edit(|t| t.op = operation(sys::USERDMA_OP_TO_CARD));
        };
    "from the card, the file opened write-only", SUBMIT, as WriteOnly =>
        EBADF, EntryPrivilege, EntryOp: |c| {
            c.edit(|t| t.op = operation(sys::USERDMA_OP_FROM_CARD));
        };
    "buffer 0", SUBMIT => ENOENT, EntryNoHandle, EntryHandle: |c| c.edit(|t| t.buffer = 0);
    "buffer that never was", SUBMIT => ENOENT, EntryNoHandle, EntryHandle: |c| {
        c.edit(|t| t.buffer = 0xdead_beef);
    };
    "buffer of another open file", SUBMIT => ENOENT, EntryNoHandle, EntryHandle: |c| {
        let foreign = c.foreign;
        c.edit(|t| t.buffer = foreign);
    };
    "from the card, the buffer a source only", SUBMIT => EACCES, EntrySource, EntryHandle: |c| {
        let source = c.targets.source;
        c.edit(|t| (t.op, t.buffer) = (operation(sys::USERDMA_OP_FROM_CARD), source));
    };
    "buffer_offset + length wraps", SUBMIT => EOVERFLOW, EntryRange, EntryRange: |c| {
        c.edit(|t| t.buffer_offset = u64::MAX - 63);
    };
    "card_offset + length wraps", SUBMIT => EOVERFLOW, EntryRange, EntryRange: |c| {
        c.edit(|t| t.card_offset = u64::MAX - 63);
    };
    "length of all ones behind offset 1", SUBMIT => EOVERFLOW, EntryRange, EntryRange: |c| {
        c.edit(|t| (t.buffer_offset, t.length) = (1, u64::MAX));
    };
    "1 byte beyond the buffer", SUBMIT => ERANGE, EntryRange, EntryRange: |c| {
        c.edit(|t| t.buffer_offset = wide(2 * PAGE - 63));
    };
    "1 byte beyond the card", SUBMIT => ERANGE, EntryRange, EntryRange: |c| {
        let end = c.info.out_card_size;
        c.edit(|t| t.card_offset = end - 63);
    };
    "far beyond the buffer", SUBMIT => ERANGE, EntryRange, EntryRange: |c| {
        c.edit(|t| t.buffer_offset = 1 << 62);
    };
};

fn operation(op: u32) -> u16 {
    u16::try_from(op).unwrap_or(0)
}

const WAITING: &[Row] = rows! {
    "max 0", WAIT => EINVAL, BadValue, Values: |c| {
        c.set_u32(offset_of!(sys::userdma_wait, max), 0);
    };
    "min above max", WAIT => EINVAL, BadValue, Values: |c| {
        c.set_u32(offset_of!(sys::userdma_wait, min), 3);
    };
    "min with nothing outstanding", WAIT => Ok, None, Values: |c| {
        c.set_u32(offset_of!(sys::userdma_wait, min), 2);
        c.set_u64(offset_of!(sys::userdma_wait, deadline_ns), u64::MAX);
    };
};

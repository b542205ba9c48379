// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The rows of BUF_REGISTER and BUF_SYNC.

use std::mem::offset_of;

use nix::errno::Errno;
use userdma::sys;

use super::super::super::call::Command::{self, BufRegister, BufSync};
use super::super::super::call::{Access, Call};
use super::super::{Part, Row, Stage, Want};
use crate::memory::PAGE;
use crate::raw::wide;

const REGISTER: &[Command] = &[BufRegister];
const SYNC: &[Command] = &[BufSync];
const BOTH: &[Command] = &[BufRegister, BufSync];

const SOURCE: u32 = sys::USERDMA_REGISTER_SOURCE;
const MEMFD: u32 = sys::USERDMA_REGISTER_MEMFD;

/// A page at `address`.
fn page(call: &mut Call, address: u64, flags: u32) {
    range(call, address, wide(PAGE));
    call.set_u32(4, flags);
}

/// A page of a memfd.
fn memfd(call: &mut Call, fd: i32, flags: u32) {
    page(call, 0, MEMFD | flags);
    let fd = u32::from_ne_bytes(fd.to_ne_bytes());
    call.set_u32(offset_of!(sys::userdma_buf_register, fd), fd);
}

/// Sets where and how much of either command.
fn range(call: &mut Call, begin: u64, length: u64) {
    let (begin_at, length_at) = match call.command {
        BufSync => (
            offset_of!(sys::userdma_buf_sync, offset),
            offset_of!(sys::userdma_buf_sync, length),
        ),
        _ => (
            offset_of!(sys::userdma_buf_register, address),
            offset_of!(sys::userdma_buf_register, length),
        ),
    };
    call.set_u64(begin_at, begin);
    call.set_u64(length_at, length);
}

pub(super) const REGISTRATION: &[Row] = rows! {
    "length 0 of memory", BOTH => EINVAL, BadValue, Range: |c| range(c, 0, 0);
    "fd without its flag", REGISTER => EINVAL, BadValue, Reserved: |c| {
        c.set_u32(offset_of!(sys::userdma_buf_register, fd), 1);
    };
    "address + length wraps", REGISTER => EOVERFLOW, None, Range: |c| {
        range(c, u64::MAX - 99, 100);
    };
    "length of all ones behind address 1", REGISTER => EOVERFLOW, None, Range: |c| {
        range(c, 1, u64::MAX);
    };
    "memory that is not mapped", REGISTER => EFAULT, None, Range: |c| page(c, c.targets.hole, 0);
    "memory that ends in a hole", REGISTER => EFAULT, None, Range: |c| {
        page(c, c.targets.hole - 1, 0);
    };
    "memory at NULL", REGISTER => EFAULT, None, Range: |c| page(c, 0, 0);
    "memory of the kernel's", REGISTER => EFAULT, None, Range: |c| page(c, 0xffff_8880 << 32, 0);
    "memory that is read-only", REGISTER => EFAULT, None, Range: |c| {
        page(c, c.targets.read_only, 0);
    };
    "memory that is read-only, as a source", REGISTER => Ok, None, Range: |c| {
        page(c, c.targets.read_only, SOURCE);
    };
    "memfd", REGISTER => Ok, None, Range: |c| memfd(c, c.targets.memfd, 0);
    "memfd -1", REGISTER => EBADF, None, Range: |c| memfd(c, -1, 0);
    "memfd that is not open", REGISTER => EBADF, None, Range: |c| memfd(c, 1_000_000, 0);
    "memfd that is another file", REGISTER => EINVAL, None, Range: |c| {
        memfd(c, c.targets.no_memfd, 0);
    };
    "memfd opened read-only", REGISTER => EBADF, None, Range: |c| {
        memfd(c, c.targets.memfd_read_only, 0);
    };
    "memfd opened read-only, as a source", REGISTER => Ok, None, Range: |c| {
        memfd(c, c.targets.memfd_read_only, SOURCE);
    };
    "memfd sealed against writing", REGISTER => EPERM, None, Range: |c| {
        memfd(c, c.targets.sealed, 0);
    };
    "memfd sealed against writing, as a source", REGISTER => Ok, None, Range: |c| {
        memfd(c, c.targets.sealed, SOURCE);
    };
    "1 byte beyond the memfd", REGISTER => ERANGE, None, Range: |c| {
        memfd(c, c.targets.memfd, 0);
        range(c, 1, wide(PAGE));
    };
    "far beyond the memfd", REGISTER => ERANGE, None, Range: |c| {
        memfd(c, c.targets.memfd, 0);
        range(c, 1 << 62, 1);
    };
    "offset in the memfd + length wraps", REGISTER => EOVERFLOW, None, Range: |c| {
        memfd(c, c.targets.memfd, 0);
        range(c, u64::MAX - 99, 100);
    };
};

pub(super) const SYNCING: &[Row] = rows! {
    "no flag", SYNC => EINVAL, BadValue, Flags: |c| c.set_u32(4, 0);
    "for the CPU, the buffer a source only", SYNC => EACCES, Source, Handle: |c| {
        c.set_u32(4, sys::USERDMA_SYNC_FOR_CPU);
        c.set_u32(offset_of!(sys::userdma_buf_sync, handle), c.targets.source);
    };
    "for the card, the buffer a source only", SYNC => Ok, None, Handle: |c| {
        c.set_u32(4, sys::USERDMA_SYNC_FOR_DEVICE);
        c.set_u32(offset_of!(sys::userdma_buf_sync, handle), c.targets.source);
    };
    "offset + length wraps", SYNC => EOVERFLOW, Range, Range: |c| range(c, u64::MAX - 63, 64);
    "1 byte beyond", SYNC => ERANGE, Range, Range: |c| range(c, wide(2 * PAGE - 63), 64);
    "far beyond", SYNC => ERANGE, Range, Range: |c| range(c, 1 << 62, 64);
};

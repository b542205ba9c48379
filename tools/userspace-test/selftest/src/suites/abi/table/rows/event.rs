// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The rows of CANCEL and EVENTFD.

use std::mem::offset_of;

use nix::errno::Errno;
use userdma::sys;

use super::super::super::call::Command::{self, Cancel, Eventfd};
use super::super::super::call::{Access, Call};
use super::super::{Part, Row, Stage, Want};

const CANCEL: &[Command] = &[Cancel];
const EVENTFD: &[Command] = &[Eventfd];

fn channel(call: &mut Call, channel: u32) {
    call.set_u32(offset_of!(sys::userdma_cancel, channel), channel);
}

/// All of channel 0.
fn all(call: &mut Call, user_data: u64) {
    call.set_u32(4, sys::USERDMA_CANCEL_ALL);
    call.set_u64(offset_of!(sys::userdma_cancel, user_data), user_data);
}

pub(super) const CANCELLING: &[Row] = rows! {
    "channel that is not there", CANCEL => EINVAL, BadValue, Values: |c| {
        channel(c, c.info.out_channels);
    };
    "channel of all ones", CANCEL => EINVAL, BadValue, Values: |c| channel(c, u32::MAX);
    "all, and user_data as well", CANCEL => EINVAL, BadValue, Flags: |c| all(c, 1);
    "all, with nothing queued", CANCEL => Ok, None, Flags: |c| all(c, 0);
};

fn fd(call: &mut Call, fd: i32) {
    let fd = u32::from_ne_bytes(fd.to_ne_bytes());
    call.set_u32(offset_of!(sys::userdma_eventfd, fd), fd);
}

/// The interrupts of a vector.
fn vector(call: &mut Call, vector: u32) {
    call.set_u32(4, sys::USERDMA_EVENTFD_VECTOR);
    call.set_u32(offset_of!(sys::userdma_eventfd, vector), vector);
}

pub(super) const TELLING: &[Row] = rows! {
    "vector", EVENTFD => Ok, None, Flags: |c| vector(c, 0);
    "vector without its flag", EVENTFD => EINVAL, BadValue, Reserved: |c| {
        c.set_u32(offset_of!(sys::userdma_eventfd, vector), 1);
    };
    "vector that is not there", EVENTFD => EINVAL, BadValue, Flags: |c| {
        vector(c, c.info.out_vectors);
    };
    "vector of all ones", EVENTFD => EINVAL, BadValue, Flags: |c| vector(c, u32::MAX);
    "fd -1", EVENTFD => Ok, None, Values: |c| fd(c, -1);
    "fd below -1", EVENTFD => EINVAL, BadValue, Values: |c| fd(c, -2);
    "fd that is not open", EVENTFD => EBADF, BadFile, Values: |c| fd(c, 1_000_000);
    "fd of the node itself", EVENTFD => EINVAL, None, Values: |c| fd(c, c.targets.own);
    "fd that is a memfd", EVENTFD => EINVAL, None, Values: |c| fd(c, c.targets.memfd);
};

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Commands that are refused.

use std::os::fd::{AsFd as _, AsRawFd as _};

use io_uring::{opcode, types, IoUring};
use userdma::sys;
use zerocopy::IntoBytes as _;

use super::{withdrawal, Ring};
use crate::device::{to_card, COHERENT};
use crate::memory::PAGE;
use crate::outcome::Outcome;
use crate::registry::Context;

pub(super) fn refused(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let mut ring = Ring::new(&device)?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let good = to_card(buffer.handle, 0, 8, 0);
    type Change = fn(&mut sys::userdma_transfer);
    let wrong: [(Change, i32); 8] = [
        (|t| t.length = 0, libc::EINVAL),
        (|t| t.buffer = 0x7fff_ffff, libc::ENOENT),
        (|t| t.channel = 99, libc::EINVAL),
        (|t| t.op = 77, libc::EOPNOTSUPP),
        (|t| t.flags = 1 << 31, libc::EOPNOTSUPP),
        (|t| t.reserved = 1, libc::EINVAL),
        (|t| t.buffer_offset = u64::MAX - 6, libc::EOVERFLOW),
        (|t| t.card_offset = 1 << 40, libc::ERANGE),
    ];
    for (change, errno) in wrong {
        let mut transfer = good;
        change(&mut transfer);
        let result = ring.run(sys::USERDMA_URING_TRANSFER, &transfer)?;
        check_eq!(result, -errno, "{transfer:?}");
    }
    check_eq!(ring.run(99, &good)?, -libc::EOPNOTSUPP);
    // Behind the structure.
    let mut long = [0; 80];
    long[..64].copy_from_slice(good.as_bytes());
    long[79] = 1;
    check_eq!(ring.run(sys::USERDMA_URING_TRANSFER, &long)?, -libc::EINVAL);
    let mut cancel = withdrawal(1);
    cancel.channel = 99;
    check_eq!(ring.run(sys::USERDMA_URING_CANCEL, &cancel)?, -libc::EINVAL);
    cancel = withdrawal(1);
    check_eq!(ring.run(sys::USERDMA_URING_CANCEL, &cancel)?, 0);
    // Nothing of all that is left.
    check_eq!(ring.run(sys::USERDMA_URING_TRANSFER, &good)?, 8);
    device.check_idle()
}

pub(super) fn small(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let mut ring = match IoUring::new(4) {
        Ok(ring) => ring,
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            skip!("needs a kernel with io_uring")
        }
        Err(error) => return Err(error.into()),
    };
    let fd = types::Fd(device.as_fd().as_raw_fd());
    let entry = opcode::UringCmd16::new(fd, sys::USERDMA_URING_TRANSFER).build();
    // SAFETY: the entry names no memory.
    unsafe { ring.submission().push(&entry) }?;
    ring.submit_and_wait(1)?;
    let result = ring.completion().next().map(|end| end.result());
    check_eq!(result, Some(-libc::EINVAL));
    Ok(())
}

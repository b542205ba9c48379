// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Files that are no eventfds.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _};

use rustix::event::epoll::{self, CreateFlags};
use rustix::pipe::{pipe_with, PipeFlags};

use super::send;
use crate::eventfd::Counter;
use crate::outcome::Outcome;
use crate::registry::Context;

/// After each refusal the one before is still told, and nothing was taken.
pub(super) fn itself(context: &mut Context) -> Outcome {
    let (device, other) = (context.open()?, context.open()?);
    let vectors = device.info()?.out_vectors;
    let (records, interrupts) = (Counter::new()?, Counter::new()?);
    device.tell(records.number(), None)?;
    device.tell(interrupts.number(), Some(0))?;
    let (null, set) = (
        File::open("/dev/null")?,
        epoll::create(CreateFlags::CLOEXEC)?,
    );
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    for (what, fd) in [
        ("itself", device.as_fd()),
        ("the same card", other.as_fd()),
        ("/dev/null", null.as_fd()),
        ("an epoll set", set.as_fd()),
        ("a pipe", reader.as_fd()),
        ("a pipe", writer.as_fd()),
    ] {
        for vector in [None, Some(0)] {
            let result = device.tell(fd.as_raw_fd(), vector);
            check_err!(result, EINVAL, "{what}, {vector:?}");
        }
    }
    // A number that was good just now is none any more.
    let gone = Counter::new()?.number();
    for (fd, vector) in [(gone, None), (gone, Some(0)), (i32::MAX, None)] {
        check_err!(device.tell(fd, vector), EBADF, "{fd}, {vector:?}");
    }
    for fd in [-2, i32::MIN] {
        check_err!(device.tell(fd, None), EINVAL, "{fd}");
        check_err!(device.tell(fd, Some(0)), EINVAL, "{fd}");
    }
    for vector in [vectors, 32, 1 << 31, u32::MAX] {
        check_err!(
            device.tell(interrupts.number(), Some(vector)),
            EINVAL,
            "{vector}"
        );
        check_err!(device.tell(-1, Some(vector)), EINVAL, "{vector}");
    }
    send(&device, 0, 2)?;
    device.collect(2)?;
    check_eq!(records.take()?, 2, "the one before");
    crate::poll::until("the vector's", || Ok(interrupts.take()? > 0))
}

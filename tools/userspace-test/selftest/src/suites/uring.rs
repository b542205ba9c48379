// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Commands of io_uring: transfers that complete on their ring.

mod data;
mod ends;
mod fixed;
mod refused;

use std::os::fd::{AsFd as _, AsRawFd as _};

use io_uring::{cqueue, opcode, squeue, types, IoUring};
use userdma::sys;
use zerocopy::{FromZeros as _, Immutable, IntoBytes};

use crate::device::Device;
use crate::outcome::Outcome;
use crate::raw::size;
use crate::registry::Test;

pub(super) use fixed::register;

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "uring.round_trip",
        "to the card and back, and how many bytes it was",
        data::round_trip,
    ),
    Test::new(
        "uring.order",
        "a batch by the number of a fixed file: each once, in order",
        data::order,
    )
    .seconds(120),
    Test::new(
        "uring.polled",
        "a kernel thread takes the entries: no system call to submit",
        data::polled,
    ),
    Test::new(
        "uring.apart",
        "WAIT tells of SUBMIT's transfers, the ring of its own",
        data::apart,
    ),
    Test::new(
        "uring.full",
        "no place free: EAGAIN with O_NONBLOCK, else the transfer waits",
        ends::full,
    )
    .seconds(120),
    Test::new(
        "uring.refused",
        "what is wrong with an entry",
        refused::refused,
    ),
    Test::new(
        "uring.small",
        "a ring whose entries are too small",
        refused::small,
    ),
    Test::new(
        "uring.crowd",
        "more commands than places, every fourth a barrier: none waits for ever",
        data::crowd,
    )
    .seconds(120),
    Test::new(
        "uring.fixed",
        "memory that is registered with the ring, of each kind",
        fixed::moved,
    )
    .seconds(120),
    Test::new(
        "uring.fixed_refused",
        "what is wrong with an entry that names the ring's memory",
        fixed::refused,
    ),
    Test::new(
        "uring.fixed_gone",
        "the ring lets go of the memory, and the program, while the card works on it",
        fixed::gone,
    )
    .seconds(120),
    Test::new(
        "uring.fixed_unbind",
        "the card goes while it works on the ring's memory",
        fixed::unbind,
    )
    .seconds(120),
    Test::new(
        "uring.cancel",
        "withdrawn by another command, and by CANCEL",
        ends::cancel,
    )
    .seconds(120),
    Test::new(
        "uring.closed",
        "the ring goes with transfers queued: nothing is left behind",
        ends::closed,
    )
    .seconds(120),
    Test::new(
        "uring.killed",
        "a process is killed with transfers queued",
        ends::killed,
    )
    .seconds(120),
    Test::new(
        "uring.unbind",
        "the card goes with transfers queued: each ends once",
        ends::unbind,
    )
    .seconds(120),
];

/// A ring with large entries and large completions.
pub(super) struct Ring {
    pub(super) ring: IoUring<squeue::Entry128, cqueue::Entry32>,
    /// The file's number, in the ring or in the process.
    file: File,
    /// Ends that came while another was waited for.
    early: Vec<End>,
}

#[derive(Clone, Copy)]
enum File {
    Own(types::Fd),
    Fixed(types::Fixed),
}

/// How a command has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) tag: u64,
    pub(super) result: i32,
    pub(super) bytes: u64,
}

impl Ring {
    /// Commands for a device, which the ring does not keep open while there are none.
    pub(super) fn new(device: &Device) -> Outcome<Self> {
        Self::with(device, IoUring::builder())
    }

    fn with(
        device: &Device,
        builder: io_uring::Builder<squeue::Entry128, cqueue::Entry32>,
    ) -> Outcome<Self> {
        let ring = match builder.build(64) {
            Ok(ring) => ring,
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                skip!("needs a kernel with io_uring")
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            ring,
            file: File::Own(types::Fd(device.as_fd().as_raw_fd())),
            early: Vec::new(),
        })
    }

    /// Names the device by its place in the ring's own table from now on.
    pub(super) fn fix(&mut self, device: &Device) -> Outcome {
        let files = [device.as_fd().as_raw_fd()];
        self.ring.submitter().register_files(&files)?;
        self.file = File::Fixed(types::Fixed(0));
        Ok(())
    }

    /// Puts down a command.
    fn push(&mut self, op: u32, payload: &[u8], tag: u64) -> Outcome {
        self.push_entry(op, payload, tag, None, squeue::Flags::empty())
    }

    /// The same with flags of its entry.
    fn push_with(&mut self, op: u32, payload: &[u8], tag: u64, flags: squeue::Flags) -> Outcome {
        self.push_entry(op, payload, tag, None, flags)
    }

    /// Puts down a command that may name memory of the ring.
    fn push_entry(
        &mut self,
        op: u32,
        payload: &[u8],
        tag: u64,
        memory: Option<u16>,
        flags: squeue::Flags,
    ) -> Outcome {
        let mut bytes = [0; 80];
        bytes[..payload.len()].copy_from_slice(payload);
        let entry = match self.file {
            File::Own(fd) => opcode::UringCmd80::new(fd, op),
            File::Fixed(fd) => opcode::UringCmd80::new(fd, op),
        };
        let entry = entry.cmd(bytes).buf_index(memory).build();
        let entry = entry.user_data(tag).flags(flags);
        // SAFETY: the driver reaches only buffers that it knows by handle, and memory that the ring has pinned.
        unsafe { self.ring.submission().push(&entry) }?;
        Ok(())
    }

    /// Puts down transfers, each with its own tag.
    pub(super) fn transfers(&mut self, transfers: &[sys::userdma_transfer]) -> Outcome {
        for transfer in transfers {
            let payload = transfer.as_bytes();
            self.push(sys::USERDMA_URING_TRANSFER, payload, transfer.user_data)?;
        }
        Ok(())
    }

    /// Submits what was put down, and takes the ends that are there, at least one.
    pub(super) fn take(&mut self) -> Outcome<Vec<End>> {
        self.ring.submit_and_wait(1)?;
        let ends = self.ring.completion().map(|end| End {
            tag: end.user_data(),
            result: end.result(),
            bytes: end.big_cqe()[0],
        });
        Ok(ends.collect())
    }

    /// Submits what was put down, and waits for `count` ends, and no more.
    pub(super) fn ends(&mut self, count: usize) -> Outcome<Vec<End>> {
        let mut ends = std::mem::take(&mut self.early);
        while ends.len() < count {
            ends.extend(self.take()?);
        }
        check_eq!(ends.len(), count, "{ends:?}");
        Ok(ends)
    }

    /// Runs one command; others may end meanwhile.
    fn run(&mut self, op: u32, payload: &(impl IntoBytes + Immutable)) -> Outcome<i32> {
        self.push(op, payload.as_bytes(), u64::MAX)?;
        loop {
            let mut own = None;
            for end in self.take()? {
                match end.tag {
                    u64::MAX => own = Some(end.result),
                    _ => self.early.push(end),
                }
            }
            if let Some(result) = own {
                return Ok(result);
            }
        }
    }
}

/// A payload of the command that withdraws.
fn withdrawal(tag: u64) -> sys::userdma_cancel {
    let mut cancel = sys::userdma_cancel::new_zeroed();
    cancel.size = sys::size_of::<sys::userdma_cancel>();
    cancel.user_data = tag;
    cancel
}

/// The most of the card's memory that a test here moves at once.
fn length(device: &Device) -> Outcome<usize> {
    Ok(size(device.info()?.out_max_transfer).min(crate::memory::PAGE))
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Calls that wait for memory of the program that does not come: whoever
//! unbinds does not wait for it, or any user could hold up an unplug.

use nix::errno::Errno;
use rustix::event::PollFlags;
use userdma::sys;
use zerocopy::FromZeros as _;

use super::{check_works, unbind};
use crate::account::Account;
use crate::device::{to_card, Buffer, Device, COHERENT};
use crate::memory::PAGE;
use crate::outcome::{Context as _, Outcome};
use crate::poll::{ready, LONG};
use crate::raw::{self, wide, Sys};
use crate::registry::Context;
use crate::stalled::Page;

/// A call that touches a page, and what it may give when that comes, all zero,
/// after the card has gone.
struct Case {
    what: &'static str,
    call: fn(&Device, &Buffer, usize) -> Sys<usize>,
    allowed: &'static [Sys<usize>],
}

/// An ioctl whose argument is the page.
fn command(device: &Device, command: u32, address: usize) -> Sys<usize> {
    // SAFETY: the page is for it.
    unsafe { raw::ioctl(device, command, address) }
}

/// A read or write whose memory is the page.
fn transfer(device: &Device, call: i64, address: usize, length: usize) -> Sys<usize> {
    // SAFETY: the page is for it.
    unsafe { raw::transfer(call, device, address, length, 0) }
}

/// SUBMIT of the page.
fn submit(device: &Device, address: usize) -> Sys<usize> {
    let mut submit = sys::userdma_submit::new_zeroed();
    submit.size = sys::size_of::<sys::userdma_submit>();
    submit.entries = wide(address);
    submit.entry_size = sys::size_of::<sys::userdma_transfer>();
    submit.count = 1;
    device.ioctl(sys::USERDMA_IOCTL_SUBMIT, &mut submit)?;
    Ok(raw::size(submit.out_count.into()))
}

/// WAIT into the page, with a record that waits.
fn wait(device: &Device, buffer: &Buffer, address: usize) -> Sys<usize> {
    device.submit(&[to_card(buffer.handle, 0, 8, 0)])?;
    // Asleep until the record is there, so that it is the page that is waited for.
    if ready(device, PollFlags::IN, LONG).is_err() {
        return Err(Errno::ETIME);
    }
    let mut wait = sys::userdma_wait::new_zeroed();
    wait.size = sys::size_of::<sys::userdma_wait>();
    wait.entries = wide(address);
    wait.entry_size = sys::size_of::<sys::userdma_completion>();
    (wait.min, wait.max) = (1, 1);
    device.ioctl(sys::USERDMA_IOCTL_WAIT, &mut wait)?;
    Ok(raw::size(wait.out_count.into()))
}

const CASES: &[Case] = &[
    Case {
        what: "the argument of INFO",
        call: |device, _, page| command(device, sys::USERDMA_IOCTL_INFO, page),
        // Of size 0, if it is looked at.
        allowed: &[Err(Errno::ENODEV), Err(Errno::EINVAL)],
    },
    Case {
        what: "the argument of BUF_ALLOC",
        call: |device, _, page| command(device, sys::USERDMA_IOCTL_BUF_ALLOC, page),
        allowed: &[Err(Errno::ENODEV), Err(Errno::EINVAL)],
    },
    Case {
        what: "the argument of WAIT",
        call: |device, _, page| command(device, sys::USERDMA_IOCTL_WAIT, page),
        allowed: &[Err(Errno::ENODEV), Err(Errno::EINVAL)],
    },
    Case {
        what: "the argument of BUF_REGISTER",
        call: |device, _, page| command(device, sys::USERDMA_IOCTL_BUF_REGISTER, page),
        allowed: &[Err(Errno::ENODEV), Err(Errno::EINVAL)],
    },
    Case {
        what: "the argument of BUF_SYNC",
        call: |device, _, page| command(device, sys::USERDMA_IOCTL_BUF_SYNC, page),
        allowed: &[Err(Errno::ENODEV), Err(Errno::EINVAL)],
    },
    Case {
        what: "the memory of BUF_REGISTER",
        call: |device, _, page| device.register(page, PAGE, 0).map(|_| 0),
        allowed: &[Err(Errno::ENODEV)],
    },
    Case {
        what: "the entries of SUBMIT",
        call: |device, _, page| submit(device, page),
        // Operation 0.
        allowed: &[Err(Errno::ENODEV), Err(Errno::EOPNOTSUPP)],
    },
    Case {
        what: "the records of WAIT",
        call: wait,
        allowed: &[Ok(1)],
    },
    Case {
        what: "the memory of read",
        call: |device, _, page| transfer(device, libc::SYS_pread64, page, 64),
        allowed: &[Ok(64), Err(Errno::ENODEV)],
    },
    Case {
        what: "the memory of write",
        call: |device, _, page| transfer(device, libc::SYS_pwrite64, page, 64),
        allowed: &[Err(Errno::ENODEV)],
    },
    // Large enough to be pinned, where any request of this card is.
    Case {
        what: "the memory of a large read",
        call: |device, _, page| transfer(device, libc::SYS_pread64, page, PAGE),
        allowed: &[Ok(PAGE), Err(Errno::ENODEV)],
    },
    Case {
        what: "the memory of a large write",
        call: |device, _, page| transfer(device, libc::SYS_pwrite64, page, PAGE),
        allowed: &[Err(Errno::ENODEV)],
    },
];

pub(super) fn user_memory(context: &mut Context) -> Outcome {
    let mut card = context.card().clone();
    for case in CASES {
        let page = Page::new()?;
        let before = Account::now()?;
        let device = Device::open(&card.path)?;
        let buffer = device.alloc(COHERENT, PAGE)?;
        std::thread::scope(|scope| -> Outcome {
            let stuck = scope.spawn(|| (case.call)(&device, &buffer, page.address()));
            let outcome = page.wait().and_then(|()| unbind(&card));
            // Whatever came of it, let the other thread go.
            page.fill()?;
            let Ok(result) = stuck.join() else {
                fail!("the other thread panicked");
            };
            outcome?;
            check!(case.allowed.contains(&result), "{result:?}");
            Ok(())
        })
        .context(|| case.what.to_owned())?;
        before.settle().context(|| case.what.to_owned())?;
        drop(device);
        card = card.bind()?;
        check_works(&card)?;
    }
    Ok(())
}

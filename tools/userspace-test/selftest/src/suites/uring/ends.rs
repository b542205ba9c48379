// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How commands end that nobody waits for to the end.

use std::time::Instant;

use io_uring::squeue;
use rustix::event::PollFlags;
use rustix::fs::OFlags;
use userdma::sys;
use zerocopy::IntoBytes as _;

use super::{withdrawal, Ring};
use crate::account::Account;
use crate::child::{spawn, Gate};
use crate::device::{tagged, to_card, Device, COHERENT};
use crate::memory::PAGE;
use crate::outcome::Outcome;
use crate::poll::{ready, LONG};
use crate::queue::{until_in_time, Front};
use crate::raw::size;
use crate::registry::Context;
use crate::suites::unbind::{check_quick, check_works};

/// What is put down behind a front, so that it is queued for a while.
fn queued(device: &Device, ring: &mut Ring, count: u64) -> Outcome<Front> {
    let front = Front::new(device, 0)?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    ring.transfers(&front.transfers)?;
    for tag in 0..count {
        ring.transfers(&[tagged(to_card(buffer.handle, 0, 8, 0), tag)])?;
    }
    ring.ring.submit()?;
    // The transfers keep it.
    device.free(buffer.handle)?;
    Ok(front)
}

pub(super) fn cancel(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let mut ring = Ring::new(&device)?;
    until_in_time(|| {
        let front = queued(&device, &mut ring, 4)?;
        let by_ring = ring.run(sys::USERDMA_URING_CANCEL, &withdrawal(1))?;
        let by_ioctl = device.cancel(0, 2)?;
        let all = front.transfers.len() + 4;
        let ends = ring.ends(all)?;
        for tag in 0..4 {
            let own: Vec<_> = ends.iter().filter(|end| end.tag == tag).collect();
            check_eq!(own.len(), 1, "{ends:?}");
            let withdrawn = match tag {
                1 => by_ring == 1,
                2 => by_ioctl == 1,
                _ => false,
            };
            let want = if withdrawn { -libc::ECANCELED } else { 8 };
            check_eq!(own[0].result, want, "transfer {tag}");
        }
        device.check_idle()?;
        Ok(by_ring == 1 && by_ioctl == 1)
    })
}

/// All places are taken by transfers whose records nobody has collected.
pub(super) fn full(context: &mut Context) -> Outcome {
    let path = context.card().path.clone();
    let device = Device::open_with(&path, libc::O_RDWR | libc::O_NONBLOCK)?;
    let mut ring = Ring::new(&device)?;
    let depth = size(device.info()?.out_depth.into());
    let one = to_card(device.alloc(COHERENT, PAGE)?.handle, 0, 8, 0);
    check_eq!(device.submit(&vec![one; depth])?, depth);
    device.cancel_all(0)?;
    // At once, and when a thread of io_uring's does it.
    for flags in [squeue::Flags::empty(), squeue::Flags::ASYNC] {
        let op = sys::USERDMA_URING_TRANSFER;
        ring.push_with(op, one.as_bytes(), 1, flags)?;
        let end = ring.ends(1)?[0];
        check_eq!((end.result, end.bytes), (-libc::EAGAIN, 0), "{flags:?}");
    }
    // What is wrong with an entry is told first.
    let bad = sys::userdma_transfer { length: 0, ..one };
    let result = ring.run(sys::USERDMA_URING_TRANSFER, &bad)?;
    check_eq!(result, -libc::EINVAL);
    // WAIT makes room, and the end of a ring's transfer does.
    collect_one(&device)?;
    for _ in 0..2 {
        check_eq!(ring.run(sys::USERDMA_URING_TRANSFER, &one)?, 8);
    }
    check_eq!(device.submit(&[one])?, 1);
    let result = ring.run(sys::USERDMA_URING_TRANSFER, &one)?;
    check_eq!(result, -libc::EAGAIN);
    // Without the flag it waits for the next.
    rustix::fs::fcntl_setfl(&device, OFlags::RDWR)?;
    ring.transfers(&[tagged(one, 7)])?;
    ring.ring.submit()?;
    check_eq!(ring.ring.completion().count(), 0, "it has not waited");
    collect_one(&device)?;
    let end = ring.ends(1)?[0];
    check_eq!((end.tag, end.result), (7, 8));
    device.collect(depth - 1)?;
    device.check_idle()
}

fn collect_one(device: &Device) -> Outcome {
    check_eq!(ready(device, PollFlags::IN, LONG)?, PollFlags::IN);
    check_eq!(device.wait(1, 1, 0)?.len(), 1);
    Ok(())
}

pub(super) fn closed(context: &mut Context) -> Outcome {
    let before = Account::now()?;
    for _ in 0..context.times(3) {
        let device = context.open()?;
        let mut ring = Ring::new(&device)?;
        queued(&device, &mut ring, 8)?;
        // The file first, then the ring, and the other way round.
        if context.between(0, 1) == 0 {
            drop(device);
            drop(ring);
        } else {
            drop(ring);
            drop(device);
        }
    }
    check_works(context.card())?;
    before.settle()
}

pub(super) fn killed(context: &mut Context) -> Outcome {
    let before = Account::now()?;
    for _ in 0..context.times(3) {
        let ready = Gate::new()?;
        let path = context.card().path.clone();
        let child = spawn(|| {
            let device = Device::open(&path)?;
            let mut ring = Ring::new(&device)?;
            queued(&device, &mut ring, 8)?;
            ready.open()?;
            loop {
                std::thread::park();
            }
        })?;
        ready.pass()?;
        child.kill()?;
    }
    check_works(context.card())?;
    before.settle()
}

pub(super) fn unbind(context: &mut Context) -> Outcome {
    let mut card = context.card().clone();
    for _ in 0..context.times(3) {
        let device = Device::open(&card.path)?;
        let mut ring = Ring::new(&device)?;
        let front = queued(&device, &mut ring, 8)?;
        let begin = Instant::now();
        card.unbind()?;
        check_quick(begin, 0)?;
        for end in ring.ends(front.transfers.len() + 8)? {
            let well = end.result > 0 || end.result == -libc::ENODEV;
            check!(well, "{end:?}");
        }
        let late = ring.run(sys::USERDMA_URING_CANCEL, &withdrawal(0))?;
        check_eq!(late, -libc::ENODEV);
        card = card.bind()?;
        check_works(&card)?;
    }
    Ok(())
}

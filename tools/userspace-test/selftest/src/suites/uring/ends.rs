// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How commands end that nobody waits for to the end.

use std::time::Instant;

use userdma::sys;

use super::{withdrawal, Ring};
use crate::account::Account;
use crate::child::{spawn, Gate};
use crate::device::{tagged, to_card, Device, COHERENT};
use crate::memory::PAGE;
use crate::outcome::Outcome;
use crate::queue::{until_in_time, Front};
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

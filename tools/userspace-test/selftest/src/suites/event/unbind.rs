// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Eventfds of a card that goes.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;

use nix::errno::Errno;

use crate::child::sleeps_in;
use crate::device::Device;
use crate::eventfd::Counter;
use crate::guest::Card;
use crate::outcome::Outcome;
use crate::poll::until;
use crate::queue::{until_in_time, Front};
use crate::raw::{size, wide};
use crate::registry::Context;
use crate::suites::unbind::{check_quick, check_works};

/// Takes the card away while a thread sleeps on the counter, which is to come to
/// `all`; what it has come to.
fn away(card: &Card, counter: &Counter, all: u64) -> Outcome<u64> {
    let thread = AtomicI32::new(0);
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| -> Outcome<u64> {
            thread.store(nix::unistd::gettid().as_raw(), Ordering::Release);
            let mut told = 0;
            while told < all {
                told += counter.take()?;
            }
            Ok(told)
        });
        let unbind = || -> Outcome {
            let number = || thread.load(Ordering::Acquire);
            until("the thread's number", || Ok(number() != 0))?;
            let own = nix::unistd::getpid().as_raw();
            sleeps_in(own, number(), &[libc::SYS_read])?;
            let begin = Instant::now();
            card.unbind()?;
            check_quick(begin, 0)
        };
        let unbound = unbind();
        let woken = until("all records counted", || Ok(sleeper.is_finished()));
        // Whatever was found, let the thread go.
        if woken.is_err() {
            counter.add(all)?;
        }
        let told = sleeper.join();
        unbound?;
        woken?;
        match told {
            Ok(told) => told,
            Err(_) => fail!("the thread panicked"),
        }
    })
}

/// Collects the records of a card that has gone: how many ended well, and how many
/// had no card.
fn collect(device: &Device) -> Outcome<(usize, usize)> {
    let (mut ended, mut gone) = (0, 0);
    loop {
        match device.wait(1, 7, 0) {
            Ok(records) if records.is_empty() => fail!("success and no record"),
            Ok(records) => {
                for record in records {
                    match record.result {
                        0 => ended += 1,
                        error => {
                            check_eq!(error, -libc::ENODEV, "{record:?}");
                            gone += 1;
                        }
                    }
                }
            }
            Err(Errno::ENODEV) => return Ok((ended, gone)),
            Err(error) => fail!("{error:?}"),
        }
    }
}

/// Each record is counted, those of transfers that never ran included; who sleeps
/// on the counter wakes up for the last of them.
pub(super) fn unbind(context: &mut Context) -> Outcome {
    let mut card = context.card().clone();
    for _ in 0..context.times(3) {
        until_in_time(|| {
            let device = Device::open(&card.path)?;
            let (counter, interrupts) = (Counter::sleeping()?, Counter::new()?);
            device.tell(counter.number(), None)?;
            device.tell(interrupts.number(), Some(0))?;
            let front = Front::new(&device, 0)?;
            // As many as there are places for: for a quick card, too.
            let all = size(device.info()?.out_depth.into());
            let transfers: Vec<_> = front.transfers.iter().copied().cycle().take(all).collect();
            check_eq!(device.submit(&transfers)?, all);
            check_eq!(away(&card, &counter, wide(all))?, wide(all));
            let (ended, gone) = collect(&device)?;
            println!("{ended} ended, {gone} did not");
            check_eq!(ended + gone, all);
            check_err!(device.tell(counter.number(), None), ENODEV);
            check_err!(device.tell(-1, None), ENODEV);
            check_err!(device.tell(-2, Some(77)), ENODEV);
            check_err!(device.cancel_all(0), ENODEV);
            // The next card knows nothing of the old file.
            interrupts.take()?;
            card = card.bind()?;
            check_works(&card)?;
            check_eq!(interrupts.take()?, 0, "of the next card");
            drop(device);
            check_works(&card)?;
            Ok(gone > 0)
        })?;
    }
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Handles: names of buffers in one open file.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::errno::Errno;
use rand::Rng as _;

use super::kinds;
use crate::device::{from_card, COHERENT};
use crate::memory::{HUGE as HUGE_PAGE, PAGE};
use crate::outcome::Outcome;
use crate::registry::Context;

pub(super) fn handles(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let other = context.open()?;
    let mut seen = BTreeSet::new();
    for round in 0..200 {
        let buffer = device.alloc(COHERENT, PAGE)?;
        check!(buffer.handle != 0);
        check!(
            seen.insert(buffer.handle),
            "handle {} again in round {round}",
            buffer.handle
        );
        device.free(buffer.handle)?;
        check_err!(device.free(buffer.handle), ENOENT, "freed twice");
        check_err!(device.buffer_info(buffer.handle), ENOENT);
        check_err!(device.submit(&[from_card(buffer.handle, 0, 8, 0)]), ENOENT);
    }
    let buffer = device.alloc(COHERENT, PAGE)?;
    let mut theirs = other.alloc(COHERENT, PAGE)?;
    while device.buffer_info(theirs.handle).is_ok() {
        theirs = other.alloc(COHERENT, PAGE)?;
    }
    check_err!(device.buffer_info(theirs.handle), ENOENT);
    check_err!(device.free(theirs.handle), ENOENT);
    check_err!(other.free(buffer.handle + 100_000), ENOENT);
    check_eq!(other.buffer_info(theirs.handle).map(drop), Ok(()));
    Ok(())
}

pub(super) fn close_frees(context: &mut Context) -> Outcome {
    let watcher = context.open()?;
    let before = watcher.info()?.out_used_total;
    let device = context.open()?;
    for kind in kinds(&device)? {
        device.alloc(kind, HUGE_PAGE)?;
        device.alloc(kind, 1)?;
    }
    check!(watcher.info()?.out_used_total > before);
    check_eq!(watcher.info()?.out_used_file, 0);
    drop(device);
    check_eq!(watcher.info()?.out_used_total, before);
    Ok(())
}

/// One thread allocates, another frees handles that it guesses: each buffer is
/// freed exactly once, and none before it was given out.
pub(super) fn guessed(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let rounds = context.times(5_000);
    let stop = AtomicBool::new(false);
    let seed: u64 = context.rng.random();
    let (mut mine, theirs) = (0_u32, AtomicU32::new(0));
    std::thread::scope(|scope| -> Outcome {
        let thief = scope.spawn(|| {
            let mut guess = u32::try_from(seed % 16).unwrap_or(0);
            while !stop.load(Ordering::Relaxed) {
                guess = guess % rounds.max(1) + 1;
                if device.free(guess).is_ok() {
                    theirs.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let outcome = (|| -> Outcome {
            for _ in 0..rounds {
                let buffer = device.alloc(COHERENT, PAGE)?;
                match device.free(buffer.handle) {
                    Ok(()) => mine += 1,
                    Err(Errno::ENOENT) => {}
                    Err(error) => fail!("{error:?}"),
                }
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        if thief.join().is_err() {
            fail!("the other thread panicked");
        }
        outcome
    })?;
    let theirs = theirs.into_inner();
    println!("{mine} freed by the owner, {theirs} by the other thread");
    check_eq!(mine + theirs, rounds);
    check_eq!(device.info()?.out_used_file, 0);
    Ok(())
}

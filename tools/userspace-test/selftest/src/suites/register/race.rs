// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Registered memory with something else going on at the same time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Barrier, Mutex};

use nix::errno::Errno;

use super::{register, set_card};
use crate::account::Account;
use crate::device::{from_card, to_card, Device};
use crate::kinds::{All, Kind};
use crate::memory::{Mapping, HUGE, PAGE};
use crate::outcome::{all_bytes, same_bytes, Context as _, Outcome};
use crate::poll::until;
use crate::raw;
use crate::registry::Context;
use crate::requests::contents;

/// CVE-2022-50417, CVE-2025-68260: a handle that another thread guesses, used
/// and freed while it is being given out. Each buffer is freed exactly once.
pub(super) fn guessed(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = Account::now()?;
    let rounds = context.times(3_000);
    let memory = Mapping::anonymous(2 * PAGE)?;
    let (stop, theirs) = (AtomicBool::new(false), AtomicU32::new(0));
    let mut mine = 0;
    std::thread::scope(|scope| -> Outcome {
        let thief = scope.spawn(|| -> Outcome {
            let mut guess = 0;
            while !stop.load(Ordering::Relaxed) {
                guess = guess % rounds + 1;
                match device.free(guess) {
                    Ok(()) => _ = theirs.fetch_add(1, Ordering::Relaxed),
                    Err(error) => check_eq!(error, Errno::ENOENT),
                }
                for result in [
                    device.buffer_info(guess).map(drop),
                    device.sync(guess, 0, 1, userdma::sys::USERDMA_SYNC_FOR_DEVICE),
                ] {
                    check!(matches!(result, Ok(()) | Err(Errno::ENOENT)), "{result:?}");
                }
            }
            Ok(())
        });
        let outcome = (|| -> Outcome {
            for _ in 0..rounds {
                let registered = register(&device, &memory, 100, PAGE, 0)?;
                match device.free(registered.handle) {
                    Ok(()) => mine += 1,
                    Err(error) => check_eq!(error, Errno::ENOENT),
                }
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        match thief.join() {
            Ok(other) => outcome.and(other),
            Err(_) => fail!("the other thread panicked"),
        }
    })?;
    let theirs = theirs.into_inner();
    println!("{mine} freed by the owner, {theirs} by the other thread");
    check_eq!(mine + theirs, rounds);
    before.settle()
}

/// CVE-2026-31456: the kernel walks page tables that are being filled, pinned
/// and torn down.
pub(super) fn watched(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = Account::now()?;
    let rounds = context.times(20);
    let (stop, walks) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| -> Outcome {
        let walker = scope.spawn(|| -> Outcome {
            while !stop.load(Ordering::Relaxed) {
                std::fs::read("/proc/self/smaps")?;
                // Not in kernels without NUMA.
                let _ = std::fs::read("/proc/self/numa_maps");
                walks.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let outcome = (|| -> Outcome {
            for round in 0..rounds {
                let all = All::make(HUGE)?;
                let seen = walks.load(Ordering::Relaxed);
                let mut handles = Vec::new();
                for memory in &all.memory {
                    handles.push(register(&device, memory, 5, HUGE - 10, 0)?.handle);
                }
                until("a walk", || Ok(walks.load(Ordering::Relaxed) > seen))?;
                // Memory first or handles first.
                if round % 2 == 0 {
                    drop(all);
                    handles
                        .into_iter()
                        .try_for_each(|handle| device.free(handle))?;
                } else {
                    handles
                        .into_iter()
                        .try_for_each(|handle| device.free(handle))?;
                    drop(all);
                }
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        match walker.join() {
            Ok(other) => outcome.and(other),
            Err(_) => fail!("the walker panicked"),
        }
    })?;
    before.settle()
}

/// What the memory manager does to pages by itself or on request: none of it
/// takes a pinned page away from the card or from the program.
pub(super) fn managed(context: &mut Context) -> Outcome {
    /// From linux/mman.h, which libc does not have yet.
    const MADV_COLLAPSE: i32 = 25;
    let device = context.open()?;
    let before = Account::now()?;
    for kind in [Kind::Anonymous, Kind::Thp, Kind::Memfd, Kind::FilePrivate] {
        let memory = kind.make(2 * HUGE)?;
        let bytes = context.bytes(2 * HUGE);
        memory.write(0, &bytes);
        let registered = register(&device, &memory, 0, 2 * HUGE, 0)?;
        let mut told = BTreeMap::new();
        for (name, advice) in [
            ("COLD", libc::MADV_COLD),
            ("PAGEOUT", libc::MADV_PAGEOUT),
            ("MERGEABLE", libc::MADV_MERGEABLE),
            ("HUGEPAGE", libc::MADV_HUGEPAGE),
            ("COLLAPSE", MADV_COLLAPSE),
        ] {
            // Some are refused, for some kinds; what counts is what becomes of the bytes.
            let result = raw::madvise(memory.address(), 2 * HUGE, advice);
            told.insert(name, result.err());
        }
        std::fs::write("/proc/sys/vm/drop_caches", "3")?;
        let _ = std::fs::write("/proc/sys/vm/compact_memory", "1");
        println!("{kind:?}: {told:?}");
        let there = set_card(context, &device)?;
        let place = HUGE - 100;
        device.run_well(&[
            to_card(registered.handle, place, 1000, 0),
            from_card(registered.handle, place, 1000, 2000),
        ])?;
        same_bytes(
            &contents(&device)?[..1000],
            &bytes[place..place + 1000],
            "to the card",
        )?;
        let mut want = bytes;
        want[place..place + 1000].copy_from_slice(&there[2000..3000]);
        same_bytes(&memory.read(0, 2 * HUGE), &want, "the program's view")?;
        device.free(registered.handle)?;
        before.settle()?;
    }
    Ok(())
}

/// Several threads of one process and several files, one memory.
pub(super) fn threads(context: &mut Context) -> Outcome {
    let before = Account::now()?;
    let rounds = context.times(6);
    let memory = Mapping::anonymous(64 * PAGE)?;
    memory.fill(0..64 * PAGE, 0x2f);
    let devices = [context.open()?, context.open()?];
    // A wait gives any completion of the file, and two of the threads share one.
    let waiting = Mutex::new(());
    let work = |device: &Device, seed: usize| -> Outcome {
        for round in 0..raw::size(rounds.into()) {
            // Each has its own part of the memory, and they meet in pages.
            let begin = seed * 16 * PAGE + 100 + round;
            let registered = register(device, &memory, begin, 16 * PAGE - 1, 0)?;
            let turn = waiting.lock();
            device.run_well(&[to_card(registered.handle, PAGE, 100, 1000 * seed)])?;
            drop(turn);
            for _ in 0..20 {
                let more = register(device, &memory, begin, 16 * PAGE - 1, 0)?;
                device.free(more.handle)?;
            }
            device.free(registered.handle)?;
        }
        Ok(())
    };
    let (work, [a, b]) = (&work, &devices);
    std::thread::scope(|scope| -> Outcome {
        let threads =
            [(a, 0), (b, 1), (a, 2)].map(|(device, seed)| scope.spawn(move || work(device, seed)));
        for thread in threads {
            match thread.join() {
                Ok(outcome) => outcome?,
                Err(_) => fail!("a thread panicked"),
            }
        }
        Ok(())
    })?;
    let got = contents(&devices[0])?;
    for seed in 0..3 {
        all_bytes(&got[1000 * seed..1000 * seed + 100], 0x2f, "to the card")?;
    }
    before.settle()
}

/// Pages that must be moved before they are pinned for long (out of CMA, for
/// instance) cannot be while another thread holds them for a moment: the driver
/// tries again.
pub(super) fn at_once(context: &mut Context) -> Outcome {
    const THREADS: usize = 3;
    let before = Account::now()?;
    let devices = [context.open()?, context.open()?, context.open()?];
    for round in 0..context.times(40) {
        let memory = Mapping::anonymous(256 * PAGE)?;
        memory.fill(0..memory.length(), 0x2f);
        let start = Barrier::new(THREADS);
        let (memory, start) = (&memory, &start);
        std::thread::scope(|scope| -> Outcome {
            let threads = devices.each_ref().map(|device| {
                scope.spawn(move || -> Outcome {
                    start.wait();
                    let all = register(device, memory, 0, memory.length(), 0)?;
                    Ok(device.free(all.handle)?)
                })
            });
            for thread in threads {
                match thread.join() {
                    Ok(outcome) => outcome.context(|| format!("round {round}"))?,
                    Err(_) => fail!("a thread panicked"),
                }
            }
            Ok(())
        })?;
    }
    before.settle()
}

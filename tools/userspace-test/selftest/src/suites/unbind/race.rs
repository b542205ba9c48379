// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Everything at once.

use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::errno::Errno;
use rustix::fs::OFlags;
use rustix::pipe::{pipe_with, PipeFlags};

use super::{check_works, unbind};
use crate::child::{spawn, Child, Gate};
use crate::device::{from_card, tagged, to_card, Device, COHERENT, HUGE};
use crate::eventfd::Counter;
use crate::guest::Card;
use crate::memory::{HUGE as HUGE_PAGE, PAGE};
use crate::outcome::Outcome;
use crate::poll::{until, LONG};
use crate::raw::{self, wide, Sys};
use crate::registry::Context;

/// A process that reads until the card goes.
fn reader(card: &Card, begun: &Gate) -> Outcome<Child> {
    let path = card.path.clone();
    Ok(spawn(|| {
        let device = Device::open(&path)?;
        begun.open()?;
        loop {
            match device.file().read_at(&mut [0; 4096], 0) {
                Ok(4096) => {}
                // The card went in the middle: what had come is told.
                Ok(_) => {}
                Err(error) => {
                    check_eq!(error.raw_os_error(), Some(libc::ENODEV));
                    return Ok(());
                }
            }
        }
    })?)
}

/// What issue 2 asks for by name: open files, live mappings, a reader asleep
/// and a transfer in flight, in every cycle.
pub(super) fn everything(context: &mut Context) -> Outcome {
    let mut card = context.card().clone();
    let mut old = Vec::new();
    for round in 0..super::cycles(context) {
        let device = Device::open(&card.path)?;
        let mut maps = Vec::new();
        for kind in [COHERENT, HUGE] {
            let buffer = device.alloc(kind, 2 * PAGE)?;
            let map = device.map(&buffer)?;
            map.fill(0..PAGE, 0x12);
            maps.push(map);
            let read = from_card(buffer.handle, 0, PAGE, 0);
            check_eq!(device.submit(&[read, read, read])?, 3);
        }
        let begun = Gate::new()?;
        let child = reader(&card, &begun)?;
        begun.pass()?;
        child.sleeps_in(&[libc::SYS_pread64])?;
        unbind(&card)?;
        for map in &maps {
            map.check_gone(0..map.length())?;
        }
        check_err!(device.info(), ENODEV);
        check_eq!(device.wait(6, 6, 0)?.len(), 6);
        check_err!(device.wait(1, 1, 0), ENODEV);
        child.join(LONG)?;
        // The file is closed at once, or long after the card is back.
        old.push((device, maps));
        if round % 2 == 0 {
            old.clear();
        }
        card = card.bind()?;
        check_works(&card)?;
    }
    Ok(())
}

/// What a thread may be told while the card comes and goes.
fn allowed<T>(result: Sys<T>) -> Outcome<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENODEV | Errno::ENOENT | Errno::ENXIO) => Ok(None),
        Err(error) => fail!("{error:?}"),
    }
}

/// Opens, allocates, maps, submits, cancels, counts, collects, frees, closes, as far
/// as it gets.
fn visit(path: &std::path::Path, kind: u32) -> Outcome<bool> {
    let Some(device) = allowed(Device::open(path))? else {
        return Ok(false);
    };
    let Some(buffer) = allowed(device.alloc(kind, PAGE))? else {
        return Ok(false);
    };
    let map = allowed(device.map(&buffer))?;
    if let Some(map) = &map {
        // The mapping may go at any moment: only the kernel may touch it.
        let (_reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        // SAFETY: the kernel only reads it.
        let result = unsafe { raw::transfer(libc::SYS_write, &writer, map.address(), 16, 0) };
        check!(matches!(result, Ok(16) | Err(Errno::EFAULT)), "{result:?}");
    }
    let transfers = [
        tagged(to_card(buffer.handle, 0, 8, 0), 1),
        tagged(from_card(buffer.handle, 8, 8, 0), 2),
    ];
    let (records, interrupts) = (Counter::new()?, Counter::new()?);
    let told = allowed(device.tell(records.number(), None))?;
    allowed(device.tell(interrupts.number(), Some(0)))?;
    let sent = allowed(device.submit(&transfers))?.unwrap_or(0);
    allowed(device.cancel(0, 2))?;
    allowed(device.free(buffer.handle))?;
    let mut done = 0;
    while done < sent {
        // Records come even if the card has gone.
        let records = device.wait(1, 2, u64::MAX)?;
        check!(!records.is_empty(), "{done} of {sent} records came");
        done += records.len();
    }
    if told.is_some() {
        check_eq!(records.take()?, wide(sent), "records that were counted");
    }
    Ok(true)
}

pub(super) fn threads(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    let cycles = super::cycles(context);
    let stop = AtomicBool::new(false);
    let visits = AtomicU32::new(0);
    let visitor = |kind: u32| -> Outcome {
        while !stop.load(Ordering::Relaxed) {
            if visit(&card.path, kind)? {
                visits.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    };
    let visitor = &visitor;
    std::thread::scope(|scope| -> Outcome {
        let threads = [COHERENT, HUGE, COHERENT].map(|kind| scope.spawn(move || visitor(kind)));
        let outcome = (|| -> Outcome {
            for _ in 0..cycles {
                let seen = visits.load(Ordering::Relaxed);
                // At least one visit between two unbinds.
                until("a visit", || Ok(visits.load(Ordering::Relaxed) > seen))?;
                let begin = std::time::Instant::now();
                card.unbind()?;
                super::check_quick(begin, 0)?;
                check_eq!(card.bind()?.path, card.path);
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            match thread.join() {
                Ok(done) => done?,
                Err(_) => fail!("a thread panicked"),
            }
        }
        outcome
    })?;
    println!("{} visits", visits.into_inner());
    match card.again()? {
        Some(card) => check_works(&card),
        None => fail!("the card is not bound"),
    }
}

/// CVE-2026-31456: the kernel walks the page tables of mappings that are being
/// filled, emptied and revoked.
pub(super) fn watched(context: &mut Context) -> Outcome {
    let mut card = context.card().clone();
    let rounds = super::cycles(context);
    for _ in 0..rounds {
        let device = Device::open(&card.path)?;
        let mut maps = Vec::new();
        for kind in [COHERENT, HUGE] {
            let buffer = device.alloc(kind, HUGE_PAGE)?;
            maps.push((buffer, device.map(&buffer)?));
        }
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
            let filler = scope.spawn(|| -> Outcome {
                let (_reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
                rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK)?;
                while !stop.load(Ordering::Relaxed) {
                    for (_, map) in &maps {
                        for offset in (0..map.length()).step_by(HUGE_PAGE / 4) {
                            // The kernel touches the page: a signal would end the test.
                            let address = map.address() + offset;
                            // SAFETY: the kernel only reads it.
                            let result =
                                unsafe { raw::transfer(libc::SYS_write, &writer, address, 1, 0) };
                            let fine = matches!(result, Ok(1) | Err(Errno::EFAULT | Errno::EAGAIN));
                            check!(fine, "{result:?}");
                        }
                        // Of the coherent one this is refused.
                        let _ = raw::madvise(map.address(), map.length(), libc::MADV_DONTNEED);
                    }
                }
                Ok(())
            });
            let outcome = (|| -> Outcome {
                let begun = walks.load(Ordering::Relaxed) + 3;
                until("some walks", || Ok(walks.load(Ordering::Relaxed) >= begun))?;
                // One buffer is freed, and goes with its mapping; the other is revoked.
                device.free(maps[0].0.handle)?;
                unbind(&card)?;
                let then = walks.load(Ordering::Relaxed) + 3;
                until("some more walks", || {
                    Ok(walks.load(Ordering::Relaxed) >= then)
                })
            })();
            stop.store(true, Ordering::Relaxed);
            for thread in [walker, filler] {
                match thread.join() {
                    Ok(done) => done?,
                    Err(_) => fail!("a thread panicked"),
                }
            }
            outcome
        })?;
        for (_, map) in &maps {
            map.check_gone(0..map.length())?;
        }
        drop((maps, device));
        card = card.bind()?;
        check_works(&card)?;
    }
    Ok(())
}

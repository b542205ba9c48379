// SPDX-License-Identifier: GPL-2.0 OR MIT
//! CANCEL of what the card has, and of everything at any moment.

use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use userdma::sys;

use crate::device::{from_card, tagged, to_card, Device, COHERENT};
use crate::kinds::no_huge_pages;
use crate::memory::{Mapping, PAGE};
use crate::outcome::{all_bytes, same_bytes, Outcome};
use crate::poll::{after, now, LONG};
use crate::queue::until_in_time;
use crate::raw::{size, wide};
use crate::registry::Context;

/// Less than the card that moves its transfers in parts takes for one part.
const PART: u64 = 90_000_000;

/// One that the card moves in one go ends as if nobody had asked.
fn in_one(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let length = size(device.info()?.out_max_transfer).min(2 << 20);
    let buffer = device.alloc(COHERENT, length)?;
    let map = device.map(&buffer)?;
    let card = context.bytes(length);
    map.write(0, &card);
    device.run_well(&[to_card(buffer.handle, 0, length, 0)])?;
    map.fill(0..length, 0);
    // The card is idle: it is given it at once.
    device.submit(&[tagged(from_card(buffer.handle, 0, length, 0), 7)])?;
    check_eq!(device.cancel(0, 7), Ok(0));
    check_eq!(device.cancel_all(0), Ok(0));
    let record = device.collect(1)?[0];
    check_eq!((record.user_data, record.result), (7, 0));
    check_eq!(record.bytes, wide(length));
    same_bytes(&map.read(0, length), &card, "what was cancelled too late")?;
    device.check_idle()
}

/// Two pages of a program that the card sees as two pieces: the memory, the place
/// of the first in it, and their handle.
fn scattered(device: &Device) -> Outcome<Option<(Mapping, usize, u32)>> {
    const PAGES: usize = 256;
    let memory = Mapping::anonymous(PAGES * PAGE)?;
    no_huge_pages(&memory)?;
    // One after the other, backwards: the kernel's next free page is not the next.
    for page in (0..PAGES).rev() {
        memory.set_byte(page * PAGE, 0);
    }
    for place in (0..PAGES - 1).map(|page| page * PAGE) {
        let all = device.register(memory.address() + place, 2 * PAGE, 0)?;
        if all.segments == 2 {
            return Ok(Some((memory, place, all.handle)));
        }
        device.free(all.handle)?;
    }
    Ok(None)
}

/// One over two pieces: `edu` moves it in two goes, and ends after the first;
/// other cards in one.
fn in_parts(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let Some((memory, place, handle)) = scattered(&device)? else {
        println!("all memory is one piece: an IOMMU, or a copy");
        return Ok(());
    };
    let card = context.bytes(PAGE);
    device.file().write_all_at(&card, 0)?;
    let backend = device.info()?.out_backend;
    let name = b"edu\0".map(|byte| core::ffi::c_char::from_ne_bytes([byte]));
    let one_by_one = backend.starts_with(&name);
    let half = PAGE / 2;
    let across = tagged(from_card(handle, half, PAGE, 0), 1);
    let behind = tagged(from_card(handle, 0, 8, 0), 1);
    until_in_time(|| {
        memory.fill(place..place + 2 * PAGE, 0x11);
        device.submit(&[across, behind])?;
        let withdrawn = device.cancel(0, 1)?;
        let time = now();
        let mut records = device.collect(2)?;
        records.sort_by_key(|record| record.start_ns);
        device.check_idle()?;
        println!("{withdrawn} withdrawn; {records:?}");
        // Withdrawn were those that never began; of the other as much as it says was moved.
        let [first, second] = records[..] else {
            fail!("{records:?}");
        };
        let (never, record) = match withdrawn {
            1 => (Some(first), second),
            _ => (None, first),
        };
        if let Some(never) = never {
            check_eq!(
                (never.result, never.bytes, never.start_ns),
                (-libc::ECANCELED, 0, 0)
            );
        }
        let moved = size(record.bytes);
        match record.result {
            0 => check_eq!(moved, PAGE, "{record:?}"),
            error => {
                check_eq!(error, -libc::ECANCELED, "{record:?}");
                check!(0 < moved && moved < PAGE, "{record:?}");
            }
        }
        let bytes = memory.read(place + half, PAGE + half);
        same_bytes(&bytes[..moved], &card[..moved], "what was moved")?;
        all_bytes(&bytes[moved..], 0x11, "what was not")?;
        let in_time = !one_by_one || time < record.start_ns + PART;
        if one_by_one && in_time {
            check_eq!(withdrawn, 1);
            check_eq!((record.result, moved), (-libc::ECANCELED, half));
        }
        Ok(in_time)
    })?;
    // The next one is moved in full.
    device.run_well(&[across])?;
    same_bytes(&memory.read(place + half, PAGE), &card, "and the next one")
}

pub(super) fn running(context: &mut Context) -> Outcome {
    in_one(context)?;
    in_parts(context)
}

/// What threads do at the same time, and what they have seen.
struct Race {
    device: Device,
    handle: u32,
    /// Of each, so that a card that takes many at once does not take all.
    length: usize,
    each: u64,
    seen: Mutex<Vec<sys::userdma_completion>>,
    count: AtomicUsize,
    withdrawn: AtomicU64,
    stop: AtomicBool,
}

const SUBMITTERS: u64 = 2;
/// One of so many is not withdrawn by name, so that the card has something to do.
const SPARED: u64 = 16;

impl Race {
    fn all(&self) -> usize {
        size(SUBMITTERS * self.each)
    }

    fn submit(&self, thread: u64, mut rng: SmallRng) -> Outcome {
        let mut sent = 0;
        while sent < self.each {
            let end = self.each.min(sent + rng.random_range(1..=80));
            let batch: Vec<_> = (sent..end)
                .map(|number| {
                    let transfer = to_card(self.handle, 0, self.length, 0);
                    tagged(transfer, thread * self.each + number)
                })
                .collect();
            sent += wide(self.device.submit(&batch)?);
        }
        Ok(())
    }

    fn cancel(&self, mut rng: SmallRng) -> Outcome {
        let mut half = self.all() / 2;
        while !self.stop.load(Ordering::Relaxed) {
            let tag = rng.random_range(0..SUBMITTERS * self.each);
            let count = if self.count.load(Ordering::Relaxed) >= half {
                // Once: then the card has nothing to do.
                half = usize::MAX;
                self.device.cancel_all(0)?
            } else if tag % SPARED == 0 {
                continue;
            } else {
                self.device.cancel(0, tag)?
            };
            self.withdrawn.fetch_add(count.into(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Only collects: who found a fault here would leave the others asleep.
    fn collect(&self) -> Outcome {
        let mut last = Instant::now();
        while self.count.load(Ordering::Relaxed) < self.all() && last.elapsed() < LONG {
            // Short, so that the last collector sees that all is done.
            let deadline = after(Duration::from_millis(300));
            let records = match self.device.wait(1, 7, deadline) {
                Err(Errno::ETIMEDOUT) => continue,
                other => other?,
            };
            if !records.is_empty() {
                last = Instant::now();
            }
            self.count.fetch_add(records.len(), Ordering::Relaxed);
            let Ok(mut seen) = self.seen.lock() else {
                fail!("another thread panicked");
            };
            seen.extend(records);
        }
        Ok(())
    }

    /// Looks at the records of all.
    fn check(self) -> Outcome {
        let Ok(seen) = self.seen.lock() else {
            fail!("a thread panicked");
        };
        let mut tags: Vec<_> = seen.iter().map(|record| record.user_data).collect();
        tags.sort_unstable();
        let all: Vec<_> = (0..SUBMITTERS * self.each).collect();
        check!(
            tags == all,
            "{} records of {}: {tags:?}",
            tags.len(),
            all.len()
        );
        let mut told = 0;
        for record in seen.iter() {
            match record.result {
                0 => check_eq!(record.bytes, wide(self.length), "{record:?}"),
                _ => {
                    let how = (record.result, record.bytes, record.start_ns);
                    check_eq!(how, (-libc::ECANCELED, 0, 0), "{record:?}");
                    told += 1;
                }
            }
        }
        let withdrawn = self.withdrawn.load(Ordering::Relaxed);
        println!("{withdrawn} of {} withdrawn", all.len());
        check_eq!(withdrawn, told, "withdrawn, and told so");
        check!(withdrawn > 0 && withdrawn < wide(all.len()));
        self.device.check_idle()
    }
}

/// Threads submit, cancel and wait at once: each transfer has one record, and as
/// many as were withdrawn say so.
pub(super) fn race(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let length = size(device.info()?.out_max_transfer).min(1 << 20);
    let race = Race {
        handle: device.alloc(COHERENT, length)?.handle,
        device,
        length,
        each: context.times(400).into(),
        seen: Mutex::default(),
        count: AtomicUsize::new(0),
        withdrawn: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    let rngs: Vec<_> = (0..SUBMITTERS + 1)
        .map(|_| SmallRng::seed_from_u64(context.rng.random()))
        .collect();
    std::thread::scope(|scope| -> Outcome {
        let race = &race;
        let mut threads = vec![
            scope.spawn(|| race.collect()),
            scope.spawn(|| race.collect()),
        ];
        for thread in 0..SUBMITTERS {
            let rng = rngs[size(thread)].clone();
            threads.push(scope.spawn(move || race.submit(thread, rng)));
        }
        let canceller = scope.spawn(|| race.cancel(rngs[size(SUBMITTERS)].clone()));
        let mut outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        race.stop.store(true, Ordering::Relaxed);
        outcomes.push(canceller.join());
        for outcome in outcomes {
            match outcome {
                Ok(outcome) => outcome?,
                Err(_) => fail!("a thread panicked"),
            }
        }
        Ok(())
    })?;
    race.check()
}

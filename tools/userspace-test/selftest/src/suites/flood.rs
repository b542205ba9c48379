// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Completions by the thousand, by each way to learn of them: none is lost, none
//! comes twice, and those of a file and channel come in their order. 50,000 by each
//! way in a soak.

mod by_ring;

use std::os::fd::AsFd;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::event::PollFlags;
use userdma::sys;

use crate::device::{tagged, to_card, Device, COHERENT};
use crate::eventfd::Counter;
use crate::memory::PAGE;
use crate::model::is_slow;
use crate::outcome::Outcome;
use crate::poll::{after, ready, LONG};
use crate::raw::{size, wide};
use crate::registry::{Context, Test};

pub(super) const TESTS: &[Test] = &[
    Test::new("flood.wait", "told of by WAIT, which sleeps", |context| {
        flood(context, "WAIT", by_wait)
    }),
    Test::new("flood.poll", "told of by poll()", |context| {
        flood(context, "poll", by_poll)
    }),
    Test::new("flood.eventfd", "told of by an eventfd", |context| {
        flood(context, "eventfd", by_eventfd)
    }),
    Test::new(
        "flood.uring",
        "told of by rings of io_uring",
        by_ring::flood,
    ),
];

/// Files, each with a thread that submits and one that collects.
const FILES: usize = 2;
/// The most of a SUBMIT.
const BATCH: usize = 32;
/// Where a tag has the number of its channel.
const CHANNEL: u32 = 48;

/// How many completions by each file; fewer of a card that takes 100 ms for each.
fn count(context: &Context, files: usize) -> Outcome<usize> {
    let some = if is_slow(&context.open()?)? { 40 } else { 500 };
    Ok(size(context.times(some).into()).div_ceil(files))
}

/// Transfers of one file, numbered by channel from 0 on.
struct Numbered {
    rng: SmallRng,
    handle: u32,
    channels: Vec<u16>,
    next: Vec<u64>,
}

impl Numbered {
    fn new(seed: u64, handle: u32, channels: Vec<u16>) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed),
            handle,
            next: vec![0; channels.len()],
            channels,
        }
    }

    /// At least one and at most so many more, and what there will be then.
    fn more(&mut self, most: usize) -> Vec<sys::userdma_transfer> {
        let count = self.rng.random_range(1..=most);
        let transfer = |_| {
            let place = self.rng.random_range(0..self.channels.len());
            let tag = (u64::from(self.channels[place]) << CHANNEL) | self.next[place];
            self.next[place] += 1;
            sys::userdma_transfer {
                channel: self.channels[place],
                ..tagged(to_card(self.handle, 0, length(tag), 0), tag)
            }
        };
        (0..count).map(transfer).collect()
    }

    /// Takes back the last of them, which were not accepted.
    fn back(&mut self, transfers: &[sys::userdma_transfer]) {
        for transfer in transfers {
            let of = |channel: &u16| *channel == transfer.channel;
            let place = self.channels.iter().position(of).unwrap_or_default();
            self.next[place] -= 1;
        }
    }
}

/// The length of a transfer with this tag.
fn length(tag: u64) -> usize {
    8 + size(tag % 8) * 8
}

/// What has come of a file: of each channel, what comes next.
struct Expected(Vec<u64>);

impl Expected {
    fn new(channels: u16) -> Self {
        Self(vec![0; channels.into()])
    }

    /// One has ended. Each is the next of its channel: so none was lost, none came
    /// before its turn, and none twice.
    fn ended(&mut self, tag: u64, result: i32, bytes: u64) -> Outcome {
        let next = &mut self.0[size(tag >> CHANNEL)];
        check_eq!(tag & ((1 << CHANNEL) - 1), *next, "of {tag:#x}");
        *next += 1;
        check_eq!((result, bytes), (0, wide(length(tag))), "of {tag:#x}");
        Ok(())
    }
}

/// How a collector takes records; at least one, or nothing is outstanding.
type Take = fn(&Device, &Counter, &mut SmallRng) -> Outcome<Vec<sys::userdma_completion>>;

fn by_wait(
    device: &Device,
    _: &Counter,
    rng: &mut SmallRng,
) -> Outcome<Vec<sys::userdma_completion>> {
    let min = rng.random_range(1..=8);
    Ok(device.wait(min, 64, after(LONG))?)
}

/// Waits for a file; it must become readable.
fn readable(fd: &impl AsFd) -> Outcome {
    check_eq!(ready(fd, PollFlags::IN, LONG)?, PollFlags::IN);
    Ok(())
}

fn by_poll(
    device: &Device,
    _: &Counter,
    _: &mut SmallRng,
) -> Outcome<Vec<sys::userdma_completion>> {
    readable(device)?;
    let records = device.wait(0, 64, 0)?;
    check!(!records.is_empty(), "POLLIN, and no record");
    Ok(records)
}

fn by_eventfd(
    device: &Device,
    counter: &Counter,
    _: &mut SmallRng,
) -> Outcome<Vec<sys::userdma_completion>> {
    readable(counter)?;
    let told = size(counter.take()?);
    check!(told > 0, "readable, and 0");
    // What was told of is there, and nothing else is taken.
    let mut records = Vec::new();
    while records.len() < told {
        let left = u32::try_from(told - records.len())?;
        records.extend(device.wait(left, left, 0)?);
    }
    Ok(records)
}

fn submitter(device: &Device, mut numbered: Numbered, count: usize) -> Outcome {
    let mut left = count;
    while left > 0 {
        // There is nobody else who takes places: it does not sleep in SUBMIT.
        check_eq!(ready(device, PollFlags::OUT, LONG)?, PollFlags::OUT);
        let batch = numbered.more(left.min(BATCH));
        let accepted = device.submit(&batch)?;
        numbered.back(&batch[accepted..]);
        left -= accepted;
    }
    Ok(())
}

fn collector(device: &Device, counter: &Counter, seed: u64, count: usize, take: Take) -> Outcome {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut expected = Expected::new(u16::try_from(device.info()?.out_channels)?);
    let (mut left, mut last) = (count, Instant::now());
    while left > 0 {
        let records = take(device, counter, &mut rng)?;
        if records.is_empty() {
            // The other thread has not submitted anything yet.
            check!(last.elapsed() < LONG, "{left} of {count} have not come");
            std::thread::yield_now();
            continue;
        }
        check!(records.len() <= left, "more than were submitted");
        for record in &records {
            expected.ended(record.user_data, record.result, record.bytes)?;
            check_eq!(
                wide(size(record.channel.into())),
                record.user_data >> CHANNEL
            );
        }
        (left, last) = (left - records.len(), Instant::now());
    }
    Ok(())
}

fn flood(context: &mut Context, way: &str, take: Take) -> Outcome {
    let count = count(context, FILES)?;
    let mut files = Vec::new();
    for _ in 0..FILES {
        let (device, counter) = (context.open()?, Counter::new()?);
        device.tell(counter.number(), None)?;
        let channels = u16::try_from(device.info()?.out_channels)?;
        let buffer = device.alloc(COHERENT, PAGE)?.handle;
        let numbered = Numbered::new(context.rng.random(), buffer, (0..channels).collect());
        files.push((device, counter, numbered, context.rng.random()));
    }
    let begin = Instant::now();
    let files = std::thread::scope(|scope| -> Outcome<_> {
        let (mut threads, mut shared) = (Vec::new(), Vec::new());
        for (device, counter, numbered, seed) in files {
            let file = std::sync::Arc::new((device, counter));
            shared.push(file.clone());
            let other = file.clone();
            threads.push(scope.spawn(move || submitter(&file.0, numbered, count)));
            threads.push(scope.spawn(move || collector(&other.0, &other.1, seed, count, take)));
        }
        for thread in threads {
            match thread.join() {
                Ok(outcome) => outcome?,
                Err(_) => fail!("a thread panicked"),
            }
        }
        Ok(shared)
    })?;
    println!("{:?}", begin.elapsed());
    let mut told = 0;
    for file in &files {
        file.0.check_idle()?;
        told += file.1.take()?;
    }
    // Of which those who listened have had all.
    let all = wide(count * FILES);
    check!(told == 0 || told == all, "{told} of {all} in the counters");
    println!("did {all} completions by {way}");
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Eventfds of records.

use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFlags, Timespec};

use super::send;
use crate::eventfd::Counter;
use crate::outcome::Outcome;
use crate::poll::{ready, LONG};
use crate::queue::{until_in_time, Front};
use crate::raw::{size, wide};
use crate::registry::Context;

/// Each record adds 1 before WAIT can give it, and nothing else adds anything.
pub(super) fn exact(context: &mut Context) -> Outcome {
    let (device, other) = (context.open()?, context.open()?);
    let depth = size(device.info()?.out_depth.into());
    // Those that are there already are not counted.
    send(&device, 0, 1)?;
    check_eq!(ready(&device, PollFlags::IN, LONG)?, PollFlags::IN);
    let counter = Counter::new()?;
    device.tell(counter.number(), None)?;
    device.collect(1)?;
    check_eq!(counter.take()?, 0, "of a record that was there");
    for count in [1, 2, 7] {
        send(&device, 0, count)?;
        device.collect(count)?;
        check_eq!(counter.take()?, wide(count));
    }
    // As many as there are places, and most of them withdrawn.
    send(&device, 0, depth)?;
    let withdrawn = device.cancel_all(0)?;
    device.collect(depth)?;
    println!("{withdrawn} of {depth} withdrawn");
    check_eq!(
        counter.take()?,
        wide(depth),
        "withdrawn ones are records, too"
    );
    // Others' records, and requests, which leave none.
    send(&other, 0, 2)?;
    other.collect(2)?;
    device.file().read_exact_at(&mut [0; 8], 0)?;
    device.file().write_all_at(&[0; 8], 0)?;
    check_eq!(counter.take()?, 0, "of other files and of requests");
    // One for several files: the sum.
    other.tell(counter.number(), None)?;
    send(&device, 0, 2)?;
    send(&other, 0, 3)?;
    device.collect(2)?;
    other.collect(3)?;
    check_eq!(counter.take()?, 5, "of two files");
    device.check_idle()
}

/// Waits for one event; its flags.
fn event(set: &impl AsFd, limit: Duration) -> Outcome<Option<EventFlags>> {
    let limit = Timespec::try_from(limit)?;
    let mut events = Vec::with_capacity(4);
    let room = rustix::buffer::spare_capacity(&mut events);
    epoll::wait(set, room, Some(&limit))?;
    Ok(events.first().map(|event: &epoll::Event| event.flags))
}

/// Level and edge triggered, and a set in a set: the node itself is in it, too.
pub(super) fn poll(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let counter = Counter::new()?;
    device.tell(counter.number(), None)?;
    let data = EventData::new_u64(1);
    let set = epoll::create(CreateFlags::CLOEXEC)?;
    let outer = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&outer, &set, data, EventFlags::IN)?;
    epoll::add(&set, &counter, data, EventFlags::IN)?;
    check_eq!(event(&outer, Duration::ZERO)?, None);
    // Queued and under way is not ended.
    let front = Front::new(&device, 0)?;
    check_eq!(device.submit(&front.transfers)?, front.transfers.len());
    let told = event(&set, Duration::ZERO)?;
    let records = device.wait(0, 1, 0)?.len();
    check!(told.is_none() || records > 0, "nothing has ended");
    device.cancel_all(0)?;
    device.collect(front.transfers.len() - records)?;
    check_eq!(counter.take()?, wide(front.transfers.len()));
    send(&device, 0, 2)?;
    check_eq!(event(&outer, LONG)?, Some(EventFlags::IN));
    check_eq!(event(&set, LONG)?, Some(EventFlags::IN));
    check!(
        device.wait(1, 1, 0)?.len() == 1,
        "it was told, and is not there"
    );
    device.collect(1)?;
    check_eq!(counter.take()?, 2);
    check_eq!(event(&set, Duration::ZERO)?, None, "it was read");
    // Edge triggered: told again for each, read or not.
    epoll::modify(&set, &counter, data, EventFlags::IN | EventFlags::ET)?;
    for round in 1..=3 {
        send(&device, 0, 1)?;
        check_eq!(event(&set, LONG)?, Some(EventFlags::IN), "round {round}");
        check_eq!(event(&set, Duration::ZERO)?, None, "edge: told once");
        device.collect(1)?;
    }
    check_eq!(counter.take()?, 3);
    // With the node in the same set.
    epoll::add(&set, &device, data, EventFlags::IN)?;
    send(&device, 0, 1)?;
    check_eq!(event(&set, LONG)?, Some(EventFlags::IN));
    device.collect(1)?;
    Ok(())
}

pub(super) fn replace(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let (first, second) = (Counter::new()?, Counter::new()?);
    device.tell(first.number(), None)?;
    send(&device, 0, 1)?;
    device.collect(1)?;
    device.tell(second.number(), None)?;
    send(&device, 0, 2)?;
    device.collect(2)?;
    check_eq!((first.take()?, second.take()?), (1, 2));
    device.tell(-1, None)?;
    send(&device, 0, 1)?;
    device.collect(1)?;
    check_eq!((first.take()?, second.take()?), (0, 0), "taken away");
    // Taken away once more, and the same twice.
    device.tell(-1, None)?;
    device.tell(first.number(), None)?;
    device.tell(first.number(), None)?;
    send(&device, 0, 1)?;
    device.collect(1)?;
    check_eq!(first.take()?, 1);
    // While records come: each is counted by one of the two.
    let count = size(context.times(100).into());
    let stop = AtomicBool::new(false);
    let changes = std::thread::scope(|scope| -> Outcome<u64> {
        let changer = scope.spawn(|| -> Outcome<u64> {
            let mut changes = 0;
            while !stop.load(Ordering::Relaxed) {
                device.tell(second.number(), None)?;
                device.tell(first.number(), None)?;
                changes += 2;
            }
            Ok(changes)
        });
        let work = || -> Outcome {
            let mut sent = 0;
            while sent < count {
                let some = (count - sent).min(50);
                send(&device, 0, some)?;
                // So that they come one behind the other, and not one in 100 ms.
                device.cancel_all(0)?;
                device.collect(some)?;
                sent += some;
            }
            Ok(())
        };
        let outcome = work();
        stop.store(true, Ordering::Relaxed);
        outcome?;
        match changer.join() {
            Ok(changes) => changes,
            Err(_) => fail!("the thread panicked"),
        }
    })?;
    let (one, other) = (first.take()?, second.take()?);
    println!("{one} and {other} records, {changes} changes");
    check_eq!(one + other, wide(count));
    Ok(())
}

/// How many counters are made one after the other; each is given back in the end.
const CYCLES: u64 = 100;

pub(super) fn closed(context: &mut Context) -> Outcome {
    let device = context.open()?;
    // The program has no eventfd any more; the driver has.
    let counter = Counter::new()?;
    device.tell(counter.number(), None)?;
    send(&device, 0, 3)?;
    drop(counter);
    device.collect(3)?;
    // What nobody has any more is gone: its number is given again.
    let lowest = Counter::new()?.id()?;
    for _ in 0..CYCLES {
        let counter = Counter::new()?;
        let id = counter.id()?;
        check!(id < lowest + CYCLES / 2, "{id} counters are there");
        device.tell(counter.number(), None)?;
        device.tell(counter.number(), Some(0))?;
    }
    for _ in 0..CYCLES {
        let (counter, device) = (Counter::new()?, context.open()?);
        let id = counter.id()?;
        check!(id < lowest + CYCLES / 2, "{id} counters are there");
        device.tell(counter.number(), None)?;
        device.tell(counter.number(), Some(0))?;
    }
    // The file is closed in the middle: it counts what had ended, and not the rest.
    until_in_time(|| {
        let device = context.open()?;
        let (counter, set) = (Counter::new()?, epoll::create(CreateFlags::CLOEXEC)?);
        let data = EventData::new_u64(1);
        epoll::add(&set, &counter, data, EventFlags::IN)?;
        device.tell(counter.number(), None)?;
        let front = Front::new(&device, 0)?;
        check_eq!(device.submit(&front.transfers)?, front.transfers.len());
        drop(device);
        let told = counter.take()?;
        // Comes behind whatever the card was still doing.
        context.open()?.file().read_exact_at(&mut [0; 8], 0)?;
        check_eq!(counter.take()?, 0, "of a file that is closed");
        check_eq!(event(&set, Duration::ZERO)?, None);
        Ok(told < wide(front.transfers.len()))
    })
}

pub(super) fn full(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let counter = Counter::new()?;
    // As much as a program can add; the kernel may add one more.
    counter.add(u64::MAX - 1)?;
    device.tell(counter.number(), None)?;
    for round in 0..2 {
        send(&device, 0, 3)?;
        let records = device.collect(3)?;
        check!(records.iter().all(|record| record.result == 0));
        let events = ready(&counter, PollFlags::IN, Duration::ZERO)?;
        check!(events.contains(PollFlags::IN), "round {round}: {events:?}");
    }
    let count = counter.take()?;
    check!(count >= u64::MAX - 1, "{count:#x}: it went over");
    // And it counts again.
    send(&device, 0, 2)?;
    device.collect(2)?;
    check_eq!(counter.take()?, 2);
    device.check_idle()
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Sleepers of every kind when the card goes.

use std::time::Duration;

use nix::errno::Errno;
use rustix::event::{epoll, PollFlags, Timespec};

use super::{check_works, cycles, unbind};
use crate::child::{spawn, Child, Gate};
use crate::device::{tagged, to_card, Device, COHERENT};
use crate::guest::Card;
use crate::memory::{Mapping, PAGE};
use crate::outcome::Outcome;
use crate::poll::{after, ready, LONG};
use crate::raw::{self, size, wide};
use crate::registry::Context;

/// Keeps the card busy for seconds: so many tagged transfers.
fn keep_busy(device: &Device, count: usize) -> Outcome {
    let buffer = device.alloc(COHERENT, PAGE)?;
    let transfers: Vec<_> = (0..count)
        .map(|number| tagged(to_card(buffer.handle, 0, 8, 0), wide(number)))
        .collect();
    check_eq!(device.submit(&transfers)?, count);
    Ok(())
}

/// Runs sleepers in children, unbinds when they are asleep, and requires them
/// to end well. Then binds.
fn wake(card: &Card, sleepers: impl FnOnce() -> Outcome<Vec<(Child, Vec<i64>)>>) -> Outcome<Card> {
    // Another file's work keeps the card from serving the sleepers.
    let busy = Device::open(&card.path)?;
    keep_busy(&busy, 100)?;
    let children = sleepers()?;
    for (child, calls) in &children {
        child.sleeps_in(calls)?;
    }
    unbind(card)?;
    for (child, _) in children {
        child.join(LONG)?;
    }
    drop(busy);
    let card = card.bind()?;
    check_works(&card)?;
    Ok(card)
}

pub(super) fn reader(context: &mut Context) -> Outcome {
    let mut card = context.card().clone();
    for _ in 0..cycles(context) {
        card = wake(&card, || {
            let mut children = Vec::new();
            for call in [libc::SYS_pread64, libc::SYS_pwrite64] {
                let child = spawn(|| {
                    let device = Device::open(&card.path)?;
                    let memory = Mapping::anonymous(PAGE)?;
                    // One that was served before unbind came sleeps in the next.
                    let result = loop {
                        // SAFETY: the memory is for it.
                        let result =
                            unsafe { raw::transfer(call, &device, memory.address(), PAGE, 0) };
                        if result.is_err() {
                            break result;
                        }
                    };
                    check_err!(result, ENODEV, "asleep in call {call}");
                    // SAFETY: as above.
                    let result = unsafe { raw::transfer(call, &device, memory.address(), 8, 0) };
                    check_err!(result, ENODEV, "the next call {call}");
                    Ok(())
                })?;
                children.push((child, vec![call]));
            }
            Ok(children)
        })?;
    }
    Ok(())
}

pub(super) fn waiter(context: &mut Context) -> Outcome {
    let mut card = context.card().clone();
    for _ in 0..cycles(context) {
        card = wake(&card, || {
            let mut children = Vec::new();
            for deadline in [u64::MAX, after(3 * LONG)] {
                let child = spawn(|| {
                    let device = Device::open(&card.path)?;
                    keep_busy(&device, 50)?;
                    // All of them come, those that never ran with ENODEV.
                    let records = device.wait(50, 50, deadline)?;
                    check_eq!(records.len(), 50);
                    let mut failed = 0;
                    for (number, record) in (0..).zip(&records) {
                        check_eq!(record.user_data, number);
                        check!(record.result == 0 || record.result == -libc::ENODEV);
                        check!(record.result == 0 || record.bytes < 8);
                        failed += u32::from(record.result != 0);
                        // In order: none succeeds behind one that did not.
                        check!(failed == 0 || record.result != 0);
                    }
                    check!(failed > 0, "all transfers ended before unbind");
                    check_err!(device.wait(1, 1, u64::MAX), ENODEV);
                    Ok(())
                })?;
                children.push((child, vec![libc::SYS_ioctl]));
            }
            Ok(children)
        })?;
    }
    Ok(())
}

pub(super) fn poller(context: &mut Context) -> Outcome {
    let mut card = context.card().clone();
    for _ in 0..cycles(context) {
        card = wake(&card, || {
            let mut children = Vec::new();
            children.push((
                spawn(|| {
                    let device = Device::open(&card.path)?;
                    // Asks for nothing: hang-up is told all the same.
                    let events = ready(&device, PollFlags::empty(), LONG)?;
                    check_eq!(events, PollFlags::HUP | PollFlags::ERR);
                    let events = ready(&device, PollFlags::IN, Duration::ZERO)?;
                    check_eq!(events, PollFlags::HUP | PollFlags::ERR);
                    Ok(())
                })?,
                vec![libc::SYS_ppoll, libc::SYS_poll],
            ));
            children.push((
                spawn(|| {
                    let device = Device::open(&card.path)?;
                    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
                    let data = epoll::EventData::new_u64(1);
                    epoll::add(&set, &device, data, epoll::EventFlags::IN)?;
                    let mut events: Vec<epoll::Event> = Vec::with_capacity(1);
                    let limit = Timespec::try_from(LONG)?;
                    let room = rustix::buffer::spare_capacity(&mut events);
                    epoll::wait(&set, room, Some(&limit))?;
                    check_eq!(events.len(), 1);
                    let flags = events[0].flags;
                    let want = epoll::EventFlags::HUP | epoll::EventFlags::ERR;
                    check_eq!(flags, want);
                    Ok(())
                })?,
                vec![
                    libc::SYS_epoll_wait,
                    libc::SYS_epoll_pwait,
                    libc::SYS_epoll_pwait2,
                ],
            ));
            Ok(children)
        })?;
    }
    Ok(())
}

pub(super) fn submitter(context: &mut Context) -> Outcome {
    let mut card = context.card().clone();
    for _ in 0..cycles(context) {
        card = wake(&card, || {
            let full = Gate::new()?;
            let child = spawn(|| {
                let device = Device::open(&card.path)?;
                let depth = size(device.info()?.out_depth.into());
                keep_busy(&device, depth)?;
                let buffer = device.alloc(COHERENT, PAGE)?;
                full.open()?;
                check_err!(device.submit(&[to_card(buffer.handle, 0, 8, 0)]), ENODEV);
                // The others are still there to be collected.
                let mut left = depth;
                while left > 0 {
                    left -= device.wait(1, 64, 0)?.len();
                }
                check_err!(device.wait(1, 1, 0), ENODEV);
                Ok(())
            })?;
            full.pass()?;
            Ok(vec![(child, vec![libc::SYS_ioctl])])
        })?;
    }
    Ok(())
}

/// Each transfer that was accepted gives one record, whenever the card goes.
pub(super) fn in_flight(context: &mut Context) -> Outcome {
    let mut card = context.card().clone();
    for round in 0..cycles(context) {
        let files = [Device::open(&card.path)?, Device::open(&card.path)?];
        for device in &files {
            keep_busy(device, 20)?;
        }
        // Before the first has ended, and in the middle.
        let early = files[0].wait(0, 1, 0)?.len();
        let before = if round % 2 == 0 {
            early
        } else {
            early + files[0].wait(1, 1, u64::MAX)?.len()
        };
        unbind(&card)?;
        for (number, device) in files.iter().enumerate() {
            let had = if number == 0 { before } else { 0 };
            let mut tags = Vec::new();
            // All have ended: nothing is waited for.
            loop {
                match device.wait(1, 7, 0) {
                    Ok(records) => {
                        check!(
                            !records.is_empty(),
                            "success and no record, with the card gone"
                        );
                        for record in records {
                            check!(matches!(record.result, 0 | -19), "{record:?}");
                            check!(record.submit_ns <= record.end_ns, "{record:?}");
                            tags.push(record.user_data);
                        }
                    }
                    Err(Errno::ENODEV) => break,
                    Err(error) => fail!("{error:?}"),
                }
            }
            check_eq!(tags, (wide(had)..20).collect::<Vec<_>>());
        }
        drop(files);
        card = card.bind()?;
        check_works(&card)?;
    }
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! WAIT and poll.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFlags, Timespec};

use crate::child::{sleeps_in, spawn, Gate};
use crate::device::{tagged, to_card, Device, COHERENT};
use crate::memory::PAGE;
use crate::outcome::Outcome;
use crate::poll::{after, now, ready, until, while_card_is_busy, LONG};
use crate::raw::wide;
use crate::registry::Context;
use crate::signals::catch;

/// Submits so many short transfers, tagged from 0.
pub(super) fn send(device: &Device, count: usize) -> Outcome {
    let buffer = device.alloc(COHERENT, PAGE)?;
    let transfers: Vec<_> = (0..count)
        .map(|number| tagged(to_card(buffer.handle, 0, 8, 0), wide(number)))
        .collect();
    check_eq!(device.submit(&transfers)?, count);
    device.free(buffer.handle)?;
    Ok(())
}

pub(super) fn counts(context: &mut Context) -> Outcome {
    let device = context.open()?;
    // Nothing outstanding: success at once, whatever is asked for.
    for (min, deadline) in [(0, 0), (1, 0), (5, u64::MAX), (5, 1), (1, after(LONG))] {
        check_eq!(device.wait(min, 8, deadline)?.len(), 0);
    }
    while_card_is_busy(|| {
        let device = context.open()?;
        send(&device, 5)?;
        // min 0 takes what is there, which is not yet anything.
        check_eq!(device.wait(0, 8, 0)?.len(), 0);
        check_eq!(device.wait(0, 8, u64::MAX)?.len(), 0);
        check_err!(device.wait(1, 8, 0), ETIMEDOUT, "none is there");
        Ok(())
    })?;
    send(&device, 5)?;
    // At least min, at most max.
    let first = device.wait(2, 2, u64::MAX)?;
    check_eq!(
        first.iter().map(|r| r.user_data).collect::<Vec<_>>(),
        vec![0, 1]
    );
    // min is cut to what is outstanding.
    let rest = device.wait(8, 8, u64::MAX)?;
    check_eq!(
        rest.iter().map(|r| r.user_data).collect::<Vec<_>>(),
        vec![2, 3, 4]
    );
    check_eq!(device.wait(8, 8, u64::MAX)?.len(), 0);
    // More have ended than there is room for.
    send(&device, 3)?;
    let last = device.wait(1, 1, u64::MAX)?;
    check_eq!(last[0].user_data, 0);
    until("a record", || {
        Ok(ready(&device, PollFlags::IN, LONG)?.contains(PollFlags::IN))
    })?;
    check_eq!(device.wait(1, 1, u64::MAX)?[0].user_data, 1);
    check_eq!(device.wait(1, 1, u64::MAX)?[0].user_data, 2);
    device.check_idle()
}

pub(super) fn deadline(context: &mut Context) -> Outcome {
    const COUNT: usize = 60;
    let device = context.open()?;
    while_card_is_busy(|| {
        let device = context.open()?;
        send(&device, 4)?;
        // Deadlines that have passed.
        check_err!(device.wait(1, 4, 1), ETIMEDOUT, "a deadline long ago");
        check_err!(device.wait(1, 4, now()), ETIMEDOUT, "a deadline just now");
        // One that passes while the card is busy with the first.
        let deadline = after(Duration::from_millis(10));
        check_err!(device.wait(1, 4, deadline), ETIMEDOUT, "a deadline soon");
        check!(now() >= deadline, "too early");
        Ok(())
    })?;
    // One that passes while it is busy with some of them: success with those.
    send(&device, COUNT)?;
    let deadline = after(Duration::from_millis(350));
    let most = u32::try_from(COUNT)?;
    let some = device.wait(most, most, deadline)?;
    check!(now() >= deadline, "too early with {} records", some.len());
    check!((1..COUNT).contains(&some.len()), "{} records", some.len());
    // Nothing was lost on the way.
    let next = device.wait(2, 2, u64::MAX)?;
    for (number, record) in (0..).zip(some.iter().chain(&next)) {
        check_eq!(record.user_data, number);
    }
    Ok(())
}

pub(super) fn nonblock(context: &mut Context) -> Outcome {
    let device = Device::open_with(&context.card().path, libc::O_RDWR | libc::O_NONBLOCK)?;
    check_eq!(device.wait(1, 4, u64::MAX)?.len(), 0);
    while_card_is_busy(|| {
        let device = Device::open_with(&context.card().path, libc::O_RDWR | libc::O_NONBLOCK)?;
        send(&device, 2)?;
        check_err!(device.wait(2, 4, u64::MAX), EAGAIN, "nothing has ended");
        check_eq!(device.wait(0, 4, u64::MAX)?.len(), 0);
        Ok(())
    })?;
    send(&device, 2)?;
    check_eq!(ready(&device, PollFlags::IN, LONG)?, PollFlags::IN);
    // One is there, two are asked for: it would sleep, but has something to give.
    let first = device.wait(2, 4, u64::MAX)?;
    check!((1..=2).contains(&first.len()));
    if first.len() == 1 {
        check_eq!(ready(&device, PollFlags::IN, LONG)?, PollFlags::IN);
        check_eq!(device.wait(1, 4, 0)?.len(), 1);
    }
    check_eq!(device.wait(1, 4, u64::MAX)?.len(), 0);
    Ok(())
}

pub(super) fn signal(context: &mut Context) -> Outcome {
    const COUNT: usize = 100;
    let path = context.card().path.clone();
    let begun = Gate::new()?;
    let child = spawn(|| {
        catch(Signal::SIGUSR1)?;
        let device = Device::open(&path)?;
        send(&device, COUNT)?;
        begun.open()?;
        // All of them take seconds; with a deadline, and for ever.
        let (most, mut got) = (u32::try_from(COUNT)?, Vec::new());
        for deadline in [u64::MAX, after(LONG)] {
            match device.wait(most, most, deadline) {
                // EINTR only with nothing to give; else success with what there was.
                Err(Errno::EINTR) => {}
                Ok(records) if got.len() + records.len() < COUNT => got.extend(records),
                other => fail!("{other:?}"),
            }
            begun.open()?;
        }
        got.extend(device.wait(4, 4, u64::MAX)?);
        for (number, record) in (0..).zip(&got) {
            check_eq!(record.user_data, number);
        }
        Ok(())
    })?;
    for _ in 0..2 {
        begun.pass()?;
        child.sleeps_in(&[libc::SYS_ioctl])?;
        child.signal(Signal::SIGUSR1)?;
    }
    begun.pass()?;
    child.join(LONG)
}

pub(super) fn two_waiters(context: &mut Context) -> Outcome {
    let device = context.open()?;
    send(&device, 12)?;
    let waiter = || -> Outcome<Vec<u64>> {
        let mut mine = Vec::new();
        loop {
            let records = device.wait(1, 1, after(LONG))?;
            if records.is_empty() {
                return Ok(mine);
            }
            mine.extend(records.iter().map(|record| record.user_data));
        }
    };
    let (mut mine, theirs) = std::thread::scope(|scope| -> Outcome<_> {
        let other = scope.spawn(waiter);
        let mine = waiter()?;
        match other.join() {
            Ok(theirs) => Ok((mine, theirs?)),
            Err(_) => fail!("the other thread panicked"),
        }
    })?;
    println!("{} and {} records", mine.len(), theirs.len());
    mine.extend(theirs);
    mine.sort_unstable();
    check_eq!(mine, (0..12).collect::<Vec<_>>());
    device.check_idle()
}

pub(super) fn poll(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let all = PollFlags::IN | PollFlags::OUT | PollFlags::PRI;
    let at_once = |events| ready(&device, events, Duration::ZERO);
    check_eq!(at_once(all)?, PollFlags::OUT);
    check_eq!(at_once(PollFlags::IN)?, PollFlags::empty());
    while_card_is_busy(|| {
        let device = context.open()?;
        send(&device, 1)?;
        let events = ready(&device, all, Duration::ZERO)?;
        check_eq!(events, PollFlags::OUT, "nothing has ended");
        Ok(())
    })?;
    send(&device, 2)?;
    // A sleeper is woken.
    check_eq!(ready(&device, PollFlags::IN, LONG)?, PollFlags::IN);
    check_eq!(at_once(all)?, PollFlags::IN | PollFlags::OUT);
    check_eq!(device.wait(1, 1, 0)?.len(), 1);
    check_eq!(ready(&device, PollFlags::IN, LONG)?, PollFlags::IN);
    check_eq!(device.wait(1, 1, 0)?.len(), 1);
    check_eq!(at_once(all)?, PollFlags::OUT);
    Ok(())
}

/// Waits for one event; its flags.
fn event(set: &std::os::fd::OwnedFd, limit: Duration) -> Outcome<Option<EventFlags>> {
    let limit = Timespec::try_from(limit)?;
    let mut events = Vec::with_capacity(4);
    epoll::wait(
        set,
        rustix::buffer::spare_capacity(&mut events),
        Some(&limit),
    )?;
    Ok(events.first().map(|event: &epoll::Event| event.flags))
}

pub(super) fn epoll(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let set = epoll::create(CreateFlags::CLOEXEC)?;
    let data = EventData::new_u64(1);
    // Level triggered, and the set in a set.
    let outer = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&outer, &set, data, EventFlags::IN)?;
    epoll::add(&set, &device, data, EventFlags::IN)?;
    check_eq!(event(&outer, Duration::ZERO)?, None);
    send(&device, 1)?;
    check_eq!(event(&outer, LONG)?, Some(EventFlags::IN));
    check_eq!(event(&set, LONG)?, Some(EventFlags::IN));
    check_eq!(
        event(&set, Duration::ZERO)?,
        Some(EventFlags::IN),
        "level: still there"
    );
    device.collect(1)?;
    check_eq!(event(&set, Duration::ZERO)?, None);
    // Edge triggered: once for each new record.
    epoll::modify(&set, &device, data, EventFlags::IN | EventFlags::ET)?;
    for round in 0..3 {
        send(&device, 1)?;
        check_eq!(event(&set, LONG)?, Some(EventFlags::IN), "round {round}");
        check_eq!(event(&set, Duration::ZERO)?, None, "edge: told once");
        device.collect(1)?;
    }
    // Closed while in the set.
    epoll::delete(&outer, &set)?;
    drop(device);
    check_eq!(event(&set, Duration::ZERO)?, None);
    Ok(())
}

/// close() of the number while a thread sleeps in WAIT: the call that is under
/// way keeps the file and ends as if nothing had happened.
pub(super) fn closed_meanwhile(context: &mut Context) -> Outcome {
    // Closed by hand below, and once only.
    let device = ManuallyDrop::new(context.open()?);
    send(&device, 20)?;
    let thread = AtomicI32::new(0);
    let records = std::thread::scope(|scope| -> Outcome<_> {
        let waiter = scope.spawn(|| {
            thread.store(nix::unistd::gettid().as_raw(), Ordering::Release);
            device.wait(20, 20, u64::MAX)
        });
        until("the thread's number", || {
            Ok(thread.load(Ordering::Acquire) != 0)
        })?;
        let own = nix::unistd::getpid().as_raw();
        let asleep = sleeps_in(own, thread.load(Ordering::Acquire), &[libc::SYS_ioctl]);
        nix::unistd::close(device.as_fd().as_raw_fd())?;
        asleep?;
        match waiter.join() {
            Ok(records) => Ok(records?),
            Err(_) => fail!("the thread panicked"),
        }
    })?;
    check_eq!(records.len(), 20);
    check!(records.iter().all(|record| record.result == 0));
    Ok(())
}

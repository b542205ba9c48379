// SPDX-License-Identifier: GPL-2.0 OR MIT
//! read and write that wait for the card: signals, O_NONBLOCK, threads, poll.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use rustix::event::PollFlags;

use crate::child::{spawn, Child, Gate};
use crate::device::{from_card, Device, COHERENT};
use crate::memory::{Mapping, PAGE};
use crate::outcome::{all_bytes, same_bytes, Outcome, Stop};
use crate::poll::{ready, LONG};
use crate::raw::size;
use crate::registry::Context;
use crate::requests::{contents, pread, pwrite, set_contents};
use crate::signals::catch;

/// Transfers that keep the card busy for a while, and a file that has them.
struct Busy {
    device: Device,
    count: usize,
}

impl Busy {
    /// Ten seconds of work; what has not begun goes when the file is closed.
    fn new(context: &Context) -> Outcome<Self> {
        let device = context.open()?;
        let buffer = device.alloc(COHERENT, PAGE)?;
        let transfers = [from_card(buffer.handle, 0, PAGE, 0); 100];
        let count = device.submit(&transfers)?;
        check_eq!(count, transfers.len());
        Ok(Self { device, count })
    }

    /// How many have not ended. Takes the records of those that have.
    fn left(&mut self) -> Outcome<usize> {
        self.count -= self.device.wait(0, 64, 0)?.len();
        Ok(self.count)
    }
}

pub(super) fn nonblock(context: &mut Context) -> Outcome {
    let device = Device::open_with(&context.card().path, libc::O_RDWR | libc::O_NONBLOCK)?;
    let bytes = context.bytes(size(device.info()?.out_card_size));
    set_contents(&device, &bytes)?;
    same_bytes(&contents(&device)?, &bytes, "with O_NONBLOCK")?;
    // Behind another file's work it waits its turn like any other.
    let mut busy = Busy::new(context)?;
    same_bytes(
        &contents(&device)?,
        &bytes,
        "with O_NONBLOCK, on a busy card",
    )?;
    check!(busy.left()? > 0);
    Ok(())
}

/// What a child says when the card was done with its request before a signal.
const TOO_LATE: &str = "the signal came too late";

/// A child that reads or writes, catches SIGUSR1, and reports what it got.
fn sleeper(context: &Context, write: bool, opened: &Gate, left: &Gate) -> Outcome<Child> {
    let path = context.card().path.clone();
    Ok(spawn(|| {
        catch(Signal::SIGUSR1)?;
        let device = Device::open(&path)?;
        let memory = Mapping::anonymous(2 * PAGE)?;
        memory.fill(0..2 * PAGE, 0x4e);
        opened.open()?;
        // Not the whole card, so that what it should not touch is seen.
        let result = match write {
            true => pwrite(&device, memory.address(), 1024, 0),
            false => pread(&device, memory.address(), 1024, 0),
        };
        left.open()?;
        match result {
            Err(Errno::EINTR) => {
                if !write {
                    all_bytes(
                        &memory.read(0, 2 * PAGE),
                        0x4e,
                        "memory of a read that failed",
                    )?;
                }
            }
            // A short count says how far it came.
            Ok(done) if done < 1024 => {
                all_bytes(&memory.read(done, PAGE), 0x4e, "behind a short count")?;
            }
            Ok(1024) => skip!("{TOO_LATE}"),
            other => fail!("{other:?}, want EINTR or a short count"),
        }
        // The same file goes on working at once.
        check_eq!(pread(&device, memory.address(), 256, 2048), Ok(256));
        Ok(())
    })?)
}

/// One request, and a signal that finds the caller asleep; it must return while
/// the card is still busy. Says whether the signal came in time: the request has
/// its turn after a tenth of a second or two, and the machine may be slow.
fn interrupt(context: &Context, write: bool) -> Outcome<bool> {
    let (opened, left) = (Gate::new()?, Gate::new()?);
    let mut busy = Busy::new(context)?;
    let child = sleeper(context, write, &opened, &left)?;
    opened.pass()?;
    let call = if write {
        libc::SYS_pwrite64
    } else {
        libc::SYS_pread64
    };
    let asleep = child.sleeps_in(&[call]);
    if asleep.is_ok() {
        child.signal(Signal::SIGUSR1)?;
        // It leaves the call at once, and not only when the card is idle.
        left.pass()?;
        check!(
            busy.left()? > 0,
            "the call returned only when the card was idle"
        );
    }
    match child.join(LONG) {
        Err(Stop::Skip(_)) => Ok(false),
        ended => ended.and(asleep).map(|_| true),
    }
}

/// Signals wake who waits for the card.
fn interrupted(context: &mut Context, write: bool) -> Outcome {
    let before = context.bytes(size(context.open()?.info()?.out_card_size));
    set_contents(&context.open()?, &before)?;
    for _ in 0..context.times(2) {
        let mut tries = 0;
        while !interrupt(context, write)? {
            tries += 1;
            check!(tries < 20, "{TOO_LATE}, {tries} times");
        }
    }
    // What was taken back or still went through is 0x4e, everything else as before.
    let now = contents(&context.open()?)?;
    same_bytes(
        &now[1024..],
        &before[1024..],
        "the card beside what was written",
    )?;
    if write {
        let untouched = now[..1024] == before[..1024];
        check!(
            untouched || now[..1024].iter().all(|byte| *byte == 0x4e),
            "half a write"
        );
        Ok(())
    } else {
        same_bytes(&now[..1024], &before[..1024], "the card after a read")
    }
}

pub(super) fn signal(context: &mut Context) -> Outcome {
    interrupted(context, false)?;
    // And by a timer, in the middle of the card's own 100 ms, with nobody else on the card: the
    // time until then is a guess, so only what must hold whenever it comes is checked.
    let device = context.open()?;
    let before = contents(&device)?;
    let memory = Mapping::anonymous(2 * PAGE)?;
    catch(Signal::SIGALRM)?;
    for milliseconds in [1_u16, 20, 60, 90] {
        memory.fill(0..2 * PAGE, 0x4e);
        let timer = crate::raw::alarm_after(milliseconds);
        let result = pread(&device, memory.address(), PAGE, 0);
        drop(timer);
        match result {
            Err(Errno::EINTR) => all_bytes(&memory.read(0, PAGE), 0x4e, "memory after EINTR")?,
            Ok(done) => {
                same_bytes(&memory.read(0, done), &before[..done], "what was read")?;
                all_bytes(&memory.read(done, PAGE), 0x4e, "behind the count")?;
            }
            other => fail!("{other:?}"),
        }
    }
    same_bytes(&contents(&device)?, &before, "the card after signals")
}

pub(super) fn signal_write(context: &mut Context) -> Outcome {
    interrupted(context, true)
}

pub(super) fn threads(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let bytes = context.bytes(size(device.info()?.out_card_size));
    set_contents(&device, &bytes)?;
    let rounds = context.times(4);
    let check = |first: usize| -> Outcome {
        let memory = Mapping::anonymous(PAGE)?;
        for round in 0..size(rounds.into()) {
            let place = (first + 97 * round) % 2048;
            let got = pread(&device, memory.address(), 1500, i64::try_from(place)?);
            check_eq!(got, Ok(1500));
            same_bytes(
                &memory.read(0, 1500),
                &bytes[place..place + 1500],
                "a thread's read",
            )?;
        }
        Ok(())
    };
    std::thread::scope(|scope| -> Outcome {
        let other = scope.spawn(|| check(1000));
        check(3)?;
        match other.join() {
            Ok(outcome) => outcome,
            Err(_) => fail!("the other thread panicked"),
        }
    })
}

/// poll and WAIT are about SUBMIT only.
pub(super) fn no_records(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = device.info()?;
    let (opened, done) = (Gate::new()?, Gate::new()?);
    std::thread::scope(|scope| -> Outcome {
        let reader = scope.spawn(|| -> Outcome {
            opened.open()?;
            for _ in 0..3 {
                contents(&device)?;
            }
            set_contents(&device, &vec![0; size(before.out_card_size)])?;
            done.open()
        });
        opened.pass()?;
        // As long as the other thread reads, no record is ever announced.
        while !done.is_open()? {
            let events = ready(&device, PollFlags::IN, Duration::from_millis(20))?;
            check_eq!(events, PollFlags::empty());
            let all = PollFlags::IN | PollFlags::OUT;
            check_eq!(ready(&device, all, Duration::ZERO)?, PollFlags::OUT);
            check_eq!(device.wait(1, 1, crate::poll::after(LONG))?.len(), 0);
        }
        match reader.join() {
            Ok(outcome) => outcome,
            Err(_) => fail!("the other thread panicked"),
        }
    })?;
    check_eq!(device.wait(0, 1, 0)?.len(), 0);
    // They take no place of SUBMIT's either.
    let buffer = device.alloc(COHERENT, PAGE)?;
    device.run_well(&[from_card(buffer.handle, 0, 8, 0)])
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! BUF_REGISTER takes long, or for ever: whoever calls it can be interrupted,
//! and nobody else waits.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::register;
use crate::account::{pins, Account};
use crate::child::{spawn, Exit, Gate};
use crate::device::{from_card, Device, COHERENT};
use crate::guest;
use crate::memory::{Mapping, PAGE};
use crate::outcome::Outcome;
use crate::poll::{until, LONG};
use crate::raw::{self, size, Sys};
use crate::registry::Context;
use crate::signals::catch;
use crate::stalled::Page;

/// Memory that takes a while to bring in and pin: a third of what is free.
fn much() -> Outcome<Mapping> {
    let free = size(guest::meminfo("MemAvailable")? << 10);
    let length = (free / 3).min(512 << 20) / PAGE * PAGE;
    let memory = Mapping::anonymous(length)?;
    // Page by page, so that there is much to do.
    crate::kinds::no_huge_pages(&memory)?;
    Ok(memory)
}

/// A timer ends it in the middle. The call must not go on for long afterwards.
pub(super) fn signal(context: &mut Context) -> Outcome {
    const LATE: Duration = Duration::from_secs(2);
    catch(Signal::SIGALRM)?;
    let device = context.open()?;
    let before = Account::now()?;
    let mut interrupted = 0;
    for milliseconds in [1_u16, 5, 20, 60] {
        let memory = much()?;
        let begin = Instant::now();
        let timer = raw::alarms_after(milliseconds, 100);
        let result = register(&device, &memory, 0, memory.length(), 0);
        let time = begin.elapsed();
        drop(timer);
        println!("{milliseconds} ms: {:?} after {time:?}", result.map(drop));
        match result {
            Err(Errno::EINTR) => {
                interrupted += 1;
                check!(time < LATE + Duration::from_millis(milliseconds.into()));
            }
            // It was quicker than the timer.
            Ok(registered) => {
                check!(
                    time < LATE,
                    "the signal came in the middle and was not noticed"
                );
                device.free(registered.handle)?;
            }
            Err(error) => fail!("{error:?}"),
        }
        drop(memory);
        before.settle()?;
    }
    check!(interrupted > 0, "it was always quicker than the timer");
    Ok(())
}

/// What must work while somebody's registration waits for a page.
fn goes_on(context: &Context, other: &Device) -> Outcome {
    // The same process: new mappings, page faults, other ioctls.
    let memory = Mapping::anonymous(1 << 20)?;
    memory.fill(0..1 << 20, 1);
    drop(memory);
    // Another file: its transfers, its buffers, its registrations.
    let begin = Instant::now();
    let buffer = other.alloc(COHERENT, PAGE)?;
    other.run_well(&[from_card(buffer.handle, 0, 64, 0)])?;
    let memory = Mapping::anonymous(4 * PAGE)?;
    let registered = register(other, &memory, 0, 4 * PAGE, 0)?;
    other.run_well(&[from_card(registered.handle, 0, 64, 0)])?;
    other.free(registered.handle)?;
    other.free(buffer.handle)?;
    println!("two transfers of another file took {:?}", begin.elapsed());
    // Opening and closing.
    drop(context.open()?);
    Ok(())
}

pub(super) fn stalled(context: &mut Context) -> Outcome {
    const PAGES: usize = 600;
    catch(Signal::SIGUSR1)?;
    let (device, other) = (context.open()?, context.open()?);
    // The first page, one in the middle, and the last.
    for number in [0, 300, PAGES - 1] {
        let page = Page::among(PAGES, number)?;
        let before = Account::now()?;
        let thread = AtomicI32::new(0);
        let attempt = || -> Sys<_> {
            thread.store(nix::unistd::gettid().as_raw(), Ordering::Release);
            register(&device, page.memory(), 1, PAGES * PAGE - 2, 0)
        };
        std::thread::scope(|scope| -> Outcome {
            let caller = scope.spawn(attempt);
            let outcome = page.wait().and_then(|()| goes_on(context, &other));
            raw::signal_thread(thread.load(Ordering::Acquire), libc::SIGUSR1)?;
            let Ok(result) = caller.join() else {
                fail!("the caller panicked");
            };
            outcome?;
            check_err!(result, EINTR, "a signal, page {number}");
            Ok(())
        })?;
        before.settle()?;
        // Once more, and the page comes.
        let registered = std::thread::scope(|scope| -> Outcome<_> {
            let caller = scope.spawn(attempt);
            let outcome = page.wait();
            page.fill()?;
            let Ok(result) = caller.join() else {
                fail!("the caller panicked");
            };
            outcome?;
            Ok(result?)
        })?;
        check_eq!(registered.pinned, raw::wide(PAGES * PAGE));
        device.run_well(&[from_card(registered.handle, number * PAGE, 100, 0)])?;
        device.free(registered.handle)?;
        before.settle()?;
    }
    Ok(())
}

/// The end of a process that is in the middle of it: soon, and complete.
pub(super) fn killed(context: &mut Context) -> Outcome {
    let path = context.card().path.clone();
    let before = pins()?;
    for round in 0..context.times(3) {
        for stall in [true, false] {
            let begun = Gate::new()?;
            let mut child = spawn(|| {
                let device = Device::open(&path)?;
                if stall {
                    let page = Page::among(600, 300)?;
                    begun.open()?;
                    register(&device, page.memory(), 0, 600 * PAGE, 0)?;
                } else {
                    let memory = much()?;
                    begun.open()?;
                    loop {
                        let registered = register(&device, &memory, 0, memory.length(), 0)?;
                        device.free(registered.handle)?;
                        raw::madvise(memory.address(), memory.length(), libc::MADV_DONTNEED)?;
                    }
                }
                Ok(())
            })?;
            begun.pass()?;
            if stall {
                child.sleeps_in(&[libc::SYS_ioctl])?;
            } else {
                // Any moment is right, so this one need not be exact.
                std::thread::sleep(Duration::from_millis(u64::from(20 + 30 * (round % 5))));
            }
            let begin = Instant::now();
            child.signal(Signal::SIGKILL)?;
            check_eq!(child.wait_within(LONG)?, Exit::Signal(libc::SIGKILL));
            println!("gone {:?} after SIGKILL, stalled {stall}", begin.elapsed());
            until("all pages unpinned", || Ok(pins()? == before))?;
        }
    }
    Ok(())
}

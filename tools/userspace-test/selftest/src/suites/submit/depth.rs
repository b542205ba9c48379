// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Places between SUBMIT and WAIT: a file has as many as INFO says.

use nix::sys::signal::Signal;
use rustix::event::PollFlags;
use std::time::Duration;

use crate::child::{sleeps_in, spawn, Gate};
use crate::device::{tagged, to_card, Device, COHERENT};
use crate::memory::PAGE;
use crate::outcome::Outcome;
use crate::poll::{after, ready, LONG};
use crate::raw::{size, wide};
use crate::registry::Context;
use crate::signals::catch;
use userdma::sys;

/// As many transfers as there are places, and `more`.
fn fill(device: &Device, more: usize) -> Outcome<Vec<sys::userdma_transfer>> {
    let depth = size(device.info()?.out_depth.into());
    let buffer = device.alloc(COHERENT, PAGE)?;
    Ok((0..depth + more)
        .map(|number| tagged(to_card(buffer.handle, 0, 8, 0), wide(number)))
        .collect())
}

pub(super) fn full_nonblock(context: &mut Context) -> Outcome {
    let path = context.card().path.clone();
    let device = Device::open_with(&path, libc::O_RDWR | libc::O_NONBLOCK)?;
    let all = fill(&device, 72)?;
    let depth = all.len() - 72;
    check!(depth >= 2);
    // As many as there are places; the rest is not lost, it is not taken.
    check_eq!(device.submit(&all)?, depth);
    check_err!(device.submit(&all[depth..]), EAGAIN);
    check_eq!(
        ready(&device, PollFlags::OUT, Duration::ZERO)?,
        PollFlags::empty()
    );
    // A bad entry is told at once, not that there is no room for it.
    let mut bad = all[depth];
    bad.length = 0;
    check_err!(device.submit(&[bad]), EINVAL);
    // An ended transfer keeps its place until its record is collected.
    check_eq!(ready(&device, PollFlags::IN, LONG)?, PollFlags::IN);
    check_err!(device.submit(&all[depth..]), EAGAIN);
    let first = device.wait(1, 1, after(LONG))?;
    check_eq!(first[0].user_data, 0);
    check_eq!(
        ready(&device, PollFlags::OUT, Duration::ZERO)?,
        PollFlags::OUT
    );
    check_eq!(device.submit(&all[depth..])?, 1);
    check_err!(device.submit(&all[depth + 1..]), EAGAIN);
    // Another file has places of its own, and so has read().
    let other = Device::open_with(&path, libc::O_RDWR | libc::O_NONBLOCK)?;
    let theirs = other.alloc(COHERENT, PAGE)?;
    check_eq!(other.submit(&[to_card(theirs.handle, 0, 8, 0)])?, 1);
    check_eq!(ready(&other, PollFlags::IN, LONG)?, PollFlags::IN);
    // read() waits for its turn: it was accepted.
    let reader = spawn(|| fail!("a read came before a full queue: {:?}", read(&device)))?;
    reader.sleeps_in(&[libc::SYS_pread64])?;
    reader.kill()?;
    Ok(())
}

fn read(device: &Device) -> std::io::Result<usize> {
    use std::os::unix::fs::FileExt as _;
    device.file().read_at(&mut [0; 8], 0)
}

/// A thread fills the file and sleeps in SUBMIT; WAIT makes room.
pub(super) fn full_sleeps(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let all = fill(&device, 2)?;
    let depth = all.len() - 2;
    check_eq!(device.submit(&all[..depth])?, depth);
    let (thread, returned) = (std::sync::Mutex::new(0), Gate::new()?);
    std::thread::scope(|scope| -> Outcome {
        let (device, all) = (&device, &all);
        let (thread, returned) = (&thread, &returned);
        let submitter = scope.spawn(move || -> Outcome<usize> {
            if let Ok(mut tid) = thread.lock() {
                *tid = nix::unistd::gettid().as_raw();
            }
            let accepted = device.submit(&all[depth..depth + 1]);
            returned.open()?;
            Ok(accepted?)
        });
        let mut tid = 0;
        crate::poll::until("the thread's number", || {
            tid = thread.lock().map_or(-1, |tid| *tid);
            Ok(tid != 0)
        })?;
        let asleep = sleeps_in(nix::unistd::getpid().as_raw(), tid, &[libc::SYS_ioctl]);
        // Records that nobody has collected yet free no place.
        let kept = ready(device, PollFlags::IN, LONG);
        let early = returned.is_open();
        // Whatever was found, let the thread go.
        let records = device.wait(1, 1, after(LONG));
        let accepted = submitter.join();
        asleep?;
        check_eq!(kept?, PollFlags::IN);
        check!(!early?, "SUBMIT returned with no place free");
        check_eq!(records?.len(), 1);
        match accepted {
            Ok(accepted) => check_eq!(accepted?, 1),
            Err(_) => fail!("the thread panicked"),
        }
        Ok(())
    })
}

/// EINTR, and nothing was accepted.
pub(super) fn full_signal(context: &mut Context) -> Outcome {
    let path = context.card().path.clone();
    let begun = Gate::new()?;
    let child = spawn(|| {
        catch(Signal::SIGUSR1)?;
        let device = Device::open(&path)?;
        let all = fill(&device, 5)?;
        let depth = all.len() - 5;
        check_eq!(device.submit(&all[..depth - 3])?, depth - 3);
        // With some places free it takes what fits, and does not sleep for the rest.
        check_eq!(device.submit(&all[depth - 3..])?, 3);
        begun.open()?;
        check_err!(device.submit(&all[depth..]), EINTR);
        // What was accepted is outstanding, nothing else.
        check_eq!(device.wait(1, 1, after(LONG))?.len(), 1);
        check_eq!(device.submit(&all[depth..])?, 1);
        Ok(())
    })?;
    begun.pass()?;
    child.sleeps_in(&[libc::SYS_ioctl])?;
    child.signal(Signal::SIGUSR1)?;
    child.join(LONG)
}

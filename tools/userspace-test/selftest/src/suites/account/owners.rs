// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who registers, who frees, who ends.

use nix::sys::signal::Signal;

use crate::account::{locked, pins, Account};
use crate::child::{spawn, Exit, Gate};
use crate::device::{from_card, to_card, Device};
use crate::hugepool::Pool;
use crate::kinds::{memfd, Kind};
use crate::memory::{Mapping, PAGE, RW};
use crate::outcome::{same_bytes, Outcome};
use crate::passing::{receive, send, sockets};
use crate::poll::{until, LONG};
use crate::raw::wide;
use crate::registry::Context;

const LENGTH: usize = 5 * PAGE;

/// Registered memory of this process.
fn registered(device: &Device) -> Outcome<(Mapping, u32)> {
    let memory = Mapping::anonymous(LENGTH)?;
    let registered = device.register(memory.address(), LENGTH, 0)?;
    Ok((memory, registered.handle))
}

pub(super) fn fork(context: &mut Context) -> Outcome {
    let before = Account::now()?;
    // The child frees.
    let device = context.open()?;
    let (_memory, handle) = registered(&device)?;
    let now = before.with_locked(wide(LENGTH)).with_pins(wide(LENGTH));
    now.check()?;
    let child = spawn(|| {
        check_eq!(locked()?, 0, "VmLck of a child");
        device.run_well(&[from_card(handle, 0, 64, 0)])?;
        device.free(handle)?;
        check_eq!(locked()?, 0, "VmLck of a child");
        // What it registers itself is its own.
        let (_memory, _) = registered(&device)?;
        check_eq!(locked()?, wide(LENGTH));
        Ok(())
    })?;
    child.join(LONG)?;
    check_err!(device.buffer_info(handle), ENOENT);
    // The child's own registration is the file's, which we still have; its process is gone.
    before.with_pins(wide(LENGTH)).settle()?;
    drop(device);
    before.settle()?;

    // The child has the last descriptor, and closes it.
    let device = context.open()?;
    let (_memory, _) = registered(&device)?;
    let (go, gone) = (Gate::new()?, Gate::new()?);
    let child = spawn(|| {
        go.pass()?;
        gone.open()
    })?;
    drop(device);
    // Its descriptor is a copy of ours, and nothing was freed by our close.
    now.check()?;
    go.open()?;
    gone.pass()?;
    child.join(LONG)?;
    before.settle()
}

/// Memory in which processes tell each other a handle.
struct Note(Mapping);

impl Note {
    fn new() -> Outcome<Self> {
        Ok(Self(Mapping::of(&memfd(false, PAGE)?, 0, PAGE, RW)?))
    }

    fn write(&self, handle: u32) {
        self.0.write(0, &handle.to_ne_bytes());
    }

    fn read(&self) -> u32 {
        let bytes = self.0.read(0, 4);
        bytes.try_into().map_or(0, u32::from_ne_bytes)
    }
}

pub(super) fn orphan(context: &mut Context) -> Outcome {
    let path = context.card().path.clone();
    let before = pins()?;
    let (ours, theirs) = sockets()?;
    let bytes = context.bytes(64);
    let note = Note::new()?;
    let mut parent = spawn(|| {
        let device = Device::open(&path)?;
        let (memory, handle) = registered(&device)?;
        memory.write(0, &bytes);
        note.write(handle);
        send(&theirs, &device)
    })?;
    check_eq!(parent.wait()?, Exit::Code(0));
    let device = receive(&ours)?;
    // Nobody has the memory any more, and the card still reaches it.
    check_eq!(pins()?, before + wide(LENGTH / PAGE));
    device.run_well(&[to_card(note.read(), 0, 64, 0)])?;
    let mut got = [0; 64];
    std::os::unix::fs::FileExt::read_exact_at(device.file(), &mut got, 0)?;
    same_bytes(&got, &bytes, "memory of a process that has ended")?;
    let locked_here = locked()?;
    device.free(note.read())?;
    check_eq!(locked()?, locked_here, "who frees has nothing to give back");
    until("all pages unpinned", || Ok(pins()? == before))
}

pub(super) fn dup(context: &mut Context) -> Outcome {
    let before = Account::now()?;
    let device = context.open()?;
    let (_memory, handle) = registered(&device)?;
    let other = Device::from(rustix::io::dup(&device)?);
    let now = before.with_locked(wide(LENGTH)).with_pins(wide(LENGTH));
    now.check()?;
    drop(device);
    now.check()?;
    other.run_well(&[from_card(handle, 0, 64, 0)])?;
    drop(other);
    before.settle()
}

pub(super) fn passed(context: &mut Context) -> Outcome {
    let before = Account::now()?;
    let (ours, theirs) = sockets()?;
    let (closed, go) = (Gate::new()?, Gate::new()?);
    let note = Note::new()?;
    // It is there before the file is open, so it has not inherited it.
    let child = spawn(|| {
        let device = receive(&theirs)?;
        closed.pass()?;
        device.run_well(&[from_card(note.read(), 0, 64, 0)])?;
        drop(device);
        go.open()
    })?;
    let device = context.open()?;
    let (_memory, handle) = registered(&device)?;
    note.write(handle);
    let now = before.with_locked(wide(LENGTH)).with_pins(wide(LENGTH));
    send(&ours, &device)?;
    drop(device);
    now.check()?;
    closed.open()?;
    go.pass()?;
    // The other process has closed the last descriptor: the count is ours.
    before.settle()?;
    child.join(LONG)
}

pub(super) fn killed(context: &mut Context) -> Outcome {
    let path = context.card().path.clone();
    let before = pins()?;
    let pool = Pool::exactly(2)?;
    for round in 0..context.times(4) {
        for kind in [Kind::Anonymous, Kind::HugetlbAnonymous] {
            let begun = Gate::new()?;
            let mut child = spawn(|| {
                let device = Device::open(&path)?;
                let memory = kind.make(2 * kind.page())?;
                let all = device.register(memory.address(), memory.length(), 0)?;
                if round % 2 == 1 {
                    let read = from_card(all.handle, 0, PAGE, 0);
                    check_eq!(device.submit(&[read; 8])?, 8);
                    check_eq!(device.collect(1)?[0].result, 0);
                }
                begun.open()?;
                Gate::new()?.pass()
            })?;
            begun.pass()?;
            let status = Account::of(child.pid().as_raw())?;
            check_eq!(status.locked, wide(2 * kind.page()));
            check_eq!(status.pinned, 0);
            check!(status.pins > before);
            child.signal(Signal::SIGKILL)?;
            check_eq!(child.wait()?, Exit::Signal(libc::SIGKILL));
            until("all pages unpinned", || Ok(pins()? == before))?;
            pool.wait_free(2)?;
        }
    }
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From an interrupt to the program that waits for it, in all the ways that there
//! are to wait; and by VFIO and UIO, where there are cards for them.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::event::EventfdFlags;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use userdma::sys;

use super::uring;
use super::Bench;
use crate::counter::repeat_more;
use crate::guest;
use crate::report::Report;
use crate::tables::peer;
use crate::uio;
use crate::uio::Uio;
use crate::vfio::Vfio;

/// edu-daq: the register that raises its interrupts, one bit for each.
const RAISE: usize = 0x20;

/// So long the card works on a transfer, so that its interrupt finds the program asleep.
const WORK_MS: u32 = 5;

pub(super) fn run(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    bench.model.slow(super::CHANNEL.into(), WORK_MS)?;
    all(bench, report)?;
    bench.model.release()
}

fn all(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let mut add = |name: &'static str, all: Result<Vec<u64>>| -> Result<()> {
        let all = all.context(name)?;
        report.row("wake", name, [("instructions", all)]);
        Ok(())
    };
    let transfers = bench.transfers(1)?;
    let submit = || bench.submit(&transfers);
    let collect = |()| bench.wait(1).map(drop);

    let call = || {
        submit()?;
        bench.wait(1)
    };
    let way = || bench.keeper.wake(call, |_| Ok(()));
    add("WAIT", repeat_more(way))?;

    let call = || {
        submit()?;
        let mut fds = [PollFd::new(bench.card.file(), PollFlags::IN)];
        rustix::event::poll(&mut fds, None)?;
        let events = fds[0].revents();
        ensure!(events == PollFlags::IN, "poll gave {events:?}");
        Ok(())
    };
    let way = || bench.keeper.wake(call, collect);
    add("poll", repeat_more(way))?;

    let event = eventfd()?;
    for (name, flags) in [
        ("eventfd of completions", 0),
        ("eventfd of the vector", sys::USERDMA_EVENTFD_VECTOR),
    ] {
        tell(bench, flags, event.as_raw_fd())?;
        let call = || {
            submit()?;
            take(&event)
        };
        let way = || bench.keeper.wake(call, collect);
        add(name, repeat_more(way))?;
        tell(bench, flags, -1)?;
    }

    let mut ring = uring::ring(bench)?;
    let way = || {
        bench.keeper.wake(
            || {
                uring::put(bench, &mut ring, uring::File::Fixed, 1)?;
                ring.submit_and_wait(1)?;
                ensure!(ring.completion().count() == 1, "it did not end");
                Ok(())
            },
            |()| Ok(()),
        )
    };
    add("io_uring", repeat_more(way))?;
    if guest::cards(guest::EDU_DAQ)?.len() < 2 {
        return Ok(());
    }

    let name = peer(guest::EDU_DAQ)?;
    let vfio = Vfio::take(&name)?;
    let device = vfio.device(&name, &event)?;
    let call = || {
        bench.keeper.write(&device.registers, RAISE, 1);
        take(&event)
    };
    let way = || bench.keeper.wake(call, |()| Ok(()));
    add("VFIO, eventfd", repeat_more(way))?;
    drop((device, vfio));

    let uio = Uio::take(&peer(guest::EDU)?)?;
    let call = || {
        bench.keeper.write(&uio.registers, uio::RAISE, 1);
        uio.wait()
    };
    let ready = |()| {
        uio.acknowledge();
        uio.unmask()
    };
    let way = || bench.keeper.wake(call, ready);
    add("UIO, read", repeat_more(way))?;
    let way = || {
        call()?;
        uio.acknowledge();
        let (taken, result) = bench.counter.time_of(|| uio.unmask());
        result?;
        Ok(taken)
    };
    add("UIO, to unmask it again", repeat_more(way))
}

fn eventfd() -> Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?)
}

/// Sleeps until one was added to an eventfd.
fn take(event: &OwnedFd) -> Result<()> {
    let mut count = [0; 8];
    rustix::io::read(event, &mut count)?;
    let count = u64::from_ne_bytes(count);
    ensure!(count == 1, "the eventfd counted {count}");
    Ok(())
}

/// EVENTFD.
fn tell(bench: &Bench<'_>, flags: u32, fd: i32) -> Result<()> {
    let mut request = sys::userdma_eventfd {
        size: sys::size_of::<sys::userdma_eventfd>(),
        flags,
        fd,
        ..Default::default()
    };
    // SAFETY: it names no arrays.
    unsafe { bench.card.call(&mut request) }.context("EVENTFD")
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The commands that make and free buffers, and their mappings.

use std::cell::RefCell;

use nix::errno::Errno;
use rustix::pipe::{pipe_with, PipeFlags};
use userdma::sys;

use super::Case;
use crate::device::{Buffer, Device, COHERENT, HUGE};
use crate::hugepool::Pool;
use crate::kinds::{memfd, no_huge_pages, Kind};
use crate::memory::{Mapping, HUGE as HUGE_PAGE, PAGE};
use crate::outcome::Outcome;
use crate::raw;
use crate::registry::Context;

/// What a call with an argument, memory and tables may give.
const ALLOWED: &[Errno] = &[Errno::ENOMEM, Errno::EFAULT];

/// Room for a mapping far from all others.
const ROOM: usize = 64 << 20;

/// Calls, and frees what it gave.
fn made(
    context: &mut Context,
    device: &Device,
    what: &str,
    call: &mut dyn FnMut() -> raw::Sys<u32>,
) -> Outcome {
    let sites = Case {
        what,
        allowed: ALLOWED,
        stride: 1,
        prepare: &mut || Ok(()),
        call,
        after: &mut |handle| match handle {
            Some(handle) => Ok(device.free(handle)?),
            None => Ok(()),
        },
    }
    .sweep(context)?;
    check!(sites > 2, "{what}: only {sites} sites");
    // The free itself, of a buffer that is made before.
    let handle = RefCell::new(0);
    let call = RefCell::new(call);
    Case {
        what: &format!("BUF_FREE of {what}"),
        allowed: &[Errno::EFAULT],
        stride: 1,
        prepare: &mut || {
            *handle.borrow_mut() = (call.borrow_mut())()?;
            Ok(())
        },
        call: &mut || device.free(*handle.borrow()),
        after: &mut |freed| match freed {
            Some(()) => Ok(()),
            // It is still there, and can be freed.
            None => Ok(device.free(*handle.borrow())?),
        },
    }
    .sweep(context)?;
    Ok(())
}

pub(super) fn alloc(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for (what, kind, length, flags) in [
        ("coherent", COHERENT, 3 * PAGE, 0),
        ("huge", HUGE, 2 * HUGE_PAGE, 0),
        (
            "huge or smaller",
            HUGE,
            HUGE_PAGE,
            sys::USERDMA_ALLOC_FALLBACK,
        ),
    ] {
        made(context, &device, what, &mut || {
            let mut request = Device::request(kind, raw::wide(length), flags);
            device.alloc_with(&mut request).map(|buffer| buffer.handle)
        })?;
    }
    Ok(())
}

pub(super) fn register(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let _pool = Pool::of(4)?;
    let touched = Mapping::anonymous(40 * PAGE)?;
    no_huge_pages(&touched)?;
    touched.fill(0..touched.length(), 1);
    // More than is pinned at once.
    let large = Mapping::anonymous(1100 * PAGE)?;
    no_huge_pages(&large)?;
    large.fill(0..large.length(), 1);
    let huge = Kind::HugetlbAnonymous.make(2 * HUGE_PAGE)?;
    for (what, address, length) in [
        ("small pages", touched.address() + 9, 40 * PAGE - 20),
        ("many small pages", large.address() + 9, 1100 * PAGE - 20),
        ("huge pages", huge.address() + 9, 2 * HUGE_PAGE - 20),
    ] {
        made(context, &device, what, &mut || {
            device.register(address, length, 0).map(|all| all.handle)
        })?;
    }
    // Memory that has to be brought in first: new each time.
    let fresh = RefCell::new(Mapping::anonymous(20 * PAGE)?);
    Case {
        what: "pages that are not there yet",
        allowed: ALLOWED,
        stride: 1,
        prepare: &mut || {
            let new = Mapping::anonymous(20 * PAGE)?;
            no_huge_pages(&new)?;
            *fresh.borrow_mut() = new;
            Ok(())
        },
        call: &mut || device.register(fresh.borrow().address(), 20 * PAGE, 0),
        after: &mut |all| match all {
            Some(all) => Ok(device.free(all.handle)?),
            None => Ok(()),
        },
    }
    .sweep(context)?;
    for is_huge in [false, true] {
        let length = if is_huge { 2 * HUGE_PAGE } else { 30 * PAGE };
        let fd = memfd(is_huge, length)?;
        let what = if is_huge { "huge memfd" } else { "memfd" };
        made(context, &device, what, &mut || {
            let all = device.register_memfd(&fd, 0, length, 0)?;
            Ok(all.handle)
        })?;
    }
    Ok(())
}

pub(super) fn sync(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let memory = Mapping::anonymous(40 * PAGE)?;
    let all = device.register(memory.address(), 40 * PAGE, 0)?;
    let both = sys::USERDMA_SYNC_FOR_DEVICE | sys::USERDMA_SYNC_FOR_CPU;
    Case {
        what: "BUF_SYNC",
        allowed: &[Errno::EFAULT],
        stride: 1,
        prepare: &mut || Ok(()),
        call: &mut || device.sync(all.handle, 5, 39 * PAGE, both),
        after: &mut |_| Ok(()),
    }
    .sweep(context)?;
    Ok(())
}

pub(super) fn mmap(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for (name, kind, length) in [("coherent", COHERENT, 3 * PAGE), ("huge", HUGE, HUGE_PAGE)] {
        let buffer: Buffer = device.alloc(kind, length)?;
        Case {
            what: &format!("mmap of {name} memory"),
            allowed: &[Errno::ENOMEM],
            stride: 1,
            prepare: &mut || Ok(()),
            call: &mut || device.map(&buffer),
            after: &mut |_| Ok(()),
        }
        .sweep(context)?;
        // By the kernel: the program itself would be ended by a signal. Where nothing was ever
        // mapped, so that there is no page table yet.
        let (_reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let room = RefCell::new((Mapping::anonymous(PAGE)?, 0));
        let sites = Case {
            what: &format!("the first touch of {name} memory"),
            allowed: &[Errno::EFAULT],
            stride: 1,
            prepare: &mut || {
                let new = Mapping::anonymous_with(ROOM, libc::MAP_NORESERVE)?;
                let place = (new.address() + ROOM / 2).next_multiple_of(HUGE_PAGE) - new.address();
                new.cover_with(place..place + buffer.length, &device, buffer.cookie)?;
                *room.borrow_mut() = (new, place);
                Ok(())
            },
            call: &mut || {
                let (map, place) = &*room.borrow();
                let address = map.address() + place;
                // SAFETY: the kernel only reads it.
                unsafe { raw::transfer(libc::SYS_write, &writer, address, 1, 0) }
            },
            after: &mut |_| Ok(()),
        }
        .sweep(context)?;
        // A huge page needs no table, or one that the kernel makes without us.
        check!(sites > 0 || kind == HUGE, "{name}: no sites");
        drop(room);
        device.free(buffer.handle)?;
    }
    Ok(())
}

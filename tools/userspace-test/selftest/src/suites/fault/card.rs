// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Files and cards.

use std::time::Duration;

use nix::errno::Errno;
use rustix::event::{epoll, PollFlags};

use super::Case;
use crate::device::{Device, COHERENT};
use crate::guest;
use crate::memory::PAGE;
use crate::outcome::Outcome;
use crate::poll::ready;
use crate::registry::Context;
use crate::suites::unbind::check_works;

/// An errno out of an error of the standard library.
fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

pub(super) fn open(context: &mut Context) -> Outcome {
    let path = context.card().path.clone();
    Case {
        what: "open",
        allowed: &[Errno::ENOMEM],
        stride: 1,
        prepare: &mut || Ok(()),
        call: &mut || Device::open(&path),
        after: &mut |_| Ok(()),
    }
    .sweep(context)?;
    // close() with something to free.
    let file = std::cell::RefCell::new(None);
    Case {
        what: "close",
        allowed: &[],
        stride: 1,
        prepare: &mut || {
            let device = Device::open(&path)?;
            device.alloc(COHERENT, PAGE)?;
            *file.borrow_mut() = Some(device);
            Ok(())
        },
        call: &mut || {
            drop(file.borrow_mut().take());
            Ok(())
        },
        after: &mut |_| Ok(()),
    }
    .sweep(context)?;
    Ok(())
}

pub(super) fn info(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let card = context.card().clone();
    let buffer = device.alloc(COHERENT, PAGE)?;
    let io = |result: Outcome<guest::Counters>| match result {
        Ok(counters) => Ok(counters.len()),
        // What failed is in words there; that it failed is enough.
        Err(_) => Err(Errno::ENOMEM),
    };
    let calls: [(&str, &mut dyn FnMut() -> crate::raw::Sys<usize>); 4] = [
        ("INFO", &mut || device.info().map(|_| 1)),
        ("BUF_INFO", &mut || {
            device.buffer_info(buffer.handle).map(|_| 1)
        }),
        ("fdinfo", &mut || io(guest::fdinfo(&device))),
        ("debugfs", &mut || io(card.stats())),
    ];
    for (what, call) in calls {
        Case {
            what,
            allowed: &[Errno::ENOMEM, Errno::EFAULT],
            stride: 1,
            prepare: &mut || Ok(()),
            call,
            after: &mut |shown| {
                check!(shown.is_none_or(|count| count > 0), "nothing was shown");
                Ok(())
            },
        }
        .sweep(context)?;
    }
    Ok(())
}

pub(super) fn poll(context: &mut Context) -> Outcome {
    let device = context.open()?;
    Case {
        what: "poll",
        allowed: &[Errno::ENOMEM],
        stride: 1,
        prepare: &mut || Ok(()),
        call: &mut || {
            let all = PollFlags::IN | PollFlags::OUT;
            Ok(ready(&device, all, Duration::ZERO).map(|events| events == PollFlags::OUT))
        },
        after: &mut |right| {
            check!(matches!(right, None | Some(Ok(true))));
            Ok(())
        },
    }
    .sweep(context)?;
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let data = epoll::EventData::new_u64(1);
    Case {
        what: "epoll_ctl",
        allowed: &[Errno::ENOMEM],
        stride: 1,
        prepare: &mut || Ok(()),
        call: &mut || {
            epoll::add(&set, &device, data, epoll::EventFlags::IN)
                .map_err(|error| Errno::from_raw(error.raw_os_error()))
        },
        after: &mut |added| match added {
            Some(()) => Ok(epoll::delete(&set, &device)?),
            None => Ok(()),
        },
    }
    .sweep(context)?;
    Ok(())
}

/// How many sites one is tried of: a card takes its time.
fn stride(context: &Context) -> u32 {
    if context.scale >= 20 {
        1
    } else {
        7
    }
}

pub(super) fn bind(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    let sites = Case {
        what: "bind",
        // Whatever it is, the card is not bound, and can be.
        allowed: &[
            Errno::ENOMEM,
            Errno::ENODEV,
            Errno::EIO,
            Errno::ENOSPC,
            Errno::EFAULT,
            Errno::EINVAL,
            Errno::EBUSY,
        ],
        stride: stride(context),
        prepare: &mut || {
            if card.again()?.is_some() {
                card.unbind()?;
            }
            Ok(())
        },
        call: &mut || card.bind_only().map_err(|error| errno(&error)),
        after: &mut |bound| {
            if bound.is_none() {
                check!(
                    card.again()?.is_none(),
                    "bind failed, and the card has a node"
                );
                check!(!card.is_bus_master()?, "the card may reach memory");
                card.bind_only()?;
            }
            let Some(card) = card.again()? else {
                fail!("bound, and no node");
            };
            check_works(&card)?;
            if card.stats().is_err() {
                // The one thing that a card does without: debugfs.
                card.unbind()?;
                check_works(&card.bind()?)?;
            }
            Ok(())
        },
    }
    .sweep(context)?;
    check!(sites > 30, "only {sites} sites");
    Ok(())
}

pub(super) fn unbind(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    let held = std::cell::RefCell::new(None);
    Case {
        what: "unbind",
        allowed: &[],
        stride: stride(context).min(3),
        prepare: &mut || {
            let device = Device::open(&card.path)?;
            device.alloc(COHERENT, PAGE)?;
            *held.borrow_mut() = Some(device);
            Ok(())
        },
        call: &mut || card.unbind().map_err(|error| errno(&error)),
        after: &mut |_| {
            check!(card.again()?.is_none());
            check!(!card.is_bus_master()?);
            drop(held.borrow_mut().take());
            check_works(&card.bind()?)
        },
    }
    .sweep(context)?;
    Ok(())
}

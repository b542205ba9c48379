// SPDX-License-Identifier: GPL-2.0 OR MIT
//! RLIMIT_MEMLOCK.

use nix::sys::resource::{setrlimit, Resource};
use rustix::thread::{capabilities, set_capabilities, CapabilitySet};

use crate::account::{locked, pins, Account};
use crate::child::spawn;
use crate::device::Device;
use crate::kinds::memfd;
use crate::memory::{Mapping, PAGE};
use crate::outcome::Outcome;
use crate::poll::{until, LONG};
use crate::raw::{self, wide, Sys};
use crate::registry::Context;

const LIMIT: usize = 16 * PAGE;

/// Sets the limit of this process.
fn set_limit(bytes: usize) -> Sys<()> {
    setrlimit(Resource::RLIMIT_MEMLOCK, wide(bytes), wide(bytes))
}

/// Gives up the privilege that no limit holds for, and nothing else.
fn drop_privilege() -> Outcome {
    let mut sets = capabilities(None)?;
    sets.effective.remove(CapabilitySet::IPC_LOCK);
    set_capabilities(None, sets)?;
    Ok(())
}

/// Runs `body` in a process with the limit and without the privilege.
fn limited(context: &Context, body: impl FnOnce(&Device) -> Outcome) -> Outcome {
    let path = context.card().path.clone();
    spawn(|| {
        let device = Device::open(&path)?;
        set_limit(LIMIT)?;
        drop_privilege()?;
        body(&device)
    })?
    .join(LONG)
}

pub(super) fn limit(context: &mut Context) -> Outcome {
    limited(context, |device| {
        let before = Account::now()?;
        let memory = Mapping::anonymous(2 * LIMIT)?;
        let address = memory.address();
        // One byte more is a page more.
        for (begin, length) in [
            (0, LIMIT + 1),
            (1, LIMIT),
            (PAGE - 1, LIMIT),
            (0, 2 * LIMIT),
        ] {
            check_err!(
                device.register(address + begin, length, 0),
                ENOMEM,
                "{length} bytes at {begin}"
            );
            before.check()?;
        }
        // Lengths of which there is no such memory: the limit is looked at first.
        for length in [1 << 40, (1 << 32) + 1, 1 << 46] {
            check_err!(device.register(address, length, 0), ENOMEM, "{length:#x}");
        }
        for (begin, length) in [(0, LIMIT), (1, LIMIT - 1), (PAGE - 1, LIMIT - PAGE + 1)] {
            let all = device.register(address + begin, length, 0)?;
            check_eq!(locked()?, wide(LIMIT), "{length} bytes at {begin}");
            check_err!(device.register(address, 1, 0), ENOMEM, "one page more");
            // It is the process's, not the file's.
            let other = Device::open(&crate::guest::cards()?[0].path)?;
            check_err!(other.register(address, 1, 0), ENOMEM, "by another file");
            device.free(all.handle)?;
            before.check()?;
        }
        // A memfd counts as any memory.
        let fd = memfd(false, LIMIT + PAGE)?;
        check_err!(device.register_memfd(&fd, 0, LIMIT + 1, 0), ENOMEM);
        let registered = device.register_memfd(&fd, 0, LIMIT, 0)?;
        check_eq!(registered.pinned, wide(LIMIT));
        check_err!(device.register_memfd(&fd, 0, 1, 0), ENOMEM);
        device.free(registered.handle)?;
        // With a limit of 0 nothing can be registered, and all else works.
        set_limit(0)?;
        check_err!(device.register(address, 1, 0), ENOMEM, "a limit of 0");
        std::os::unix::fs::FileExt::read_exact_at(device.file(), &mut [0; 4096], 0)?;
        before.check()
    })
}

pub(super) fn privilege(context: &mut Context) -> Outcome {
    let path = context.card().path.clone();
    spawn(|| {
        let device = Device::open(&path)?;
        set_limit(PAGE)?;
        let before = Account::now()?;
        let memory = Mapping::anonymous(2 * LIMIT)?;
        let registered = device.register(memory.address(), 2 * LIMIT, 0)?;
        before
            .with_locked(wide(2 * LIMIT))
            .with_pins(wide(2 * LIMIT))
            .check()?;
        // Without it no more; and what is there can still be given back.
        drop_privilege()?;
        check_err!(device.register(memory.address(), 1, 0), ENOMEM);
        device.free(registered.handle)?;
        before.check()?;
        let registered = device.register(memory.address(), PAGE, 0)?;
        device.free(registered.handle)?;
        before.check()
    })?
    .join(LONG)
}

pub(super) fn heirs(context: &mut Context) -> Outcome {
    let pinned = pins()?;
    limited(context, |device| {
        // Each takes three quarters of the limit, and ends.
        let heir = |first: bool| {
            spawn(|| {
                let memory = Mapping::anonymous(LIMIT)?;
                let length = LIMIT / 4 * 3;
                let before = Account::now()?;
                if first {
                    device.register(memory.address(), length, 0)?;
                    return before
                        .with_locked(wide(length))
                        .with_pins(wide(length))
                        .check();
                }
                check_err!(device.register(memory.address(), length, 0), ENOMEM);
                before.check()?;
                // The rest of it, to the page.
                let rest = LIMIT - length;
                check_err!(device.register(memory.address(), rest + 1, 0), ENOMEM);
                let all = device.register(memory.address(), rest, 0)?;
                device.free(all.handle)?;
                before.check()
            })?
            .join(LONG)
        };
        heir(true)?;
        heir(false)?;
        // Another file has its own.
        let other = Device::open(&crate::guest::cards()?[0].path)?;
        let memory = Mapping::anonymous(LIMIT)?;
        let all = other.register(memory.address(), LIMIT, 0)?;
        Ok(other.free(all.handle)?)
    })?;
    until("all pages unpinned", || Ok(pins()? == pinned))
}

pub(super) fn mlock(context: &mut Context) -> Outcome {
    limited(context, |device| {
        let memory = Mapping::anonymous(LIMIT)?;
        raw::mlock(memory.address(), LIMIT / 2)?;
        check_eq!(locked()?, wide(LIMIT / 2));
        let registered = device.register(memory.address(), LIMIT / 2, 0)?;
        check_eq!(locked()?, wide(LIMIT));
        check_err!(device.register(memory.address(), 1, 0), ENOMEM);
        check_err!(raw::mlock(memory.address() + LIMIT / 2, PAGE), ENOMEM);
        // Unmapped, what was locked is given back, and what is registered is not.
        memory.unmap(0..LIMIT)?;
        check_eq!(locked()?, wide(LIMIT / 2));
        device.free(registered.handle)?;
        check_eq!(locked()?, 0);
        Ok(())
    })
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What registered memory costs a process: RLIMIT_MEMLOCK, VmLck, VmPin, pins.
//! It is given back to the process that registered it, whoever frees it.

mod exec;
mod limit;
mod owners;

pub(super) use exec::{after_exec, WAIT_FOR_END};

use crate::device::Device;
use crate::hugepool::Pool;
use crate::kinds::Kind;
use crate::memory::{HUGE, PAGE};
use crate::outcome::{Context as _, Outcome};
use crate::raw::wide;
use crate::registry::{Context, Test};

use crate::account::{whole_pages, Account};

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "account.counts",
        "VmLck, VmPin and pins of memory of every kind, to the page",
        counts,
    ),
    Test::new(
        "account.often",
        "registered and freed a thousand times: nothing adds up",
        often,
    ),
    Test::new(
        "account.limit",
        "RLIMIT_MEMLOCK: exactly so much, else ENOMEM and nothing left",
        limit::limit,
    ),
    Test::new(
        "account.privilege",
        "CAP_IPC_LOCK lifts the limit",
        limit::privilege,
    ),
    Test::new(
        "account.heirs",
        "what processes that have ended leave with a file is limited, too",
        limit::heirs,
    ),
    Test::new(
        "account.mlock",
        "the limit is for locked and registered memory together",
        limit::mlock,
    ),
    Test::new(
        "account.exec",
        "another program has the file, and frees or closes",
        exec::exec,
    ),
    Test::new(
        "account.fork",
        "a child frees, or closes the last descriptor",
        owners::fork,
    ),
    Test::new(
        "account.orphan",
        "the process that registered has ended, and its child goes on",
        owners::orphan,
    ),
    Test::new("account.dup", "the last of two descriptors", owners::dup),
    Test::new(
        "account.passed",
        "SCM_RIGHTS: another process closes the file",
        owners::passed,
    ),
    Test::new(
        "account.killed",
        "SIGKILL with registered memory, in flight too",
        owners::killed,
    ),
];

/// So many bytes of one kind are registered, whole and from the middle.
fn one(device: &Device, kind: Kind, length: usize) -> Outcome {
    let memory = kind.make(length)?;
    let before = Account::now()?;
    let length = memory.length();
    for (begin, length) in [(0, length), (length / 3, length / 2), (PAGE - 1, 1)] {
        let registered = device.register(memory.address() + begin, length, 0)?;
        let locked = whole_pages(memory.address() + begin, length);
        check_eq!(registered.pinned, locked);
        let now = Account::now()?;
        check_eq!(now.locked, before.locked + locked);
        check_eq!(now.pinned, before.pinned, "VmPin");
        // Of the pool's pages one pin each does.
        let most = before.pins + locked / wide(PAGE);
        let least = if kind.of_pool() {
            before.pins
        } else {
            most - 1
        };
        check!(
            (least + 1..=most).contains(&now.pins),
            "{} pins, {} before, {locked} bytes",
            now.pins,
            before.pins
        );
        device.free(registered.handle)?;
        before.check()?;
    }
    Ok(())
}

fn counts(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for kind in Kind::ALL {
        let length = 3 * kind.page().max(40 * PAGE);
        let _pool = match kind.of_pool() {
            true => Some(Pool::of(length / HUGE)?),
            false => None,
        };
        one(&device, kind, length).context(|| format!("{kind:?}"))?;
    }
    Ok(())
}

fn often(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let memory = Kind::Anonymous.make(8 * PAGE)?;
    let before = Account::now()?;
    for round in 0..context.times(1000) {
        let begin = context.between(0, 4 * PAGE);
        let length = context.between(1, 4 * PAGE);
        let registered = device.register(memory.address() + begin, length, 0)?;
        // And again, by a second file, now and then.
        if round % 16 == 0 {
            let other = context.open()?;
            other.register(memory.address(), memory.length(), 0)?;
        }
        device.free(registered.handle)?;
    }
    before.settle()
}

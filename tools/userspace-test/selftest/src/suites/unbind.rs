// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The card is taken away, by the driver's unbind or by the bus, at any moment.

mod asleep;
mod cards;
mod load;
mod memory;
mod open;
mod race;
mod registered;
mod stalled;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::guest::{debug_kernel, Card};
use crate::outcome::{Context as _, Outcome};
use crate::poll::until;
use crate::registry::{Context, Need, Test};

pub(super) use load::{Load, POOL_PAGES};
pub(super) use registered::all_cards;

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "unbind.idle",
        "with nothing open; the card may not reach memory afterwards",
        cards::idle,
    )
    .seconds(120),
    Test::new(
        "unbind.errno",
        "every call of an open file is ENODEV, whatever its arguments",
        open::errno,
    ),
    Test::new(
        "unbind.open_file",
        "files, handles and records of a card that has gone",
        open::open_file,
    )
    .seconds(120),
    Test::new(
        "unbind.late_close",
        "a new card under the name, and the old file closed later",
        open::late_close,
    )
    .seconds(120),
    Test::new(
        "unbind.mapping",
        "live mappings of every kind are SIGBUS, and stay so",
        memory::mapping,
    )
    .seconds(120),
    Test::new(
        "unbind.second_inode",
        "mappings through a second node",
        memory::second_inode,
    ),
    Test::new(
        "unbind.pinned",
        "pages that something else in the kernel has pinned",
        memory::pinned,
    )
    .needs(&[Need::Huge]),
    Test::new(
        "unbind.memory_quiet",
        "memory that was freed with the card is not written to",
        memory::quiet,
    )
    .seconds(120),
    Test::new("unbind.reader", "read and write asleep", asleep::reader).seconds(120),
    Test::new("unbind.waiter", "WAIT asleep", asleep::waiter)
        .seconds(120)
        .needs(&[Need::Slow]),
    Test::new("unbind.poller", "poll and epoll asleep", asleep::poller).seconds(120),
    Test::new("unbind.submitter", "SUBMIT asleep", asleep::submitter).seconds(120),
    Test::new(
        "unbind.in_flight",
        "transfers moving and queued: each ends once",
        asleep::in_flight,
    )
    .seconds(120)
    .needs(&[Need::Slow]),
    Test::new(
        "unbind.user_memory",
        "calls that wait for user memory do not hold it up",
        stalled::user_memory,
    ),
    Test::new(
        "unbind.registered",
        "registered memory, mappings, transfers and sleepers, on all cards",
        registered::registered,
    )
    .seconds(120)
    .needs(&[Need::Slow]),
    Test::new(
        "unbind.registered_again",
        "one memory registered with one card after the other",
        registered::again,
    )
    .seconds(120)
    .needs(&[Need::Slow]),
    Test::new(
        "unbind.registering",
        "while much memory is being registered: unbind does not wait",
        registered::registering,
    )
    .seconds(120),
    Test::new(
        "unbind.all_at_once",
        "open files, mappings, sleepers and transfers at once",
        race::everything,
    )
    .seconds(200),
    Test::new(
        "unbind.threads",
        "threads that open, map, submit and close meanwhile",
        race::threads,
    )
    .seconds(200),
    Test::new(
        "unbind.watched",
        "somebody reads smaps and numa_maps of the mappings meanwhile",
        race::watched,
    )
    .seconds(200),
    Test::new(
        "unbind.two_at_once",
        "two who unbind at the same time",
        cards::two_at_once,
    )
    .seconds(120),
    Test::new(
        "unbind.remove_rescan",
        "removed from the bus and found again",
        cards::remove_rescan,
    )
    .seconds(120),
    Test::new("unbind.module", "unloaded and loaded", cards::module)
        .seconds(120)
        .needs(&[Need::ModuleFile]),
    Test::new(
        "unbind.parameters",
        "parameters that are garbage are refused",
        cards::parameters,
    )
    .seconds(120)
    .needs(&[Need::ModuleFile]),
];

/// The longest that an unbind may take: the card's own 100 ms, and a slow
/// machine. In the debug kernel all takes four times as long.
const LIMIT: Duration = Duration::from_secs(2);

/// The longest that one took in this process, in milliseconds.
static LONGEST: AtomicU64 = AtomicU64::new(0);

/// Requires that what began at `begin` was quick, where it may have waited for
/// `others`.
pub(super) fn check_quick(begin: Instant, others: u32) -> Outcome {
    let time = begin.elapsed();
    LONGEST.fetch_max(u64::try_from(time.as_millis())?, Ordering::Relaxed);
    let slower = if debug_kernel() { 4 } else { 1 };
    check!(time < LIMIT * slower * (others + 1), "it took {time:?}");
    Ok(())
}

/// How often each kind of unbind is done; 100 in a soak.
fn cycles(context: &Context) -> u32 {
    context.times(5)
}

/// Unbinds and requires that it was quick, and that the card is cut off.
pub(super) fn unbind(card: &Card) -> Outcome {
    let begin = Instant::now();
    card.unbind()?;
    check_quick(begin, 0).context(|| "unbind".to_owned())?;
    check!(!card.is_bus_master()?, "the card may still reach memory");
    check!(card.again()?.is_none(), "the node is still there");
    // Another card that is bound meanwhile may have the name.
    until("the node gone, or another card's", || {
        let heir = |heir: &Card| heir.path == card.path;
        Ok(!card.path.exists() || crate::guest::cards()?.iter().any(heir))
    })
}

/// Requires that a card that was bound again works.
pub(super) fn check_works(card: &Card) -> Outcome {
    use std::os::unix::fs::FileExt as _;
    check!(card.is_bus_master()?);
    let device = crate::device::Device::open(&card.path)?;
    device.file().write_all_at(b"works", 64)?;
    let mut got = [0; 5];
    device.file().read_exact_at(&mut got, 64)?;
    check_eq!(&got, b"works");
    Ok(())
}

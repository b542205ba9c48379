// SPDX-License-Identifier: GPL-2.0 OR MIT
//! SUBMIT, CANCEL, WAIT and poll.

mod barrier;
mod cancel;
mod cancel_running;
mod data;
mod depth;
mod fair;
mod faults;
mod two_waits;
mod wait;

use crate::registry::{Need, Test};

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "submit.round_trip",
        "random transfers of every kind of buffer, bytes around watched",
        data::round_trip,
    )
    .seconds(180),
    Test::new(
        "submit.huge_ends",
        "transfers over the ends of pages and huge pages",
        data::huge_ends,
    ),
    Test::new(
        "submit.in_order",
        "one file's transfers run in order",
        data::in_order,
    ),
    Test::new(
        "submit.same_place",
        "overlapping transfers on one buffer",
        data::same_place,
    ),
    Test::new(
        "submit.mixed",
        "several threads, each completion seen exactly once",
        data::mixed,
    )
    .seconds(180),
    Test::new(
        "submit.edges",
        "every edge of buffer and card, wrapping values too",
        faults::edges,
    ),
    Test::new(
        "submit.free_in_flight",
        "BUF_FREE while queued and while moving",
        faults::free_in_flight,
    )
    .needs(&[Need::Slow]),
    Test::new(
        "submit.stale_handle",
        "a freed handle is dead even if its number comes again",
        faults::stale_handle,
    ),
    Test::new(
        "submit.nothing_moved",
        "the card moves nothing: memory is as it was, not as somebody else's",
        faults::nothing_moved,
    ),
    Test::new(
        "submit.too_short",
        "a time limit that no transfer keeps; the card works on",
        faults::too_short,
    )
    .needs(&[Need::Slow]),
    Test::new(
        "submit.killed",
        "SIGKILL with transfers queued and moving",
        faults::killed,
    ),
    Test::new(
        "submit.closed",
        "close with transfers queued and moving",
        faults::closed,
    ),
    Test::new(
        "submit.full_nonblock",
        "no place free, O_NONBLOCK: EAGAIN",
        depth::full_nonblock,
    )
    .seconds(120)
    .needs(&[Need::Slow]),
    Test::new(
        "submit.full_sleeps",
        "no place free: SUBMIT sleeps until WAIT frees one",
        depth::full_sleeps,
    )
    .seconds(120)
    .needs(&[Need::Slow]),
    Test::new(
        "submit.full_signal",
        "a signal ends a SUBMIT that sleeps",
        depth::full_signal,
    )
    .needs(&[Need::Slow]),
    Test::new(
        "submit.wait_counts",
        "min, max and the poll deadline of WAIT",
        wait::counts,
    )
    .needs(&[Need::Slow]),
    Test::new(
        "submit.wait_deadline",
        "ETIMEDOUT when the deadline passes, nothing lost",
        wait::deadline,
    )
    .needs(&[Need::Slow]),
    Test::new(
        "submit.wait_nonblock",
        "WAIT with O_NONBLOCK",
        wait::nonblock,
    )
    .needs(&[Need::Slow]),
    Test::new(
        "submit.wait_signal",
        "EINTR when a signal comes, nothing lost",
        wait::signal,
    )
    .needs(&[Need::Slow]),
    Test::new(
        "submit.wait_two",
        "two waiters, no record twice",
        wait::two_waiters,
    ),
    Test::new(
        "submit.two_waits",
        "two WAITs for all of five never wait for each other's records",
        two_waits::two_waits,
    )
    .needs(&[Need::Slow])
    .seconds(120),
    Test::new(
        "submit.wait_closed",
        "the file is closed while a thread sleeps in WAIT",
        wait::closed_meanwhile,
    )
    .needs(&[Need::Slow]),
    Test::new(
        "submit.poll",
        "poll: a record waits, a place is free",
        wait::poll,
    )
    .needs(&[Need::Slow]),
    Test::new(
        "submit.epoll",
        "epoll, level and edge triggered, nested",
        wait::epoll,
    ),
    Test::new(
        "submit.cancel",
        "one of several that wait is withdrawn by its name, the others are not",
        cancel::named,
    )
    .seconds(120),
    Test::new(
        "submit.cancel_all",
        "all that wait on a channel, and no other file's",
        cancel::all,
    )
    .seconds(120),
    Test::new(
        "submit.cancel_none",
        "no such name, an empty queue, another file's, a read: nothing is withdrawn",
        cancel::none,
    )
    .seconds(120),
    Test::new(
        "submit.cancel_running",
        "what the card has ends as it would, or after its part",
        cancel_running::running,
    )
    .seconds(120),
    Test::new(
        "submit.cancel_race",
        "threads submit, cancel and wait: each transfer ends exactly once",
        cancel_running::race,
    )
    .seconds(180),
    Test::new(
        "submit.times",
        "time stamps never run backwards",
        data::times,
    ),
    Test::new(
        "submit.barrier",
        "a barrier begins when all before it have ended",
        data::barrier,
    ),
    Test::new(
        "submit.barrier_channels",
        "and those on other channels, but none behind it",
        barrier::channels,
    ),
    Test::new(
        "submit.barrier_cancelled",
        "what stood behind a barrier goes on when that is withdrawn",
        barrier::cancelled,
    ),
    Test::new(
        "submit.barrier_unbind",
        "unbind ends a barrier that waits for another channel",
        barrier::unbound,
    ),
    Test::new(
        "submit.fair",
        "two busy files each get at least 40 % of the bytes",
        fair::two_files,
    )
    .seconds(180)
    .needs(&[Need::Slow]),
    Test::new(
        "submit.latecomer",
        "who comes beside a full queue gets a turn at once",
        fair::latecomer,
    )
    .seconds(120)
    .needs(&[Need::Slow]),
];

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Cards that go wrong because they are told to: models of the laboratory. What a
//! program sees of each fault is a table of `Documentation/faults.rst`.

mod case;
mod die;
mod faults;
mod others;
mod short;
mod stuck;

use userdma::sys;

use crate::registry::Test;

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "inject.late_interrupt",
        "an interrupt comes late, or too late: nothing is lost",
        faults::late_interrupt,
    )
    .seconds(120),
    Test::new(
        "inject.lost_interrupt",
        "an interrupt does not come: the card is asked",
        faults::lost_interrupt,
    )
    .seconds(120),
    Test::new(
        "inject.double_interrupt",
        "an interrupt comes twice: each transfer ends once",
        faults::double_interrupt,
    )
    .seconds(120),
    Test::new(
        "inject.spurious_interrupt",
        "an interrupt for nothing: it ends nothing",
        faults::spurious_interrupt,
    )
    .seconds(120),
    Test::new(
        "inject.error",
        "the card fails in the middle: EIO, and the bytes until then",
        faults::error,
    )
    .seconds(120),
    Test::new(
        "inject.short",
        "the card moves half and says it is well: success, and half the bytes",
        faults::short,
    )
    .seconds(120),
    Test::new(
        "inject.short_requests",
        "read() and write() of many parts end at the one that is short",
        short::requests,
    )
    .seconds(120),
    Test::new(
        "inject.slow",
        "a transfer takes long, or too long",
        faults::slow,
    )
    .seconds(120),
    Test::new(
        "inject.slow_all",
        "each transfer takes long, or too long",
        faults::slow_all,
    )
    .seconds(120),
    Test::new(
        "inject.stuck",
        "a channel sticks: one transfer fails, nobody else notices",
        faults::stuck,
    )
    .seconds(120),
    Test::new(
        "inject.stuck_behind",
        "what the card was given behind it is given again",
        stuck::behind,
    ),
    Test::new(
        "inject.stuck_hard",
        "a channel that no reset frees: the card is cut off, all ends, and it comes back",
        stuck::stuck_hard,
    )
    .seconds(120),
    Test::new(
        "inject.die",
        "the card is there no more, in the middle of everything, and a new one comes",
        die::die,
    )
    .seconds(240),
];

/// A transfer on a channel.
pub(crate) fn on(channel: u16, transfer: sys::userdma_transfer) -> sys::userdma_transfer {
    sys::userdma_transfer {
        channel,
        ..transfer
    }
}

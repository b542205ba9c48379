// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Interrupts and chains that go wrong, and the card is none the worse for it.

use std::time::Instant;

use super::case::{Case, Way};
use super::on;
use super::others::{among, check_channels};
use crate::device::{tagged, to_card, COHERENT};
use crate::memory::PAGE;
use crate::model::Faulty;
use crate::outcome::Outcome;
use crate::poll::until;
use crate::raw::wide;
use crate::registry::Context;

/// Beyond any time limit here, in milliseconds.
const AGES: u64 = 60_000;
/// A time limit that is kept only by what goes well at once.
const SHORT: u64 = 200;

pub(super) fn late_interrupt(context: &mut Context) -> Outcome {
    let case = Case::well("late-interrupt");
    // Too late: it has been looked for, and is none when it comes.
    let too_late = Case {
        ms: 1500,
        limit: SHORT,
        least: SHORT,
        counters: &["lost_interrupts", "spurious_interrupts"],
        ..case
    };
    too_late.run_alone(context, &[Way::Wait, Way::Ring])?;
    // In time: it is waited for.
    let late = Case {
        ms: 100,
        least: 100,
        ..case
    };
    late.run(context, &Way::FEW)?;
    // Among others nobody waited for it. A reset forgets what is still to come.
    let card = context.card();
    card.unbind()?;
    check_channels(&card.bind()?)
}

pub(super) fn lost_interrupt(context: &mut Context) -> Outcome {
    let case = Case {
        limit: SHORT,
        least: SHORT,
        counters: &["lost_interrupts"],
        ..Case::well("lost-interrupt")
    };
    case.run(context, &Way::FEW)
}

pub(super) fn double_interrupt(context: &mut Context) -> Outcome {
    let case = Case {
        counters: &["spurious_interrupts"],
        merged: true,
        ..Case::well("double-interrupt")
    };
    case.run(context, &Way::ALL)?;
    // A slow machine takes two that come close together for one, but not always.
    let spurious = context.card().counter("spurious_interrupts")?;
    check!(spurious > 0, "no second interrupt was ever seen");
    Ok(())
}

pub(super) fn spurious_interrupt(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    let mut model = Faulty::of(&card)?;
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let one = [on(0, to_card(buffer.handle, 0, PAGE, 0))];
    let before = card.counter("spurious_interrupts")?;
    for count in 1..=3 {
        model.inject("spurious-interrupt", 0)?;
        until("it counted", || {
            Ok(card.counter("spurious_interrupts")? == before + count)
        })?;
    }
    device.check_idle()?;
    // In the middle of a transfer: it does not end that.
    model.inject_ms("slow", 0, 300)?;
    let begin = Instant::now();
    check_eq!(device.submit(&one)?, 1);
    model.inject("spurious-interrupt", 0)?;
    let record = device.collect(1)?[0];
    check_eq!((record.result, record.bytes), (0, wide(PAGE)));
    check!(begin.elapsed().as_millis() >= 300, "{record:?}");
    among(&card, |others| {
        others.let_in();
        for channel in [0, 1, 0, 2, 3, 0] {
            model.inject("spurious-interrupt", channel)?;
        }
        device.run_well(&one)
    })?;
    check_channels(&card)
}

pub(super) fn error(context: &mut Context) -> Outcome {
    let case = Case {
        result: -libc::EIO,
        bytes: PAGE / 2,
        ..Case::well("error")
    };
    case.run(context, &Way::ALL)
}

pub(super) fn short(context: &mut Context) -> Outcome {
    let case = Case {
        bytes: PAGE / 2,
        ..Case::well("short")
    };
    case.run(context, &Way::ALL)
}

pub(super) fn slow(context: &mut Context) -> Outcome {
    let in_time = Case {
        ms: 100,
        least: 100,
        ..Case::well("slow")
    };
    in_time.run(context, &Way::FEW)?;
    let too_slow = Case {
        ms: AGES,
        limit: SHORT,
        least: SHORT,
        result: -libc::ETIMEDOUT,
        bytes: 0,
        counters: &["timeouts"],
        ..Case::well("slow")
    };
    too_slow.run(context, &Way::FEW)
}

pub(super) fn stuck(context: &mut Context) -> Outcome {
    let case = Case {
        limit: SHORT,
        least: SHORT,
        result: -libc::ETIMEDOUT,
        bytes: 0,
        counters: &["timeouts"],
        ..Case::well("stuck")
    };
    case.run(context, &Way::FEW)
}

pub(super) fn slow_all(context: &mut Context) -> Outcome {
    const MS: u64 = 30;
    const COUNT: usize = 4;
    let card = context.card().clone();
    let mut model = Faulty::of(&card)?;
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let transfers = |limit: u64| {
        let transfer = |tag| {
            let mut transfer = on(0, tagged(to_card(buffer.handle, 0, PAGE, 0), wide(tag)));
            transfer.timeout_ns = limit * 1_000_000;
            transfer
        };
        (0..COUNT).map(transfer).collect::<Vec<_>>()
    };
    among(&card, |_| {
        model.inject_ms("slow-all", 0, MS)?;
        let begin = Instant::now();
        device.run_well(&transfers(0))?;
        let took = begin.elapsed().as_millis();
        check!(took >= u128::from(MS) * COUNT as u128, "{took} ms");
        // Each too slow: each has its own time limit, and each ends with that.
        model.inject_ms("slow-all", 0, AGES)?;
        let before = card.counter("timeouts")?;
        for record in device.run(&transfers(SHORT))? {
            check_eq!((record.result, record.bytes), (-libc::ETIMEDOUT, 0));
        }
        check_eq!(card.counter("timeouts")? - before, wide(COUNT));
        model.heal()
    })?;
    check_channels(&card)
}

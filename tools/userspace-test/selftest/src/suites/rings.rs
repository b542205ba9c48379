// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What cards with rings are for: long lists of descriptors, many transfers for one
//! doorbell and one interrupt. Counted by the card itself, which is a model of the
//! laboratory's, and by the driver.

use std::time::Instant;

use userdma::sys;

use crate::device::{from_card, tagged, to_card, Device, COHERENT, HUGE};
use crate::guest::Card;
use crate::memory::PAGE;
use crate::model::{Counts, Model};
use crate::outcome::{same_bytes, Outcome};
use crate::raw::{size, wide};
use crate::registry::{Context, Test};
use crate::suites::inject::on;
use crate::suites::uring::Ring;

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "rings.huge",
        "64 MiB of huge pages: at most 32 descriptors, one doorbell",
        huge,
    ),
    Test::new(
        "rings.single",
        "one transfer: one descriptor, one doorbell, an interrupt at once",
        single,
    ),
    Test::new(
        "rings.batch",
        "64 small transfers: one call, at most two doorbells and two interrupts",
        batch,
    ),
    Test::new(
        "rings.spread",
        "64 small transfers, turn by turn on all channels: a doorbell for each channel",
        spread,
    ),
    Test::new(
        "rings.ring",
        "32 commands of io_uring in one call: at most two doorbells and two interrupts",
        ring,
    ),
    Test::new(
        "rings.early",
        "the first of a batch is told of before its last has ended",
        early,
    ),
    Test::new(
        "rings.faults",
        "a batch that fails, falls short or sticks: each end is told of, in order",
        faults,
    ),
];

/// "Done when" of the fourth issue.
const BATCH: usize = 64;
/// The longest that the card waits with an interrupt, in nanoseconds: MODERATE_TIME
/// of the backend.
const MODERATED: u128 = 100_000;

/// What the card and the driver have counted of channel 0.
pub(super) struct Counted {
    card: Counts,
    descriptors: u64,
    doorbells: u64,
    lost: u64,
}

pub(super) fn counted(model: &mut Model, card: &Card) -> Outcome<Counted> {
    Ok(Counted {
        card: model.counts(0)?,
        descriptors: card.counter("descriptors")?,
        doorbells: card.counter("doorbells")?,
        lost: card.counter("lost_interrupts")?,
    })
}

/// What they have counted since; they must agree, and no end was found by looking
/// after its time.
pub(super) fn since(model: &mut Model, card: &Card, before: &Counted) -> Outcome<Counts> {
    let now = counted(model, card)?;
    let counts = now.card.since(before.card);
    check_eq!(counts.descriptors, now.descriptors - before.descriptors);
    check_eq!(counts.doorbells, now.doorbells - before.doorbells);
    check_eq!(now.lost, before.lost, "lost interrupts");
    Ok(counts)
}

fn huge(context: &mut Context) -> Outcome {
    const LENGTH: usize = 64 << 20;
    let mut found = None;
    for card in &context.cards {
        let device = Device::open(&card.path)?;
        if size(device.info()?.out_max_transfer) >= LENGTH {
            found = Some((card.clone(), device));
            break;
        }
    }
    let Some((card, device)) = found else {
        skip!("needs a card with 64 MiB of memory");
    };
    let mut model = Model::of(&card)?;
    let buffer = device.alloc(HUGE, LENGTH)?;
    let map = device.map(&buffer)?;
    let bytes = context.bytes(LENGTH);
    map.write(0, &bytes);
    for transfer in [
        to_card(buffer.handle, 0, LENGTH, 0),
        from_card(buffer.handle, 0, LENGTH, 0),
    ] {
        let before = counted(&mut model, &card)?;
        device.run_well(&[transfer])?;
        let counts = since(&mut model, &card, &before)?;
        println!("{counts:?}");
        check!(counts.descriptors <= 32, "{counts:?}");
        check_eq!((counts.chains, counts.doorbells), (1, 1), "{counts:?}");
        check_eq!(counts.interrupts, 1, "{counts:?}");
        if transfer.op == to_card(0, 0, 0, 0).op {
            map.fill(0..LENGTH, 0);
        }
    }
    same_bytes(&map.read(0, LENGTH), &bytes, "what came back")
}

fn single(context: &mut Context) -> Outcome {
    const ROUNDS: u64 = 20;
    let card = context.card().clone();
    let mut model = Model::of(&card)?;
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let before = counted(&mut model, &card)?;
    for _ in 0..ROUNDS {
        device.run_well(&[to_card(buffer.handle, 0, 64, 0)])?;
    }
    let counts = since(&mut model, &card, &before)?;
    check_eq!(counts.descriptors, ROUNDS, "{counts:?}");
    check_eq!(counts.doorbells, ROUNDS, "{counts:?}");
    check_eq!(counts.interrupts, ROUNDS, "{counts:?}");
    Ok(())
}

/// Short transfers, tagged from 0.
fn small(handle: u32, length: usize) -> Vec<sys::userdma_transfer> {
    let transfer = |number| tagged(to_card(handle, 0, length, 0), wide(number));
    (0..BATCH).map(transfer).collect()
}

fn batch(context: &mut Context) -> Outcome {
    const TRIES: usize = 20;
    let card = context.card().clone();
    let mut model = Model::of(&card)?;
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    for length in [64, PAGE] {
        let transfers = small(buffer.handle, length);
        let mut seen = Vec::new();
        for _ in 0..TRIES {
            let before = counted(&mut model, &card)?;
            let begin = Instant::now();
            check_eq!(device.submit(&transfers)?, BATCH, "in one call");
            let records = device.collect(BATCH)?;
            let time = begin.elapsed().as_nanos();
            check!(records.iter().all(|record| record.result == 0));
            let counts = since(&mut model, &card, &before)?;
            check_eq!(counts.descriptors, wide(BATCH), "{counts:?}");
            // An interrupt more only where the card was so slow that the first
            // completion had waited long enough.
            let most = 2 + time / MODERATED;
            check!(u128::from(counts.interrupts) <= most, "{counts:?}");
            seen.push((counts.doorbells, counts.interrupts));
        }
        println!("{length} bytes: doorbells and interrupts {seen:?}");
        let few = |(doorbells, interrupts): &(u64, u64)| *doorbells <= 2 && *interrupts <= 2;
        check!(seen.iter().any(few), "{seen:?}");
    }
    Ok(())
}

fn spread(context: &mut Context) -> Outcome {
    const TRIES: usize = 20;
    let card = context.card().clone();
    let device = context.open()?;
    let channels = device.info()?.out_channels;
    if channels < 2 {
        skip!("needs a card with several channels");
    }
    let buffer = device.alloc(COHERENT, PAGE)?;
    let turns = (0..channels).cycle().map(u16::try_from);
    let transfers: Vec<_> = small(buffer.handle, 64)
        .into_iter()
        .zip(turns)
        .map(|(transfer, channel)| Ok(on(channel?, transfer)))
        .collect::<Outcome<_>>()?;
    let mut seen = Vec::new();
    for _ in 0..TRIES {
        let before = card.counter("doorbells")?;
        check_eq!(device.submit(&transfers)?, BATCH, "in one call");
        let records = device.collect(BATCH)?;
        check!(records.iter().all(|record| record.result == 0));
        seen.push(card.counter("doorbells")? - before);
    }
    // More where the card was so slow that it is not given all at once.
    println!("doorbells {seen:?}");
    check!(seen.contains(&u64::from(channels)), "{seen:?}");
    Ok(())
}

fn ring(context: &mut Context) -> Outcome {
    const TRIES: usize = 20;
    const COUNT: usize = 32;
    let card = context.card().clone();
    let mut model = Model::of(&card)?;
    let device = context.open()?;
    let mut ring = Ring::new(&device)?;
    ring.fix(&device)?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let transfers = &small(buffer.handle, 64)[..COUNT];
    let mut seen = Vec::new();
    for _ in 0..TRIES {
        let before = counted(&mut model, &card)?;
        ring.transfers(transfers)?;
        let ends = ring.ends(COUNT)?;
        check!(ends.iter().all(|end| end.result == 64), "{ends:?}");
        let counts = since(&mut model, &card, &before)?;
        check_eq!(counts.descriptors, wide(COUNT), "{counts:?}");
        seen.push((counts.doorbells, counts.interrupts));
    }
    println!("doorbells and interrupts {seen:?}");
    let few = |(doorbells, interrupts): &(u64, u64)| *doorbells <= 2 && *interrupts <= 2;
    check!(seen.iter().any(few), "{seen:?}");
    Ok(())
}

fn early(context: &mut Context) -> Outcome {
    let mut model = Model::of(context.card())?;
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    model.slow_down(50)?;
    check_eq!(device.submit(&small(buffer.handle, 64))?, BATCH);
    let first = device.collect(1);
    // What is left ends at once.
    model.heal()?;
    let first = first?.len();
    check!(first < BATCH, "all {first} were told of at once");
    device.collect(BATCH - first)?;
    device.check_idle()
}

fn faults(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    let mut model = Model::of(&card)?;
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let before = counted(&mut model, &card)?;
    for (fault, count, result, bytes) in [
        ("short", BATCH, 0, 32),
        ("error", BATCH, -libc::EIO, 32),
        ("stuck", 1, -libc::ETIMEDOUT, 0),
    ] {
        let mut transfers = small(buffer.handle, 64);
        transfers[0].timeout_ns = 200_000_000;
        model.inject_times(fault, 0, count)?;
        check_eq!(device.submit(&transfers)?, BATCH);
        for (number, record) in device.collect(BATCH)?.iter().enumerate() {
            check_eq!(record.user_data, wide(number), "{fault}");
            let want = if number < count {
                (result, bytes)
            } else {
                (0, 64)
            };
            check_eq!((record.result, record.bytes), want, "{fault} {number}");
        }
        device.check_idle()?;
    }
    let lost = counted(&mut model, &card)?.lost;
    check_eq!(lost, before.lost, "lost interrupts");
    device.run_well(&small(buffer.handle, 64))
}

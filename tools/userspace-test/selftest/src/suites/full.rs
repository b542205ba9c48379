// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A program, the driver or the card goes while the rings of all channels are full.

mod load;

use std::time::Duration;

use nix::sys::signal::Signal;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::hotplug::{model_slots, plug, pull};
use super::unbind::{check_works, unbind};
use crate::account::pins;
use crate::child::{spawn, Exit, Gate};
use crate::guest::Card;
use crate::hugepool::Pool;
use crate::lab::Lab;
use crate::model::{heal, models, slow_down};
use crate::outcome::{Context as _, Outcome};
use crate::poll::until;
use crate::registry::{Context, Test};

pub(super) use load::{Full, POOL_PAGES};

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "full.killed",
        "SIGKILL while all rings are full, of every kind of memory",
        killed,
    )
    .seconds(120),
    Test::new(
        "full.unbind",
        "unbind while all rings are full, and bound again",
        unbound,
    )
    .seconds(120),
    Test::new(
        "full.pulled",
        "cards are pulled while all rings are full, and plugged in",
        pulled,
    )
    .seconds(180),
];

/// So long takes each chain, in milliseconds: rings stay full for a while.
const SLOW: u64 = 10;

/// Makes all channels of a model slow.
pub(super) fn slow(lab: &mut Lab, name: &str) -> Outcome {
    slow_down(lab, name, SLOW)
}

/// Does `body` so many times in all on all cards that are models, in a process for each;
/// it is given the card, and gives it back with its new node if it has one.
fn on_all(
    context: &mut Context,
    rounds: u32,
    what: &str,
    body: impl Fn(Card, &mut SmallRng) -> Outcome<Card>,
) -> Outcome {
    let mut lab = Lab::open()?;
    let models = models(&mut lab, &context.cards)?;
    if models.is_empty() {
        skip!("needs cards that are the laboratory's edu-daq");
    }
    let before = pins()?;
    let count = u32::try_from(models.len())?;
    let _pool = Pool::of(POOL_PAGES * models.len())?;
    let each = rounds.div_ceil(count);
    for (name, _) in &models {
        slow(&mut lab, name)?;
    }
    let mut children = Vec::new();
    for (_, card) in &models {
        let seed = context.rng.random();
        children.push(spawn(|| {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut card = card.clone();
            for round in 0..each {
                card = body(card, &mut rng).context(|| format!("round {round}"))?;
                check_works(&card)?;
            }
            Ok(())
        })?);
    }
    let ends: Vec<_> = children
        .into_iter()
        .map(|child| child.join(Duration::from_secs(100) * rounds))
        .collect();
    for (name, _) in &models {
        heal(&mut lab, name)?;
    }
    ends.into_iter().collect::<Outcome<Vec<()>>>()?;
    println!("did {} {what}", each * count);
    until("all pages unpinned", || Ok(pins()? == before))
}

/// Any moment of a full ring.
fn moment(rng: &mut SmallRng) {
    std::thread::sleep(Duration::from_micros(rng.random_range(0..60_000)));
}

fn killed(context: &mut Context) -> Outcome {
    let rounds = context.times(10);
    on_all(context, rounds, "kills with full rings", |card, rng| {
        let full = Gate::new()?;
        let mut victim = spawn(|| {
            let _load = Full::new(&card, rng)?;
            full.open()?;
            loop {
                std::thread::park();
            }
        })?;
        full.pass()?;
        moment(rng);
        victim.signal(Signal::SIGKILL)?;
        check_eq!(victim.wait()?, Exit::Signal(libc::SIGKILL));
        // The card ends what it was given, and only then its memory is free.
        until("all buffers given back", || {
            Ok(card.counter("buffers")? == 0)
        })?;
        // The next victim is another one.
        rng.random::<u64>();
        Ok(card)
    })
}

fn unbound(context: &mut Context) -> Outcome {
    let rounds = context.times(10);
    on_all(context, rounds, "unbinds with full rings", |card, rng| {
        let mut load = Full::new(&card, rng)?;
        moment(rng);
        unbind(&card)?;
        load.check_ended(&[-libc::ENODEV])?;
        load.check_gone()?;
        // Closed before the next is bound, or afterwards.
        if rng.random() {
            drop(load);
            return card.bind();
        }
        card.bind()
    })
}

fn pulled(context: &mut Context) -> Outcome {
    let mut lab = Lab::open()?;
    let mut slots = model_slots(context, &mut lab)?;
    let before = pins()?;
    let _pool = Pool::of(POOL_PAGES * slots.len())?;
    let count = u32::try_from(slots.len())?;
    let rounds = context.times(4).div_ceil(count);
    for round in 0..rounds {
        let mut loads = Vec::new();
        for slot in &slots {
            slow(&mut lab, &slot.name)?;
            loads.push(Full::new(&slot.card, &mut context.rng)?);
        }
        moment(&mut context.rng);
        pull(&mut lab, &slots)?;
        for load in &mut loads {
            let what = || format!("round {round}");
            load.check_ended(&[-libc::ENODEV]).context(what)?;
            load.check_gone().context(what)?;
        }
        plug(&mut lab, &mut slots)?;
        drop(loads);
        slots.iter().try_for_each(|slot| check_works(&slot.card))?;
    }
    println!("did {} cards pulled with full rings", rounds * count);
    until("all pages unpinned", || Ok(pins()? == before))
}

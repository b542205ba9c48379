// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Registered memory, and everything else with it, when the card goes.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::load::{Load, POOL_PAGES};
use super::{check_works, cycles, unbind, LIMIT, LONGEST};
use crate::account::{pins, Account};
use crate::child::{spawn, Gate};
use crate::device::{from_card, to_card, Device};
use crate::guest::Card;
use crate::hugepool::Pool;
use crate::memory::{Mapping, PAGE};
use crate::outcome::{same_bytes, Context as _, Outcome};
use crate::poll::until;
use crate::registry::Context;

/// Takes all cards away and brings them back, each in a process of its own, so
/// many times in all, loaded with everything.
pub(crate) fn all_cards(
    context: &Context,
    rounds: u32,
    what: &str,
    away_and_back: impl Fn(&Card, &mut Load) -> Outcome<Card>,
) -> Outcome {
    let before = pins()?;
    let count = context.cards.len();
    let _pool = Pool::of(POOL_PAGES * 2 * count)?;
    let each = rounds.div_ceil(u32::try_from(count)?);
    let mut children = Vec::new();
    for card in &context.cards {
        children.push(spawn(|| {
            let (mut card, mut late) = (card.clone(), None);
            for round in 0..each {
                let mut load = Load::new(&card)?;
                card = away_and_back(&card, &mut load).context(|| format!("round {round}"))?;
                // Closed at once, or when the next card of that name is loaded already.
                let old: Option<Load> = match round % 2 {
                    0 => Some(load),
                    _ => late.replace(load),
                };
                if let Some(old) = old {
                    old.close()?;
                }
                check_works(&card)?;
            }
            println!("longest: {} ms", LONGEST.load(Ordering::Relaxed));
            match late {
                Some(load) => load.close(),
                None => Ok(()),
            }
        })?);
    }
    for child in children {
        child.join(Duration::from_secs(100) * rounds)?;
    }
    println!("did {} {what}", each * u32::try_from(count)?);
    until("all pages unpinned", || Ok(pins()? == before))
}

pub(super) fn registered(context: &mut Context) -> Outcome {
    all_cards(context, cycles(context), "loaded unbinds", |card, load| {
        unbind(card)?;
        load.check_gone()?;
        card.bind()
    })
}

/// The same memory with a card, without it, and with the next one: the handle
/// is the old file's, the memory the program's.
pub(super) fn again(context: &mut Context) -> Outcome {
    let before = Account::now()?;
    let mut card = context.card().clone();
    let memory = Mapping::anonymous(3 * PAGE)?;
    let bytes = context.bytes(3 * PAGE);
    memory.write(0, &bytes);
    let mut old = Vec::new();
    for round in 0..cycles(context).min(20) {
        let device = Device::open(&card.path)?;
        let all = device.register(memory.address(), 3 * PAGE, 0)?;
        device.run_well(&[
            to_card(all.handle, PAGE - 50, 100, 0),
            from_card(all.handle, PAGE - 50, 100, 0),
        ])?;
        unbind(&card)?;
        check_err!(device.free(all.handle), ENODEV);
        check_err!(device.buffer_info(all.handle), ENODEV);
        same_bytes(&memory.read(0, 3 * PAGE), &bytes, "without a card")?;
        old.push(device);
        if round % 3 == 2 {
            old.clear();
            before.settle()?;
        }
        card = card.bind()?;
    }
    drop(old);
    before.settle()
}

/// Unbind does not wait for a registration that is under way; that finds no
/// card, or is the last before the card goes.
pub(super) fn registering(context: &mut Context) -> Outcome {
    let mut card = context.card().clone();
    let before = pins()?;
    for _ in 0..cycles(context) {
        let begun = Gate::new()?;
        let child = spawn(|| {
            let device = Device::open(&card.path)?;
            let memory = Mapping::anonymous(192 << 20)?;
            crate::kinds::no_huge_pages(&memory)?;
            let before = Account::now()?;
            begun.open()?;
            loop {
                match device.register(memory.address(), memory.length(), 0) {
                    Ok(all) => match device.free(all.handle) {
                        Ok(()) => {}
                        Err(Errno::ENODEV) => break,
                        Err(error) => fail!("{error:?}"),
                    },
                    Err(Errno::ENODEV) => break,
                    Err(error) => fail!("{error:?}"),
                }
            }
            drop(device);
            // Unbind may have been the one that gave it back.
            until("nothing locked", || {
                Ok(Account::now()?.locked == before.locked)
            })
        })?;
        begun.pass()?;
        std::thread::sleep(Duration::from_millis(20));
        let begin = Instant::now();
        card.unbind()?;
        let time = begin.elapsed();
        println!("unbind took {time:?}");
        check!(time < LIMIT / 2, "unbind took {time:?}");
        // It may be at 192 MiB of small pages, which takes its time in the debug kernel.
        child.join(3 * crate::poll::LONG)?;
        until("all pages unpinned", || Ok(pins()? == before))?;
        card = card.bind()?;
        check_works(&card)?;
    }
    Ok(())
}

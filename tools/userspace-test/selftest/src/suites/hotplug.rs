// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The card is pulled out of its slot, and plugged in again, by the laboratory.

use std::time::Duration;

use super::unbind::{check_works, Load, POOL_PAGES};
use crate::account::{pins, Account};
use crate::guest::Card;
use crate::hugepool::Pool;
use crate::lab::Lab;
use crate::model::models;
use crate::outcome::{Context as _, Outcome};
use crate::poll::{until, until_within};
use crate::registry::{Context, Test};

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "hotplug.idle",
        "pulled and plugged in, with nothing open",
        idle,
    )
    .seconds(120),
    Test::new(
        "hotplug.everything",
        "pulled and plugged in, loaded with everything",
        everything,
    )
    .seconds(180),
];

/// A slot's light blinks for five seconds before its power goes, and a machine
/// without KVM is slow.
const SLOW: Duration = Duration::from_secs(40);

/// A card that can be pulled, and what the laboratory calls it.
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) card: Card,
}

/// All of them.
fn slots(context: &Context, lab: &mut Lab) -> Outcome<Vec<Slot>> {
    let mut slots = Vec::new();
    let answer = lab.ask("cards")?;
    if answer.trim().is_empty() {
        skip!("needs a guest whose cards can be pulled");
    }
    for word in answer.split_whitespace() {
        let Some((name, port)) = word.split_once('=') else {
            fail!("the laboratory says '{word}'");
        };
        for card in &context.cards {
            let path = std::fs::canonicalize(card.sysfs())?;
            if path.parent().is_some_and(|parent| parent.ends_with(port)) {
                slots.push(Slot {
                    name: name.to_owned(),
                    card: card.clone(),
                });
            }
        }
    }
    check!(!slots.is_empty(), "no card that is bound can be pulled");
    Ok(slots)
}

/// Those in which the laboratory's edu-daq are.
pub(super) fn model_slots(context: &Context, lab: &mut Lab) -> Outcome<Vec<Slot>> {
    let mut slots = slots(context, lab)?;
    let models = models(lab, &context.cards)?;
    slots.retain(|slot| models.iter().any(|(name, _)| *name == slot.name));
    if slots.is_empty() {
        skip!("needs cards that are the laboratory's edu-daq");
    }
    Ok(slots)
}

/// Pulls cards, all at once: their lights blink together.
pub(super) fn pull(lab: &mut Lab, slots: &[Slot]) -> Outcome {
    for slot in slots {
        lab.ask(&format!("device_del {}", slot.name))?;
    }
    for Slot { card, .. } in slots {
        until_within(SLOW, "the card gone", || Ok(!card.sysfs().exists()))?;
        check!(card.again()?.is_none(), "the node is still there");
    }
    Ok(())
}

/// Plugs cards in again; they have new nodes then.
pub(super) fn plug(lab: &mut Lab, slots: &mut [Slot]) -> Outcome {
    for slot in &*slots {
        lab.ask(&format!("device_add {}", slot.name))?;
    }
    for Slot { card, .. } in slots {
        let mut found = None;
        until_within(SLOW, "the card there", || {
            found = card.again()?;
            // sysfs has it a moment before /dev.
            Ok(found.as_ref().is_some_and(|card| card.path.exists()))
        })?;
        match found {
            Some(found) => *card = found,
            None => fail!("{} went again", card.bus),
        }
    }
    Ok(())
}

fn idle(context: &mut Context) -> Outcome {
    let mut lab = Lab::open()?;
    for slot in slots(context, &mut lab)? {
        let mut slot = [slot];
        pull(&mut lab, &slot)?;
        plug(&mut lab, &mut slot)?;
        check_works(&slot[0].card)?;
    }
    Ok(())
}

/// 5 by itself, 100 in a soak.
fn everything(context: &mut Context) -> Outcome {
    let mut lab = Lab::open()?;
    let mut slots = slots(context, &mut lab)?;
    let before = Account::now()?;
    let pinned = pins()?;
    let _pool = Pool::of(POOL_PAGES * 2)?;
    let (count, mut late) = (slots.len(), None);
    for round in 0..context.times(5) {
        let slot = std::slice::from_mut(&mut slots[usize::try_from(round)? % count]);
        let mut load = Load::new(&slot[0].card)?;
        let name = slot[0].name.clone();
        let what = || format!("round {round}, {name}");
        pull(&mut lab, slot).context(what)?;
        load.check_gone().context(what)?;
        plug(&mut lab, slot)?;
        let old: Option<Load> = match round % 2 {
            0 => Some(load),
            _ => late.replace(load),
        };
        if let Some(old) = old {
            old.close()?;
        }
        check_works(&slot[0].card)?;
    }
    if let Some(load) = late {
        load.close()?;
    }
    println!(
        "did {} loaded cards pulled and plugged in",
        context.times(5)
    );
    check_eq!(Account::now()?.locked, before.locked);
    until("all pages unpinned", || Ok(pins()? == pinned))
}

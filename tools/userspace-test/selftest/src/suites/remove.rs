// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The card is removed from its bus, and found again.

use std::fs;
use std::time::Instant;

use super::unbind::{all_cards, check_quick};
use crate::guest::Card;
use crate::outcome::Outcome;
use crate::poll::until;
use crate::registry::{Context, Need, Test};

pub(super) const TESTS: &[Test] = &[Test::new(
    "remove.everything",
    "removed and found again, loaded with everything",
    everything,
)
.seconds(120)
.needs(&[Need::Slow])];

/// Removes a card from the bus; that must be quick. It waits while the bus is
/// searched for one of the `others`.
fn remove(card: &Card, others: u32) -> Outcome {
    let begin = Instant::now();
    fs::write(card.sysfs().join("remove"), "1")?;
    // Whether it is there is not asked: another card's process may have searched the bus since.
    check_quick(begin, others)
}

/// Finds a card again after the bus was searched.
fn rescan(card: &Card) -> Outcome<Card> {
    fs::write("/sys/bus/pci/rescan", "1")?;
    let mut found = None;
    until("the card found again", || {
        found = card.again()?;
        Ok(found.is_some())
    })?;
    match found {
        Some(card) => Ok(card),
        None => fail!("{} went again", card.bus),
    }
}

fn everything(context: &mut Context) -> Outcome {
    let others = u32::try_from(context.cards.len() - 1)?;
    // A fifth of the unbinds: 200 where those are 1,000.
    let rounds = context.times(1);
    all_cards(
        context,
        rounds,
        "loaded removals and rescans",
        |card, load| {
            remove(card, others)?;
            load.check_gone()?;
            rescan(card)
        },
    )
}

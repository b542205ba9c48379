// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Cards that go wrong because they are told to: models of the laboratory.

use nix::errno::Errno;
use userdma::sys;

use crate::device::{from_card, tagged, to_card, Device, COHERENT};
use crate::guest::Card;
use crate::lab::{Lab, Model};
use crate::memory::PAGE;
use crate::outcome::Outcome;
use crate::poll::until;
use crate::registry::{Context, Test};

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "inject.stuck",
        "a channel sticks: reset, one transfer fails, the others never notice",
        stuck,
    ),
    Test::new(
        "inject.stuck_hard",
        "a channel that no reset frees: the card is cut off, all ends, and it comes back",
        stuck_hard,
    )
    .seconds(120),
];

/// The longest that the transfer may take on which the card sticks.
const SHORT: u64 = 200_000_000;

/// A card that can be told what to do wrong.
struct Told {
    lab: Lab,
    model: Model,
}

impl Told {
    fn of(card: &Card) -> Outcome<Self> {
        let mut lab = Lab::open()?;
        match lab.model(&card.bus)? {
            Some(model) if model.kind == "edu-daq" => Ok(Self { lab, model }),
            _ => skip!("needs a card that is the laboratory's edu-daq"),
        }
    }

    fn tell(&mut self, request: &str) -> Outcome {
        self.lab.control(&self.model, request)?;
        Ok(())
    }

    fn stick(&mut self, fault: &str) -> Outcome {
        let inject = format!(r#"{{"inject":{{"fault":"{fault}","channel":0,"count":1}}}}"#);
        self.tell(&inject)
    }
}

/// A transfer on a channel.
fn on(channel: u16, tag: u64, handle: u32) -> sys::userdma_transfer {
    sys::userdma_transfer {
        channel,
        ..tagged(to_card(handle, 0, PAGE, 0), tag)
    }
}

/// The results by tag, of as many transfers as there are tags.
fn results(device: &Device, tags: usize) -> Outcome<Vec<i32>> {
    let mut records = device.collect(tags)?;
    records.sort_by_key(|record| record.user_data);
    Ok(records.iter().map(|record| record.result).collect())
}

fn works(device: &Device, handle: u32) -> Outcome {
    for channel in 0..4 {
        device.run_well(&[
            on(channel, 0, handle),
            sys::userdma_transfer {
                channel,
                ..from_card(handle, 0, PAGE, 0)
            },
        ])?;
    }
    Ok(())
}

fn stuck(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    let mut model = Told::of(&card)?;
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?.handle;
    let other = context.open()?;
    let theirs = other.alloc(COHERENT, PAGE)?.handle;
    model.stick("stuck")?;
    let mut first = on(0, 0, buffer);
    first.timeout_ns = SHORT;
    check_eq!(
        device.submit(&[first, on(0, 1, buffer), on(1, 2, buffer)])?,
        3
    );
    check_eq!(other.submit(&[on(0, 0, theirs), on(2, 1, theirs)])?, 2);
    check_eq!(results(&device, 3)?, [-libc::ETIMEDOUT, 0, 0]);
    check_eq!(results(&other, 2)?, [0, 0]);
    works(&device, buffer)
}

fn stuck_hard(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    let mut model = Told::of(&card)?;
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?.handle;
    model.stick("stuck-hard")?;
    let mut first = on(0, 0, buffer);
    first.timeout_ns = SHORT;
    check_eq!(device.submit(&[first, on(0, 1, buffer)])?, 2);
    // Behind it, and on another channel, until the card is given up: all of it ends.
    let mut sent = 2;
    let mut refused = None;
    let mut ended: Vec<sys::userdma_completion> = Vec::new();
    until("the card given up", || {
        let begun = sent - 2;
        let of = ended.iter().filter(|record| record.user_data == 2).count();
        // One at a time: else all places would be taken, and nobody would make room.
        if of == begun {
            match device.submit(&[on(1, 2, buffer)]) {
                Ok(_) => sent += 1,
                Err(error) => refused = Some(error),
            }
        }
        ended.extend(device.wait(0, 64, 0)?);
        Ok(refused.is_some())
    })?;
    check_eq!(refused, Some(Errno::EIO));
    ended.extend(device.collect(sent - ended.len())?);
    let of = |tag| ended.iter().filter(move |record| record.user_data == tag);
    check_eq!(Vec::from_iter(of(0).map(|r| r.result)), [-libc::ETIMEDOUT]);
    check_eq!(Vec::from_iter(of(1).map(|r| r.result)), [-libc::EIO]);
    for record in of(2) {
        let known = [0, -libc::EIO, -libc::ETIMEDOUT];
        check!(known.contains(&record.result), "{record:?}");
    }
    model.tell(r#"{"heal":{}}"#)?;
    until("the card back", || {
        match device.submit(&[on(1, 3, buffer)]) {
            Ok(_) => Ok(true),
            Err(error) => {
                check_eq!(error, Errno::EIO);
                Ok(false)
            }
        }
    })?;
    device.collect(1)?;
    device.check_idle()?;
    works(&device, buffer)?;
    // It was cut off from memory on purpose.
    model.tell(r#"{"forgive":{}}"#)
}

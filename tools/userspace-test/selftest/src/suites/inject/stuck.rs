// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A channel that stops, and what stands behind the transfer that it stopped in.

use nix::errno::Errno;
use userdma::sys;

use super::on;
use super::others::check_channels;
use crate::device::{tagged, to_card, Device, COHERENT};
use crate::memory::PAGE;
use crate::model::Faulty;
use crate::outcome::Outcome;
use crate::poll::until;
use crate::registry::Context;

/// The longest that the transfer may take on which the card sticks.
const SHORT: u64 = 200_000_000;

fn tagged_on(channel: u16, tag: u64, handle: u32) -> sys::userdma_transfer {
    on(channel, tagged(to_card(handle, 0, PAGE, 0), tag))
}

/// The results by tag, of as many transfers as there are tags.
fn results(device: &Device, tags: usize) -> Outcome<Vec<i32>> {
    let mut records = device.collect(tags)?;
    records.sort_by_key(|record| record.user_data);
    Ok(records.iter().map(|record| record.result).collect())
}

/// What the card was given behind it, of its file and of another, is given again.
pub(super) fn behind(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    let mut model = Faulty::of(&card)?;
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?.handle;
    let other = context.open()?;
    let theirs = other.alloc(COHERENT, PAGE)?.handle;
    model.inject("stuck", 0)?;
    let mut first = tagged_on(0, 0, buffer);
    first.timeout_ns = SHORT;
    check_eq!(
        device.submit(&[first, tagged_on(0, 1, buffer), tagged_on(1, 2, buffer)])?,
        3
    );
    check_eq!(
        other.submit(&[tagged_on(0, 0, theirs), tagged_on(2, 1, theirs)])?,
        2
    );
    check_eq!(results(&device, 3)?, [-libc::ETIMEDOUT, 0, 0]);
    check_eq!(results(&other, 2)?, [0, 0]);
    check_channels(&card)
}

pub(super) fn stuck_hard(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    let mut model = Faulty::of(&card)?;
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?.handle;
    model.inject("stuck-hard", 0)?;
    let mut first = tagged_on(0, 0, buffer);
    first.timeout_ns = SHORT;
    check_eq!(device.submit(&[first, tagged_on(0, 1, buffer)])?, 2);
    // Behind it, and on another channel, until the card is given up: all of it ends.
    let mut sent = 2;
    let mut refused = None;
    let mut ended: Vec<sys::userdma_completion> = Vec::new();
    until("the card given up", || {
        let begun = sent - 2;
        let of = ended.iter().filter(|record| record.user_data == 2).count();
        // One at a time: else all places would be taken, and nobody would make room.
        if of == begun {
            match device.submit(&[tagged_on(1, 2, buffer)]) {
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
    model.heal()?;
    until("the card back", || {
        match device.submit(&[tagged_on(1, 3, buffer)]) {
            Ok(_) => Ok(true),
            Err(error) => {
                check_eq!(error, Errno::EIO);
                Ok(false)
            }
        }
    })?;
    device.collect(1)?;
    device.check_idle()?;
    drop(device);
    check_channels(&card)?;
    // It was cut off from memory on purpose.
    model.forgive("master")
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A card that does not stop in the middle of a copy.

use nix::errno::Errno;

use crate::device::{host_to_host, Device, COHERENT, HUGE};
use crate::model::Faulty;
use crate::outcome::Outcome;
use crate::poll::until;
use crate::raw::wide;
use crate::registry::Context;

const LENGTH: usize = 1 << 20;

/// The longest that the copy may take that the card sticks in.
const SHORT: u64 = 200_000_000;

/// Whether the card accepts a copy, and does it.
fn is_back(device: &Device) -> Outcome<bool> {
    let (from, to) = (device.alloc(COHERENT, LENGTH)?, device.alloc(HUGE, LENGTH)?);
    let copy = host_to_host((from.handle, 0), (to.handle, 0), LENGTH);
    let back = match device.submit(&[copy]) {
        Ok(_) => {
            let record = device.collect(1)?[0];
            check_eq!((record.result, record.bytes), (0, wide(LENGTH)));
            true
        }
        Err(error) => {
            check_eq!(error, Errno::EIO);
            false
        }
    };
    device.free(from.handle)?;
    device.free(to.handle)?;
    Ok(back)
}

pub(super) fn held(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    let mut model = Faulty::of(&card)?;
    let device = context.open()?;
    let before = card.counter("buffers")?;
    let (from, to) = (device.alloc(HUGE, LENGTH)?, device.alloc(HUGE, LENGTH)?);
    model.inject("stuck-hard", 0)?;
    let mut copy = host_to_host((from.handle, 0), (to.handle, 0), LENGTH);
    copy.timeout_ns = SHORT;
    check_eq!(device.submit(&[copy])?, 1);
    check_eq!(device.collect(1)?[0].result, -libc::ETIMEDOUT);
    // For the program it has ended; the card may still read the one and write the other.
    device.free(from.handle)?;
    device.free(to.handle)?;
    check_eq!(
        card.counter("buffers")?,
        before + 2,
        "that the card may use"
    );
    model.heal()?;
    until("the card back", || is_back(&device))?;
    until("all given back", || Ok(card.counter("buffers")? == before))?;
    device.check_idle()?;
    // It was cut off from memory on purpose.
    model.forgive("master")
}

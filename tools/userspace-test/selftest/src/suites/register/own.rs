// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Mappings of the driver's own buffers.

use super::{register, set_card};
use crate::account::Account;
use crate::device::{from_card, to_card, Device, COHERENT, HUGE};
use crate::memory::{HUGE as HUGE_PAGE, PAGE};
use crate::outcome::{all_bytes, same_bytes, Outcome};
use crate::raw::wide;
use crate::registry::Context;
use crate::requests::contents;

/// It is not ordinary memory, touched or not, with an IOMMU and without.
pub(super) fn coherent(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = Account::now()?;
    let buffer = device.alloc(COHERENT, 4 * PAGE)?;
    let map = device.map(&buffer)?;
    let source = userdma::sys::USERDMA_REGISTER_SOURCE;
    for flags in [0, source] {
        check_err!(register(&device, &map, 0, PAGE, flags), EFAULT, "untouched");
    }
    map.fill(0..4 * PAGE, 1);
    for flags in [0, source] {
        check_err!(
            register(&device, &map, 8, 3 * PAGE, flags),
            EFAULT,
            "touched"
        );
    }
    before.check()
}

/// The pages stay as long as they are registered, whatever becomes of the
/// buffer and its mapping; then they go.
pub(super) fn huge(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = Account::now()?;
    let buffer = device.alloc(HUGE, 2 * HUGE_PAGE)?;
    let map = device.map(&buffer)?;
    let bytes = context.bytes(1000);
    let place = HUGE_PAGE - 400;
    map.write(place, &bytes);
    let registered = register(&device, &map, 100, 2 * HUGE_PAGE - 200, 0)?;
    check_eq!(registered.page_size, wide(HUGE_PAGE));
    // Through the one, through the other: it is one memory.
    let there = set_card(context, &device)?;
    device.run_well(&[from_card(registered.handle, 4900, 64, 0)])?;
    same_bytes(&map.read(5000, 64), &there[..64], "in the buffer's mapping")?;
    device.free(buffer.handle)?;
    drop(map);
    // Whoever gets memory now does not get this.
    for _ in 0..4 {
        let other = device.alloc(HUGE, 4 * HUGE_PAGE)?;
        let map = device.map(&other)?;
        all_bytes(&map.read(0, map.length()), 0, "somebody else's new memory")?;
        map.fill(0..map.length(), 0xee);
        drop(map);
        device.free(other.handle)?;
    }
    device.run_well(&[
        to_card(registered.handle, place - 100, 1000, 9),
        from_card(registered.handle, place, 64, 9),
        to_card(registered.handle, 4900, 64, 2000),
    ])?;
    let now = contents(&device)?;
    same_bytes(&now[9..1009], &bytes, "out of a buffer that was freed")?;
    same_bytes(&now[2000..2064], &there[..64], "the card's own bytes")?;
    device.free(registered.handle)?;
    before.settle()
}

/// Another card's memory: that card goes, its mapping with it, and what is
/// registered stays what it is.
pub(super) fn other_card(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let other = context.cards[1].clone();
    let theirs = Device::open(&other.path)?;
    let buffer = theirs.alloc(HUGE, HUGE_PAGE)?;
    let map = theirs.map(&buffer)?;
    let before = Account::now()?;
    let registered = register(&device, &map, 0, HUGE_PAGE, 0)?;
    let there = set_card(context, &device)?;
    device.run_well(&[from_card(registered.handle, 77, 500, 0)])?;
    same_bytes(
        &map.read(77, 500),
        &there[..500],
        "through the other mapping",
    )?;
    // From here to there without a copy.
    theirs.run_well(&[to_card(buffer.handle, 77, 500, 1)])?;
    same_bytes(
        &contents(&theirs)?[1..501],
        &there[..500],
        "from card to card",
    )?;
    other.unbind()?;
    map.check_gone(0..HUGE_PAGE)?;
    drop(map);
    drop(theirs);
    device.run_well(&[to_card(registered.handle, 77, 500, 2000)])?;
    same_bytes(
        &contents(&device)?[2000..2500],
        &there[..500],
        "memory of a card that has gone",
    )?;
    device.free(registered.handle)?;
    before.settle()?;
    other.bind()?;
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the program does with its mapping afterwards does not change which
//! pages the card reaches.

use super::{register, set_card};
use crate::account::Account;
use crate::child::{spawn, Gate};
use crate::device::{from_card, to_card, Device};
use crate::memory::{Mapping, PAGE, RO, RW};
use crate::outcome::{all_bytes, same_bytes, Outcome};
use crate::poll::LONG;
use crate::raw;
use crate::registry::Context;
use crate::requests::contents;

/// What the card finds in the pages of `handle`.
fn seen_by_card(device: &Device, handle: u32, length: usize) -> Outcome<Vec<u8>> {
    device.run_well(&[to_card(handle, 0, length, 0)])?;
    let mut bytes = contents(device)?;
    bytes.truncate(length);
    Ok(bytes)
}

pub(super) fn moved(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = Account::now()?;
    // Other memory at the same place: it is not touched.
    let memory = Mapping::anonymous(2 * PAGE)?;
    let bytes = context.bytes(2 * PAGE);
    memory.write(0, &bytes);
    let registered = register(&device, &memory, 0, 2 * PAGE, 0)?;
    memory.unmap(0..2 * PAGE)?;
    memory.cover(0..2 * PAGE)?;
    memory.fill(0..2 * PAGE, 0x77);
    let there = set_card(context, &device)?;
    device.run_well(&[from_card(registered.handle, 0, 500, 0)])?;
    all_bytes(&memory.read(0, 2 * PAGE), 0x77, "other memory in its place")?;
    let seen = seen_by_card(&device, registered.handle, 1000)?;
    same_bytes(&seen[..500], &there[..500], "what the card wrote")?;
    same_bytes(&seen[500..], &bytes[500..1000], "what the program wrote")?;
    device.free(registered.handle)?;
    all_bytes(&memory.read(0, 2 * PAGE), 0x77, "other memory afterwards")?;
    before.settle()?;

    // Moved to another address: the pages move, and the card's bytes are found there.
    let mut memory = Mapping::anonymous(2 * PAGE)?;
    memory.write(0, &bytes);
    let registered = register(&device, &memory, 0, 2 * PAGE, 0)?;
    let _beside = Mapping::anonymous(PAGE)?;
    memory.resize(64 * PAGE)?;
    let there = set_card(context, &device)?;
    device.run_well(&[from_card(registered.handle, PAGE - 50, 100, 0)])?;
    same_bytes(&memory.read(PAGE - 50, 100), &there[..100], "after mremap")?;
    memory.set_byte(7, 0x21);
    check_eq!(seen_by_card(&device, registered.handle, 8)?[7], 0x21);
    device.free(registered.handle)?;
    before.settle()?;

    // Protected: from the program, not from the card, which was let in before.
    let memory = Mapping::anonymous(2 * PAGE)?;
    let registered = register(&device, &memory, 0, 2 * PAGE, 0)?;
    for protection in [RO, libc::PROT_NONE] {
        memory.protect(0..2 * PAGE, protection)?;
        let there = set_card(context, &device)?;
        device.run_well(&[from_card(registered.handle, 33, 200, 5)])?;
        memory.protect(0..2 * PAGE, RW)?;
        same_bytes(&memory.read(33, 200), &there[5..205], "after mprotect")?;
    }
    device.free(registered.handle)?;
    before.settle()
}

/// A part goes or is covered: the buffer stays whole for the card.
pub(super) fn partial(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = Account::now()?;
    let memory = Mapping::anonymous(4 * PAGE)?;
    let bytes = context.bytes(4 * PAGE);
    memory.write(0, &bytes);
    let registered = register(&device, &memory, 0, 4 * PAGE, 0)?;
    memory.unmap(PAGE..2 * PAGE)?;
    memory.cover(2 * PAGE..3 * PAGE)?;
    memory.fill(2 * PAGE..3 * PAGE, 0x5b);
    let there = set_card(context, &device)?;
    // From what is still mapped into the hole, and from the covered part into the last one.
    device.run_well(&[
        from_card(registered.handle, PAGE - 100, 200, 0),
        from_card(registered.handle, 3 * PAGE - 100, 200, 200),
    ])?;
    same_bytes(
        &memory.read(PAGE - 100, 100),
        &there[..100],
        "before the hole",
    )?;
    all_bytes(&memory.read(2 * PAGE, PAGE), 0x5b, "the cover")?;
    same_bytes(
        &memory.read(3 * PAGE, 100),
        &there[300..400],
        "behind the cover",
    )?;
    device.run_well(&[to_card(registered.handle, PAGE, PAGE, 0)])?;
    let seen = contents(&device)?;
    same_bytes(&seen[..100], &there[100..200], "in the hole")?;
    same_bytes(
        &seen[100..PAGE],
        &bytes[PAGE + 100..2 * PAGE],
        "the hole's own",
    )?;
    device.free(registered.handle)?;
    before.settle()
}

/// CVE-2020-29374: after fork one of the two gets copies, and it must not be
/// the one whose pages the card knows.
pub(super) fn fork(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = Account::now()?;
    let memory = Mapping::anonymous(3 * PAGE)?;
    let bytes = context.bytes(3 * PAGE);
    memory.write(0, &bytes);
    let there = set_card(context, &device)?;
    let registered = register(&device, &memory, 0, 3 * PAGE, 0)?;
    // One transfer is under way meanwhile.
    check_eq!(device.submit(&[from_card(registered.handle, 0, 64, 0)])?, 1);
    let (written, look) = (Gate::new()?, Gate::new()?);
    let child = spawn(|| {
        memory.fill(PAGE..2 * PAGE, 0xc0);
        written.open()?;
        look.pass()?;
        all_bytes(&memory.read(PAGE, PAGE), 0xc0, "the child's page")?;
        same_bytes(
            &memory.read(2 * PAGE, PAGE),
            &bytes[2 * PAGE..],
            "a page as it was at the fork",
        )
    })?;
    written.pass()?;
    check_eq!(device.collect(1)?[0].result, 0);
    memory.fill(2 * PAGE..2 * PAGE + 32, 0xaa);
    device.run_well(&[
        from_card(registered.handle, PAGE, 64, 100),
        from_card(registered.handle, 2 * PAGE + 32, 64, 200),
        to_card(registered.handle, 2 * PAGE, 96, 1000),
    ])?;
    same_bytes(&memory.read(0, 64), &there[..64], "in flight at the fork")?;
    same_bytes(
        &memory.read(PAGE, 64),
        &there[100..164],
        "where the child has written",
    )?;
    let mut want = vec![0xaa; 32];
    want.extend_from_slice(&there[200..264]);
    same_bytes(
        &memory.read(2 * PAGE, 96),
        &want,
        "where the parent has written",
    )?;
    same_bytes(
        &contents(&device)?[1000..1096],
        &want,
        "what the card was given",
    )?;
    look.open()?;
    child.join(LONG)?;
    device.free(registered.handle)?;
    before.settle()
}

/// The program throws its pages away and gets others; the card does not.
pub(super) fn discarded(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = Account::now()?;
    let memory = Mapping::anonymous(PAGE)?;
    memory.fill(0..PAGE, 0x19);
    let registered = register(&device, &memory, 0, PAGE, 0)?;
    raw::madvise(memory.address(), PAGE, libc::MADV_DONTNEED)?;
    all_bytes(&memory.read(0, PAGE), 0, "after MADV_DONTNEED")?;
    let there = set_card(context, &device)?;
    device.run_well(&[from_card(registered.handle, 0, 64, 0)])?;
    all_bytes(&memory.read(0, PAGE), 0, "the program's new page")?;
    let seen = seen_by_card(&device, registered.handle, PAGE)?;
    same_bytes(&seen[..64], &there[..64], "the old page")?;
    all_bytes(&seen[64..], 0x19, "the rest of the old page")?;
    device.free(registered.handle)?;
    before.settle()
}

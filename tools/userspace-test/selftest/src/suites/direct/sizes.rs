// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Which requests go which way.

use super::{is_direct, Ways};
use crate::device::Device;
use crate::guest::number;
use crate::memory::{Mapping, PAGE};
use crate::outcome::{all_bytes, same_bytes, Context as _, Outcome};
use crate::raw::{size, wide};
use crate::registry::Context;
use crate::requests::{contents, pread, pwrite, set_contents};

/// Writes and reads back `length` bytes of memory at `place`, at `offset` of
/// the card, and looks at everything around and at the way they went.
fn one(
    context: &mut Context,
    device: &Device,
    card: &mut [u8],
    (length, place, offset): (usize, usize, usize),
) -> Outcome {
    let memory = Mapping::anonymous((place + length).next_multiple_of(PAGE) + PAGE)?;
    let all = memory.length();
    let address = memory.address() + place;
    let direct = is_direct(device, place | length, length, offset)?;
    let at = i64::try_from(offset)?;
    let bytes = context.bytes(length);
    memory.fill(0..all, 0xf1);
    memory.write(place, &bytes);
    let before = Ways::of(device)?;
    check_eq!(pwrite(device, address, length, at), Ok(length));
    let written = before.and(direct, length);
    check_eq!(Ways::of(device)?, written);
    card[offset..offset + length].copy_from_slice(&bytes);
    memory.fill(0..all, 0xf2);
    check_eq!(pread(device, address, length, at), Ok(length));
    check_eq!(Ways::of(device)?, written.and(direct, length));
    same_bytes(&memory.read(place, length), &bytes, "read back")?;
    all_bytes(&memory.read(0, place), 0xf2, "before")?;
    let end = place + length;
    all_bytes(&memory.read(end, all - end), 0xf2, "behind")
}

pub(super) fn sizes(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let info = device.info()?;
    let end = size(info.out_card_size);
    // Of a card that never pins, the sizes around nothing in particular.
    let least = match size(info.out_direct_min) {
        least if (8..end).contains(&least) => least,
        _ => end / 8,
    };
    let mut card = context.bytes(end);
    set_contents(&device, &card)?;
    let places = [0, 4, 2, 1, PAGE - 4, PAGE - 2, PAGE - least / 2];
    for length in [
        least - 4,
        least - 1,
        least,
        least + 2,
        least + 4,
        3 * least / 2,
    ] {
        for place in places {
            let offset = context.between(0, end - length);
            one(context, &device, &mut card, (length, place, offset))
                .context(|| format!("{length} bytes at {place} of memory, {offset} of the card"))?;
        }
    }
    // All of the card's memory, over three pages of ours.
    for place in [0, 8, PAGE - 8] {
        one(context, &device, &mut card, (end, place, 0))
            .context(|| format!("all of it, at {place}"))?;
    }
    same_bytes(&contents(&device)?, &card, "the card in the end")
}

pub(super) fn end(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let info = device.info()?;
    let end = size(info.out_card_size);
    let least = size(info.out_direct_min).clamp(16, end);
    let asked = end + 2 * PAGE;
    let memory = Mapping::anonymous(asked + PAGE)?;
    let all = memory.length();
    let card = context.bytes(end);
    set_contents(&device, &card)?;
    for left in [least - 4, least, 4, end] {
        let offset = end - left;
        memory.fill(0..all, 0xe7);
        let before = Ways::of(&device)?;
        let got = pread(&device, memory.address(), asked, i64::try_from(offset)?);
        check_eq!(got, Ok(left));
        let direct = is_direct(&device, 0, asked, offset)?;
        check_eq!(
            Ways::of(&device)?,
            before.and(direct, left),
            "{left} are left"
        );
        same_bytes(&memory.read(0, left), &card[offset..], "the end")?;
        all_bytes(&memory.read(left, all - left), 0xe7, "behind")?;
        // As much is written, and no more.
        let got = pwrite(&device, memory.address(), asked, i64::try_from(offset)?);
        check_eq!(got, Ok(left));
    }
    // At the end nothing is pinned or copied.
    let before = Ways::of(&device)?;
    check_eq!(
        pread(&device, memory.address(), PAGE, i64::try_from(end)?),
        Ok(0)
    );
    check_err!(
        pwrite(&device, memory.address(), PAGE, i64::try_from(end)?),
        ENOSPC
    );
    check_eq!(Ways::of(&device)?, before);
    same_bytes(&contents(&device)?, &card, "the card in the end")
}

/// What the file counts, and what the card counts for all files.
pub(super) fn counters(context: &mut Context) -> Outcome {
    const KEYS: [&str; 4] = [
        "direct_requests",
        "copied_requests",
        "direct_bytes",
        "copied_bytes",
    ];
    let card = context.card().clone();
    let before = card.stats()?;
    let files = [context.open()?, context.open()?];
    let memory = Mapping::anonymous(PAGE)?;
    let mut want = [0; 4];
    for (length, place) in [(16, 0), (2048, 0), (2048, 1), (4096, 0)] {
        for device in &files {
            let direct = is_direct(device, place | length, length, 0)?;
            let got = pread(device, memory.address() + place, length, 0);
            check_eq!(got, Ok(length));
            let length = wide(length);
            want[usize::from(!direct)] += 1;
            want[2 + usize::from(!direct)] += length;
        }
    }
    let after = card.stats()?;
    for (key, want) in KEYS.iter().zip(want) {
        let grown = number(&after, key)? - number(&before, key)?;
        check_eq!(grown, want, "{key} of the card");
        let mut sum = 0;
        for device in &files {
            sum += number(&crate::guest::fdinfo(device)?, key)?;
        }
        check_eq!(sum, want, "{key} of the files");
    }
    let requests = number(&after, "reads")? - number(&before, "reads")?;
    check_eq!(requests, want[0] + want[1]);
    Ok(())
}

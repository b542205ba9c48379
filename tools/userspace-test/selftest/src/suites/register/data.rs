// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Bytes go where they should, and nowhere else.

use nix::errno::Errno;
use userdma::sys;

use super::{register, set_card};
use crate::account::{whole_pages, Account};
use crate::device::{from_card, to_card, Device};
use crate::hugepool::Pool;
use crate::kinds::{All, Kind};
use crate::memory::{Mapping, Window, HUGE, PAGE};
use crate::outcome::{all_bytes, same_bytes, Context as _, Outcome};
use crate::raw::{size, wide};
use crate::registry::Context;
use crate::requests::contents;

/// Registers what lies between `begin` and `end` of `memory` and moves bytes
/// both ways; everything else of the memory and of the card must stay.
pub(super) fn both_ways(
    context: &mut Context,
    device: &Device,
    memory: &Window,
    (begin, end): (usize, usize),
) -> Outcome {
    let before = Account::now()?;
    let mut want = context.bytes(memory.length());
    memory.write(0, &want);
    let length = end - begin;
    let registered = register(device, memory, begin, length, 0)?;
    check_eq!(registered.length, length);
    check_eq!(
        registered.pinned,
        whole_pages(memory.address() + begin, length)
    );
    let info = device.buffer_info(registered.handle)?;
    check_eq!(info.out_kind, sys::USERDMA_BUF_USER);
    check_eq!(info.out_length, wide(length));
    check_eq!(info.out_segments, registered.segments);
    check_eq!(info.out_page_size, registered.page_size);
    check_eq!((info.out_mmap_offset, info.out_mappings), (0, 0));

    // The first byte, the last ones, and from one page into the next.
    let mut there = set_card(context, device)?;
    let page = if memory.length() > HUGE {
        HUGE
    } else {
        2 * PAGE
    };
    let over = (memory.address() + begin + 400).next_multiple_of(page) - 300;
    let over = over - memory.address() - begin;
    let shapes = [(0, 1, 4095), (length - 700, 700, 0), (over, 1000, 1001)];
    let transfers = shapes.map(|(offset, count, place)| {
        want[begin + offset..begin + offset + count].copy_from_slice(&there[place..place + count]);
        from_card(registered.handle, offset, count, place)
    });
    device.run_well(&transfers)?;
    same_bytes(&memory.read(0, memory.length()), &want, "from the card")?;

    let transfers = shapes.map(|(offset, count, place)| {
        let place = 4096 - place - count;
        there[place..place + count].copy_from_slice(&want[begin + offset..begin + offset + count]);
        to_card(registered.handle, offset, count, place)
    });
    device.run_well(&transfers)?;
    same_bytes(&contents(device)?, &there, "to the card")?;
    same_bytes(&memory.read(0, memory.length()), &want, "afterwards")?;
    device.free(registered.handle)?;
    before.settle()
}

pub(super) fn round_trip(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for kind in Kind::ALL {
        let length = 2 * kind.page().max(4 * PAGE);
        let _pool = match kind.of_pool() {
            true => Some(Pool::of(length / HUGE)?),
            false => None,
        };
        let memory = kind.make(length)?;
        // All of it, and a part with neither end at the end of a page.
        for part in [(0, memory.length()), (101, memory.length() - 77)] {
            both_ways(context, &device, &memory, part).context(|| format!("{kind:?} {part:?}"))?;
        }
    }
    Ok(())
}

/// Starts and lengths around the ends of pages: what was pinned and what the
/// buffer then is.
pub(super) fn places(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = Account::now()?;
    let memory = Mapping::anonymous(4 * PAGE)?;
    let places = [0, 1, 7, 63, 64, 511, 2048, PAGE - 1];
    let lengths = [
        1,
        2,
        63,
        PAGE - 1,
        PAGE,
        PAGE + 1,
        2 * PAGE - 1,
        2 * PAGE,
        2 * PAGE + 1,
    ];
    for start in places {
        for length in lengths {
            let registered = register(&device, &memory, start, length, 0)?;
            let pinned = whole_pages(memory.address() + start, length);
            check_eq!(registered.pinned, pinned, "{length} bytes at {start}");
            before.with_locked(pinned).with_pins(pinned).check()?;
            let info = device.buffer_info(registered.handle)?;
            check_eq!(info.out_length, wide(length), "{length} bytes at {start}");
            // Not one byte more can be moved.
            if length < PAGE {
                let beyond = from_card(registered.handle, 0, length + 1, 0);
                check_err!(device.submit(&[beyond]), ERANGE);
            }
            let last = from_card(registered.handle, length, 1, 0);
            check_err!(device.submit(&[last]), ERANGE);
            device.free(registered.handle)?;
            before.check()?;
        }
    }
    Ok(())
}

/// Memory that begins and ends in the middle of a page: its very first and last
/// bytes arrive, those before and behind stay.
pub(super) fn edges(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let memory = Mapping::anonymous(3 * PAGE)?;
    let there = set_card(context, &device)?;
    let places = [
        (PAGE - 1, 2),
        (PAGE - 2, 3),
        (1, 1),
        (PAGE - 3, PAGE + 6),
        (5, 3 * PAGE - 11),
    ];
    let safe = context.card().reaches_last_bytes();
    for (begin, length) in places
        .into_iter()
        .filter(|(begin, _)| safe || begin % PAGE != PAGE - 1)
    {
        memory.fill(0..3 * PAGE, 0xc3);
        let registered = register(&device, &memory, begin, length, 0)?;
        let most = length.min(4096);
        device.run_well(&[
            from_card(registered.handle, 0, most, 0),
            from_card(registered.handle, length - 1, 1, 4095),
        ])?;
        let what = || format!("{length} bytes at {begin}");
        let mut want = there[..most].to_vec();
        if let (true, Some(last)) = (most == length, want.last_mut()) {
            *last = there[4095];
        }
        same_bytes(&memory.read(begin, most), &want, "the bytes").context(what)?;
        check_eq!(memory.byte(begin + length - 1), there[4095]);
        all_bytes(&memory.read(0, begin), 0xc3, "before").context(what)?;
        let end = begin + length;
        all_bytes(&memory.read(end, 3 * PAGE - end), 0xc3, "behind").context(what)?;
        device.free(registered.handle)?;
    }
    Ok(())
}

/// Overlapping registrations: each is pinned and counted for itself.
pub(super) fn overlap(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = Account::now()?;
    let memory = Mapping::anonymous(4 * PAGE)?;
    memory.fill(0..4 * PAGE, 0x10);
    let there = set_card(context, &device)?;
    let first = register(&device, &memory, 0, 3 * PAGE, 0)?;
    let second = register(&device, &memory, PAGE + 8, 2 * PAGE, 0)?;
    let both = first.pinned + second.pinned;
    check_eq!(both, wide(6 * PAGE));
    before.with_locked(both).with_pins(both).check()?;
    // The same bytes through either, one behind the other.
    device.run_well(&[
        from_card(first.handle, PAGE + 8, 64, 0),
        to_card(second.handle, 0, 64, 1024),
        from_card(second.handle, 100, 64, 1024),
    ])?;
    same_bytes(&memory.read(PAGE + 8, 64), &there[..64], "through one")?;
    same_bytes(
        &memory.read(PAGE + 108, 64),
        &there[..64],
        "through the other",
    )?;
    device.free(first.handle)?;
    before
        .with_locked(second.pinned)
        .with_pins(second.pinned)
        .settle()?;
    device.run_well(&[from_card(second.handle, 2 * PAGE - 64, 64, 2000)])?;
    same_bytes(
        &memory.read(3 * PAGE + 8 - 64, 64),
        &there[2000..2064],
        "after one was freed",
    )?;
    device.free(second.handle)?;
    before.settle()
}

/// Freed and unmapped at once: the transfers still run, on those pages, and
/// then nothing is pinned or locked any more.
pub(super) fn in_flight(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = Account::now()?;
    let there = set_card(context, &device)?;
    for kind in [Kind::Anonymous, Kind::Memfd] {
        let memory = kind.make(2 * PAGE)?;
        let bytes = context.bytes(2 * PAGE);
        memory.write(0, &bytes);
        let registered = register(&device, &memory, 0, 2 * PAGE, 0)?;
        let transfers = [
            from_card(registered.handle, 64, 100, 0),
            to_card(registered.handle, 0, 256, 2048),
        ];
        check_eq!(device.submit(&transfers)?, 2);
        device.free(registered.handle)?;
        check_err!(device.buffer_info(registered.handle), ENOENT);
        check_err!(device.submit(&transfers), ENOENT);
        drop(memory);
        // Whoever gets memory now gets other memory.
        let other = Mapping::anonymous(1 << 20)?;
        other.fill(0..1 << 20, 0xdd);
        for record in device.collect(2)? {
            check_eq!(record.result, 0, "{kind:?}");
        }
        all_bytes(&other.read(0, 1 << 20), 0xdd, "somebody else's memory")?;
        let mut want = bytes[..256].to_vec();
        want[64..164].copy_from_slice(&there[..100]);
        same_bytes(
            &contents(&device)?[2048..2304],
            &want,
            "out of freed memory",
        )?;
        drop(other);
        before.settle()?;
    }
    Ok(())
}

/// Every handle names registered memory; then there is none left.
pub(super) fn handles(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = Account::now()?;
    let most = device.info()?.out_max_buffers;
    // Each of them has a page of its own.
    let all = All::make(size(most.into()).div_ceil(Kind::ALL.len()) * PAGE)?;
    let (mut held, mut locked) = (Vec::new(), 0);
    for (n, memory) in (0..size(most.into())).zip(all.memory.iter().cycle()) {
        let begin = n / all.memory.len() * PAGE + 8;
        held.push(register(&device, memory, begin, 100, 0)?);
        locked += whole_pages(memory.address() + begin, 100);
    }
    let now = Account::now()?;
    check_eq!(now.locked - before.locked, locked);
    for memory in &all.memory {
        check_eq!(
            register(&device, memory, 0, 1, 0).map(drop),
            Err(Errno::ENOSPC),
            "{:?}",
            memory.kind()
        );
        now.check()?;
    }
    // One is free again, in the middle.
    device.free(held.swap_remove(held.len() / 2).handle)?;
    held.push(register(&device, &all.memory[0], 0, 1, 0)?);
    for registered in held {
        device.free(registered.handle)?;
    }
    drop(all);
    before.settle()
}

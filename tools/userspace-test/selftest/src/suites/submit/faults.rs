// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Transfers that must not begin, that end badly, and that lose their owner.

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use userdma::sys;

use crate::child::{spawn, Exit, Gate};
use crate::device::{from_card, tagged, to_card, Device, COHERENT, HUGE};
use crate::memory::{Mapping, PAGE};
use crate::model::{is_slow, Model};
use crate::outcome::{all_bytes, same_bytes, Outcome};
use crate::poll::{after, while_card_is_busy, LONG};
use crate::raw::{size, wide};
use crate::registry::Context;

/// What one offset and a length may give against an end.
fn expected(offset: u64, length: u64, end: u64) -> Option<Errno> {
    match offset.checked_add(length) {
        None => Some(Errno::EOVERFLOW),
        Some(last) if last > end => Some(Errno::ERANGE),
        Some(_) => None,
    }
}

/// A grid of buffer offset, card offset and length around every edge.
pub(super) fn edges(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let info = device.info()?;
    let (card_end, buffer_end) = (info.out_card_size, wide(2 * PAGE));
    let buffer = device.alloc(COHERENT, 2 * PAGE)?;
    let around = |end: u64| {
        [
            0,
            1,
            end - 1,
            end,
            end + 1,
            1 << 31,
            (1 << 32) - 1,
            1 << 32,
            (1 << 32) + 1,
            1 << 63,
            u64::MAX - end,
            u64::MAX - 1,
            u64::MAX,
        ]
    };
    let lengths = [
        0,
        1,
        card_end - 1,
        card_end,
        card_end + 1,
        buffer_end,
        1 << 32,
        (1 << 32) + 1,
        1 << 63,
        u64::MAX - 1,
        u64::MAX,
    ];
    let mut accepted = 0;
    for make in [to_card, from_card] {
        for length in lengths {
            for buffer_offset in around(buffer_end) {
                for card_offset in around(card_end) {
                    let mut transfer = make(buffer.handle, 0, 1, 0);
                    transfer.length = length;
                    transfer.buffer_offset = buffer_offset;
                    transfer.card_offset = card_offset;
                    let one = expected(buffer_offset, length, buffer_end);
                    let two = expected(card_offset, length, card_end);
                    let want = match (one, two) {
                        _ if length == 0 => Some(Errno::EINVAL),
                        // The buffer is looked at before the card.
                        (one, two) => one.or(two),
                    };
                    // Those that fit take the card's time: a few are enough.
                    if want.is_none() {
                        accepted += 1;
                        if accepted % 4 == 0 {
                            device.run_well(&[transfer])?;
                        }
                        continue;
                    }
                    let result = device.submit(&[transfer]);
                    check_eq!(
                        result,
                        Err(want.unwrap_or(Errno::EINVAL)),
                        "length {length:#x}, buffer {buffer_offset:#x}, card {card_offset:#x}"
                    );
                }
            }
        }
    }
    check!(accepted > 8, "only {accepted} of the grid fit");
    device.check_idle()
}

/// BUF_FREE returns at once; transfers that were accepted still run, with the
/// buffer's own memory.
pub(super) fn free_in_flight(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let bytes = context.bytes(256);
    let buffer = device.alloc(COHERENT, PAGE)?;
    let map = device.map(&buffer)?;
    map.write(0, &bytes);
    drop(map);
    let transfers: Vec<_> = (0..4)
        .map(|number| tagged(to_card(buffer.handle, 0, 256, 256 * size(number)), number))
        .collect();
    while_card_is_busy(|| {
        let device = context.open()?;
        let other = device.alloc(COHERENT, PAGE)?;
        device.submit(&[from_card(other.handle, 0, 8, 0)])?;
        device.free(other.handle)?;
        let ended = device.wait(0, 8, 0)?.len();
        check_eq!(ended, 0, "BUF_FREE waited for the card");
        Ok(())
    })?;
    device.submit(&transfers)?;
    device.free(buffer.handle)?;
    check_err!(device.buffer_info(buffer.handle), ENOENT);
    check_err!(device.submit(&transfers), ENOENT);
    // Whoever gets memory meanwhile does not get this: his would be sent.
    for _ in 0..16 {
        let other = device.alloc(COHERENT, PAGE)?;
        device.map(&other)?.fill(0..PAGE, 0xdd);
    }
    for record in device.collect(4)? {
        check_eq!(record.result, 0);
        check_eq!(record.bytes, 256);
    }
    let mut card = vec![0; 1024];
    device.file().read_exact_at(&mut card, 0)?;
    same_bytes(&card, &bytes.repeat(4), "what a freed buffer sent")
}

pub(super) fn stale_handle(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let first = device.alloc(COHERENT, PAGE)?;
    device.free(first.handle)?;
    // The next buffers are somebody else's in a program that mixes its handles up.
    for _ in 0..64 {
        let other = device.alloc(COHERENT, PAGE)?;
        check!(
            other.handle != first.handle,
            "the handle came again at once"
        );
        check_err!(device.submit(&[from_card(first.handle, 0, 64, 0)]), ENOENT);
        all_bytes(&device.map(&other)?.read(0, 64), 0, "another buffer")?;
    }
    Ok(())
}

/// The card cannot be stopped, so the time limit ends the wait and not the
/// transfer; the record says so, and what comes next is right.
pub(super) fn too_short(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, 2 * PAGE)?;
    let map = device.map(&buffer)?;
    let bytes = context.bytes(512);
    map.write(0, &bytes);
    let mut hurried = tagged(to_card(buffer.handle, 0, 512, 0), 1);
    hurried.timeout_ns = 1_000_000;
    let patient = tagged(to_card(buffer.handle, 0, 512, 1024), 2);
    let mut enough = tagged(from_card(buffer.handle, PAGE, 512, 1024), 3);
    enough.timeout_ns = 60_000_000_000;
    for _ in 0..context.times(2) {
        map.fill(PAGE..2 * PAGE, 0);
        device.submit(&[hurried, patient, enough])?;
        let records = device.collect(3)?;
        let results: Vec<_> = records.iter().map(|r| (r.user_data, r.result)).collect();
        check_eq!(results, vec![(1, -libc::ETIMEDOUT), (2, 0), (3, 0)]);
        check!(records[0].bytes <= 512);
        same_bytes(&map.read(PAGE, 512), &bytes, "after a timeout")?;
        all_bytes(&map.read(PAGE + 512, PAGE - 512), 0, "behind")?;
    }
    device.check_idle()
}

/// Waits until a record is there, so that a transfer has ended and the next is
/// under way.
fn first_ended(device: &Device) -> Outcome {
    check_eq!(device.wait(1, 1, after(LONG))?.len(), 1);
    Ok(())
}

/// The memory that a dead process had is not written to any more.
pub(super) fn killed(context: &mut Context) -> Outcome {
    let path = context.card().path.clone();
    for round in 0..context.times(3) {
        let under_way = Gate::new()?;
        let mut child = spawn(|| {
            let device = Device::open(&path)?;
            let buffer = device.alloc(COHERENT, 8 * PAGE)?;
            let transfers: Vec<_> = (0..8)
                .map(|page| from_card(buffer.handle, page * PAGE, PAGE, 0))
                .collect();
            device.submit(&transfers)?;
            first_ended(&device)?;
            under_way.open()?;
            device.collect(7)?;
            Ok(())
        })?;
        under_way.pass()?;
        child.signal(Signal::SIGKILL)?;
        check_eq!(child.wait()?, Exit::Signal(libc::SIGKILL));
        quiet_memory(context, round)?;
    }
    Ok(())
}

/// Takes memory, much of it what was just freed, and sees that the card, which
/// may have been writing, changes none of it.
fn quiet_memory(context: &Context, round: u32) -> Outcome {
    let device = context.open()?;
    let ours = Mapping::anonymous(16 << 20)?;
    ours.fill(0..ours.length(), 0x5a);
    let mut coherent = Vec::new();
    for _ in 0..32 {
        let buffer = device.alloc(COHERENT, PAGE)?;
        let map = device.map(&buffer)?;
        map.fill(0..PAGE, 0x5a);
        coherent.push(map);
    }
    // A read of the card itself comes behind whatever it was still doing.
    device.file().read_exact_at(&mut [0; 8], 0)?;
    all_bytes(
        &ours.read(0, ours.length()),
        0x5a,
        "memory after its owner was killed",
    )?;
    for map in &coherent {
        all_bytes(
            &map.read(0, PAGE),
            0x5a,
            "coherent memory after its owner was killed",
        )?;
    }
    println!("round {round}: quiet");
    Ok(())
}

/// Close does not wait for all that is queued, and the next file is not kept
/// waiting by it.
pub(super) fn closed(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let transfers = vec![to_card(buffer.handle, 0, PAGE, 0); 100];
    let begin = std::time::Instant::now();
    check_eq!(device.submit(&transfers)?, 100);
    first_ended(&device)?;
    drop(device);
    let next = context.open()?;
    next.file().read_exact_at(&mut [0; 8], 0)?;
    let time = begin.elapsed();
    // One hundred of them take ten seconds.
    check!(
        time < Duration::from_secs(5),
        "{time:?} until the next file had its turn"
    );
    next.check_idle()
}

/// CVE-2022-0854: what the driver copies back is the memory's own, where the
/// card has moved less than it says.
pub(super) fn nothing_moved(context: &mut Context) -> Outcome {
    let (device, other) = (context.open()?, context.open()?);
    let card = context.card().clone();
    let secret = other.alloc(HUGE, PAGE)?;
    other.map(&secret)?.fill(0..PAGE, 0x77);
    let own = device.alloc(HUGE, PAGE)?;
    let map = device.map(&own)?;
    let memory = Mapping::anonymous(2 * PAGE)?;
    let all = device.register(memory.address(), 2 * PAGE, 0)?;
    map.fill(0..PAGE, 0x11);
    memory.fill(0..2 * PAGE, 0x11);
    other.run_well(&[to_card(secret.handle, 0, 512, 0)])?;
    let model = match is_slow(&device)? {
        true => None,
        // It is told below that this was meant to be.
        false => Some(Model::of(&card)?),
    };
    card.set_bus_master(false)?;
    // Whether the card says that it failed is its own business; it may not even
    // be able to say that.
    let reads = [
        from_card(own.handle, 100, 512, 0),
        from_card(all.handle, PAGE - 200, 512, 0),
    ];
    let records = device.run(&reads.map(|read| sys::userdma_transfer {
        timeout_ns: 500_000_000,
        ..read
    }));
    // Whatever came of it: the other tests need the card.
    card.set_bus_master(true)?;
    if let Some(mut model) = model {
        model.forgive("master")?;
    }
    records?;
    all_bytes(&map.read(0, PAGE), 0x11, "a buffer")?;
    all_bytes(&memory.read(0, 2 * PAGE), 0x11, "registered memory")?;
    device.run_well(&[from_card(all.handle, PAGE - 200, 512, 0)])?;
    all_bytes(&memory.read(PAGE - 200, 512), 0x77, "and now it moves")
}

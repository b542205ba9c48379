// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Bytes arrive where they should, in order, once, and nowhere else.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

use userdma::sys;

use crate::device::{from_card, tagged, to_card, Buffer, Device, COHERENT, HUGE};
use crate::memory::{Mapping, HUGE as HUGE_PAGE, PAGE};
use crate::outcome::{all_bytes, same_bytes, Context as _, Outcome};
use crate::poll::{after, now, LONG};
use crate::raw::{size, wide};
use crate::registry::Context;

/// A buffer of each kind, mapped.
fn buffers(device: &Device, length: usize) -> Outcome<Vec<(Buffer, Mapping)>> {
    let mut all = vec![device.alloc(COHERENT, length)?];
    let huge = u64::from(sys::USERDMA_CAP_HUGE);
    if device.info()?.out_capabilities & huge != 0 {
        all.push(device.alloc(HUGE, length)?);
    }
    all.into_iter()
        .map(|buffer| Ok((buffer, device.map(&buffer)?)))
        .collect()
}

/// Out of one buffer, through the card, into the other, with random places and
/// lengths. A copy of everything is kept and compared.
pub(super) fn round_trip(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let end = size(device.info()?.out_card_size);
    let most = end.min(PAGE);
    let length = 3 * PAGE;
    let buffers = buffers(&device, length)?;
    let mut copies = Vec::new();
    for (_, map) in &buffers {
        let bytes = context.bytes(map.length());
        map.write(0, &bytes);
        copies.push(bytes);
    }
    let mut card = context.bytes(end);
    device.file().write_all_at(&card, 0)?;
    let fixed = [
        (1, 0),
        (1, 4095),
        (4096, 0),
        (4095, 1),
        (2, 2047),
        (513, 3583),
    ];
    for round in 0..size(context.times(25).into()) {
        let (count, place) = match fixed.get(round) {
            Some(shape) => *shape,
            None => {
                let count = context.between(1, most);
                (count, context.between(0, end - count))
            }
        };
        let (source, target) = (round % buffers.len(), (round / 2) % buffers.len());
        let from = context.between(0, length - count);
        let to = context.between(0, length - count);
        let (source_handle, target_handle) = (buffers[source].0.handle, buffers[target].0.handle);
        device.run_well(&[
            to_card(source_handle, from, count, place),
            from_card(target_handle, to, count, place),
        ])?;
        let bytes = copies[source][from..from + count].to_vec();
        copies[target][to..to + count].copy_from_slice(&bytes);
        card[place..place + count].copy_from_slice(&bytes);
        for (number, (_, map)) in buffers.iter().enumerate() {
            same_bytes(&map.read(0, map.length()), &copies[number], "a buffer").context(|| {
                format!("{count} bytes from {source}:{from} over {place} to {target}:{to}")
            })?;
        }
    }
    let mut got = vec![0; end];
    device.file().read_exact_at(&mut got, 0)?;
    same_bytes(&got, &card, "the card in the end")
}

/// A huge buffer's segments and pages have ends too.
pub(super) fn huge_ends(context: &mut Context) -> Outcome {
    let device = context.open()?;
    // Coherent memory may have to be contiguous: 4 MiB are to be had without preparations.
    let all = buffers(&device, 2 * HUGE_PAGE)?;
    for (buffer, map) in &all {
        for edge in [PAGE, HUGE_PAGE, HUGE_PAGE + PAGE] {
            let bytes = context.bytes(1000);
            map.fill(0..map.length(), 0x33);
            map.write(edge - 400, &bytes);
            device.run_well(&[
                to_card(buffer.handle, edge - 400, 1000, 24),
                from_card(buffer.handle, edge + 2 * PAGE - 77, 1000, 24),
            ])?;
            let got = map.read(edge + 2 * PAGE - 77, 1000);
            same_bytes(&got, &bytes, "over an end").context(|| format!("at {edge}"))?;
            all_bytes(&map.read(edge + 600, 2 * PAGE - 677), 0x33, "between")?;
            all_bytes(&map.read(edge + 2 * PAGE + 923, PAGE - 923), 0x33, "behind")?;
        }
        // The very last bytes.
        let last = buffer.length - 9;
        map.write(last, b"last byte");
        device.run_well(&[
            to_card(buffer.handle, last, 9, 4087),
            from_card(buffer.handle, 0, 9, 4087),
        ])?;
        same_bytes(&map.read(0, 9), b"last byte", "the end of buffer and card")?;
    }
    Ok(())
}

/// Each transfer needs what the one before it did.
pub(super) fn in_order(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, 16 * PAGE)?;
    let map = device.map(&buffer)?;
    let bytes = context.bytes(64);
    map.write(0, &bytes);
    // The bytes walk through the buffer by way of the card.
    let mut chain = Vec::new();
    for hop in 0..8 {
        let (from, to) = (hop * PAGE, (hop + 1) * PAGE);
        let tag = wide(hop) * 2;
        chain.push(tagged(to_card(buffer.handle, from, 64, 32), tag));
        chain.push(tagged(from_card(buffer.handle, to, 64, 32), tag + 1));
    }
    check_eq!(device.submit(&chain)?, chain.len());
    let records = device.collect(chain.len())?;
    for (number, record) in records.iter().enumerate() {
        check_eq!(record.user_data, wide(number));
        check_eq!(record.result, 0);
    }
    for pair in records.windows(2) {
        check!(
            pair[0].end_ns <= pair[1].end_ns,
            "ended before the one before it"
        );
    }
    for hop in 1..=8 {
        same_bytes(&map.read(hop * PAGE, 64), &bytes, "a hop")?;
    }
    Ok(())
}

/// Both ways on one buffer, one place over the other.
pub(super) fn same_place(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let map = device.map(&buffer)?;
    let bytes = context.bytes(100);
    map.write(0, &bytes);
    // 100 bytes one to the right, ten times.
    let mut moves = Vec::new();
    for step in 0..5 {
        moves.push(to_card(buffer.handle, step, 100, 0));
        moves.push(from_card(buffer.handle, step + 1, 100, 0));
    }
    device.run_well(&moves)?;
    same_bytes(&map.read(5, 100), &bytes, "moved over itself")?;
    for step in 0..5 {
        check_eq!(map.byte(step), bytes[0]);
    }
    all_bytes(&map.read(105, 100), 0, "behind")
}

/// Several threads submit, several collect; every tag comes exactly once.
pub(super) fn mixed(context: &mut Context) -> Outcome {
    const THREADS: usize = 3;
    let each = size(context.times(50).into());
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, THREADS * PAGE)?;
    let map = device.map(&buffer)?;
    map.fill(0..buffer.length, 0);
    let seen = Mutex::new(BTreeMap::new());
    let count = AtomicUsize::new(0);
    let seeds: Vec<_> = (0..THREADS).map(|_| context.between(1, 1000)).collect();
    let (device, seen, count) = (&device, &seen, &count);
    let submitter = |thread: usize, seed: usize| -> Outcome {
        let mut sent = 0;
        while sent < each {
            let batch: Vec<_> = (sent..each.min(sent + 1 + seed % 9))
                .map(|number| {
                    let length = 1 + (number * seed) % 64;
                    let tag = wide(thread * 1_000_000 + number);
                    let make = if number % 2 == 0 { to_card } else { from_card };
                    tagged(
                        make(buffer.handle, thread * PAGE, length, thread * 1024),
                        tag,
                    )
                })
                .collect();
            sent += device.submit(&batch)?;
        }
        Ok(())
    };
    let collector = || -> Outcome {
        while count.load(Ordering::Relaxed) < THREADS * each {
            // Short, so that the last collector sees that all is done.
            let deadline = after(std::time::Duration::from_millis(300));
            let records = match device.wait(1, 7, deadline) {
                Err(nix::errno::Errno::ETIMEDOUT) => continue,
                other => other?,
            };
            count.fetch_add(records.len(), Ordering::Relaxed);
            let Ok(mut seen) = seen.lock() else {
                fail!("another thread panicked");
            };
            for record in records {
                check_eq!(record.result, 0);
                *seen.entry(record.user_data).or_insert(0) += 1;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| -> Outcome {
        let mut threads = Vec::new();
        for (thread, seed) in seeds.iter().enumerate() {
            threads.push(scope.spawn(move || submitter(thread, *seed)));
        }
        threads.push(scope.spawn(collector));
        threads.push(scope.spawn(collector));
        for thread in threads {
            match thread.join() {
                Ok(outcome) => outcome?,
                Err(_) => fail!("a thread panicked"),
            }
        }
        Ok(())
    })?;
    let Ok(seen) = seen.lock() else {
        fail!("a thread panicked");
    };
    check_eq!(seen.len(), THREADS * each);
    check!(
        seen.values().all(|times| *times == 1),
        "a completion came twice"
    );
    device.check_idle()
}

pub(super) fn times(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let before = now();
    let transfers: Vec<_> = (0..4)
        .map(|number| tagged(to_card(buffer.handle, 0, 64, 0), number))
        .collect();
    device.submit(&transfers)?;
    let accepted = now();
    let records = device.collect(4)?;
    let end = now();
    let mut last_end = 0;
    for record in &records {
        check!(
            before <= record.submit_ns && record.submit_ns <= accepted,
            "{record:?}"
        );
        check!(record.submit_ns <= record.start_ns, "{record:?}");
        // Equal, if it began and ended since the driver looked last.
        check!(record.start_ns <= record.end_ns, "{record:?}");
        check!(record.end_ns <= end, "{record:?}");
        // One channel: the next begins when the one before it has ended.
        check!(last_end <= record.start_ns, "two at once: {records:?}");
        last_end = record.end_ns;
        check_eq!(record.flags, 0);
        check_eq!(record.channel, 0);
        check_eq!(record.reserved0, 0);
        check_eq!(record.reserved, 0);
    }
    Ok(())
}

pub(super) fn barrier(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let map = device.map(&buffer)?;
    map.fill(0..64, 0x61);
    let mut transfers = vec![
        to_card(buffer.handle, 0, 64, 0),
        to_card(buffer.handle, 0, 64, 64),
        from_card(buffer.handle, 1024, 128, 0),
        to_card(buffer.handle, 64, 64, 0),
    ];
    transfers[0].flags = sys::USERDMA_TRANSFER_BARRIER;
    transfers[2].flags = sys::USERDMA_TRANSFER_BARRIER;
    for (tag, transfer) in (0..).zip(&mut transfers) {
        transfer.user_data = tag;
    }
    device.submit(&transfers)?;
    // A barrier waits for its own file's transfers, not for others'.
    let other = context.open()?;
    let theirs = other.alloc(COHERENT, PAGE)?;
    let mut alone = to_card(theirs.handle, 0, 8, 2048);
    alone.flags = sys::USERDMA_TRANSFER_BARRIER;
    other.run_well(&[alone])?;
    let records = device.collect(4)?;
    for (number, record) in records.iter().enumerate() {
        check_eq!(record.user_data, wide(number));
        check_eq!(record.result, 0);
    }
    check!(records[2].start_ns >= records[0].end_ns.max(records[1].end_ns));
    check!(records[3].start_ns >= records[2].end_ns);
    all_bytes(&map.read(1024, 128), 0x61, "read behind the barrier")?;
    check_eq!(device.wait(1, 1, after(LONG))?.len(), 0);
    Ok(())
}

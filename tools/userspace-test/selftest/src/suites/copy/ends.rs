// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who has the memory until a copy has ended, and what is counted then.

use userdma::sys;

use crate::account::Account;
use crate::device::{host_to_host, Device, COHERENT, HUGE};
use crate::guest::{self, number, Card};
use crate::kinds::{Kind, Memory};
use crate::memory::{Mapping, Window, PAGE};
use crate::outcome::{same_bytes, Outcome};
use crate::poll::{after, now, until, LONG};
use crate::queue::until_in_time;
use crate::raw::wide;
use crate::registry::Context;
use crate::suites::inject::on;

/// Bytes of each buffer.
const LENGTH: usize = 4 << 20;
/// Copies on each channel, of which each takes 100 ms.
const EACH: usize = 6;

pub(super) fn freed(context: &mut Context) -> Outcome {
    let before = Account::now()?;
    let card = context.card().clone();
    for kinds in [
        (COHERENT, HUGE),
        (HUGE, COHERENT),
        (sys::USERDMA_BUF_USER, sys::USERDMA_BUF_USER),
    ] {
        let mut bytes = context.bytes(LENGTH);
        until_in_time(|| {
            // Each time another one, or the copy of the time before would do.
            bytes.rotate_left(1);
            let in_time = free_both(&card, kinds, &bytes)?;
            before.settle()?;
            Ok(in_time)
        })?;
    }
    Ok(())
}

/// What a program sees of a buffer.
enum Seen {
    Mapped(Mapping),
    Own(Memory),
}

impl Seen {
    /// A new buffer of a kind: its handle, and what is seen of it.
    fn new(device: &Device, kind: u32) -> Outcome<(u32, Self)> {
        if kind == sys::USERDMA_BUF_USER {
            let memory = Kind::Anonymous.make(LENGTH)?;
            let registered = device.register(memory.address(), LENGTH, 0)?;
            return Ok((registered.handle, Self::Own(memory)));
        }
        let buffer = device.alloc(kind, LENGTH)?;
        Ok((buffer.handle, Self::Mapped(device.map(&buffer)?)))
    }

    fn window(&self) -> &Window {
        match self {
            Self::Mapped(mapping) => mapping,
            Self::Own(memory) => memory,
        }
    }
}

/// Gives source and destination back while copies are queued. Whether it was seen in
/// time that the driver still has both.
fn free_both(card: &Card, kinds: (u32, u32), bytes: &[u8]) -> Outcome<bool> {
    let before = card.counter("buffers")?;
    let device = Device::open(&card.path)?;
    let channels = u16::try_from(device.info()?.out_channels)?;
    let (from, source) = Seen::new(&device, kinds.0)?;
    let (to, target) = Seen::new(&device, kinds.1)?;
    source.window().write(0, bytes);
    let copies: Vec<_> = (0..EACH)
        .flat_map(|_| 0..channels)
        .map(|channel| on(channel, host_to_host((from, 0), (to, 0), LENGTH)))
        .collect();
    check_eq!(device.submit(&copies)?, copies.len());
    device.free(from)?;
    device.free(to)?;
    drop(source);
    // What the program registered stays its own, and shows what the copies did.
    let memory = match target {
        Seen::Mapped(mapping) => {
            drop(mapping);
            None
        }
        Seen::Own(memory) => Some(memory),
    };
    let (mut looks, mut records) = (Vec::new(), Vec::new());
    while records.len() < copies.len() {
        looks.push((card.counter("buffers")?, now()));
        let more = device.wait(1, 64, after(LONG))?;
        check!(!more.is_empty(), "{} records", records.len());
        records.extend(more);
    }
    let left = |time: u64| records.iter().filter(|record| record.end_ns > time).count();
    for (held, time) in &looks {
        if left(*time) > 0 {
            check_eq!(*held, before + 2, "buffers, {} copies left", left(*time));
        }
    }
    // When nothing is queued any more, only what the card works on holds them.
    let at_work = 1..=usize::from(channels);
    let in_time = looks.iter().any(|(_, time)| at_work.contains(&left(*time)));
    for record in &records {
        check_eq!((record.result, record.bytes), (0, wide(LENGTH)));
    }
    if let Some(memory) = memory {
        same_bytes(&memory.read(0, LENGTH), bytes, "the copy")?;
    }
    until("both given back", || {
        let gone = card.counter("buffers")? == before;
        Ok(gone && device.info()?.out_used_file == 0)
    })?;
    device.check_idle()?;
    Ok(in_time)
}

pub(super) fn counted(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, 4 * PAGE)?;
    let huge = device.alloc(HUGE, 4 * PAGE)?;
    let before = card.stats()?;
    let copies = [
        host_to_host((buffer.handle, 0), (huge.handle, 3), 1),
        host_to_host((huge.handle, 5), (buffer.handle, PAGE - 1), 2 * PAGE + 7),
        host_to_host((buffer.handle, 0), (buffer.handle, 2 * PAGE), 2 * PAGE),
    ];
    device.run_well(&copies)?;
    let bytes: u64 = copies.iter().map(|copy| copy.length).sum();
    let (after, told) = (card.stats()?, guest::fdinfo(&device)?);
    let count = wide(copies.len());
    for (key, want) in [
        ("bytes_host_to_host", bytes),
        ("bytes_to_card", 0),
        ("bytes_from_card", 0),
        ("bytes_bounced", 0),
        ("submitted", count),
        ("completed", count),
        ("failed", 0),
    ] {
        check_eq!(number(&after, key)? - number(&before, key)?, want, "{key}");
        // The file has done nothing before, and knows nothing of bouncing.
        if told.contains_key(key) {
            check_eq!(number(&told, key)?, want, "{key} of the file");
        }
    }
    check!(told.contains_key("bytes_host_to_host"), "{told:?}");
    // Another file's are not this one's.
    let other = context.open()?;
    check_eq!(number(&guest::fdinfo(&other)?, "bytes_host_to_host")?, 0);
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Eventfds of interrupts.

use userdma::sys;

use crate::device::{tagged, to_card, Device, COHERENT};
use crate::eventfd::Counter;
use crate::guest::{fdinfo, number};
use crate::memory::PAGE;
use crate::outcome::{Context as _, Outcome};
use crate::poll::until;
use crate::raw::wide;
use crate::registry::Context;

/// A counter for each vector.
struct Watch<'a> {
    device: &'a Device,
    counters: Vec<Counter>,
    /// What fdinfo said when it began.
    before: u64,
    sum: u64,
}

fn interrupts(device: &Device) -> Outcome<u64> {
    number(&fdinfo(device)?, "interrupts")
}

impl<'a> Watch<'a> {
    fn new(device: &'a Device) -> Outcome<Self> {
        let mut counters = Vec::new();
        for vector in 0..device.info()?.out_vectors {
            let counter = Counter::new()?;
            device.tell(counter.number(), Some(vector))?;
            counters.push(counter);
        }
        Ok(Self {
            device,
            counters,
            before: interrupts(device)?,
            sum: 0,
        })
    }

    /// Waits until as many interrupts were counted as the card had; how many came
    /// since the last call. A record may come before its interrupt is counted.
    fn agree(&mut self) -> Outcome<u64> {
        let before = self.sum;
        let mut told = 0;
        let agreed = until("as many as fdinfo says", || {
            for counter in &self.counters {
                self.sum += counter.take()?;
            }
            told = interrupts(self.device)? - self.before;
            check!(self.sum <= told, "{} counted, {told} told", self.sum);
            Ok(self.sum == told)
        });
        agreed.context(|| format!("{} counted, {told} told", self.sum))?;
        Ok(self.sum - before)
    }
}

fn send(device: &Device, channel: u32, count: usize) -> Outcome {
    let buffer = device.alloc(COHERENT, PAGE)?;
    let channel = u16::try_from(channel)?;
    let transfers: Vec<_> = (0..count)
        .map(|tag| sys::userdma_transfer {
            channel,
            ..tagged(to_card(buffer.handle, 0, 64, 0), wide(tag))
        })
        .collect();
    device.run_well(&transfers)
}

pub(super) fn vectors(context: &mut Context) -> Outcome {
    const COUNT: usize = 5;
    let (device, other) = (context.open()?, context.open()?);
    let records = Counter::new()?;
    device.tell(records.number(), None)?;
    let mut watch = Watch::new(&device)?;
    println!("{} vectors", watch.counters.len());
    for channel in 0..device.info()?.out_channels {
        send(&device, channel, COUNT)?;
        check_eq!(records.take()?, wide(COUNT));
        let count = watch.agree()?;
        println!("channel {channel}: {count} interrupts");
        check!(
            (1..=wide(COUNT)).contains(&count),
            "{count} of channel {channel}"
        );
        // An interrupt is the card's, whoever waits for it; a record is not.
        send(&other, channel, 1)?;
        check_eq!(watch.agree()?, 1, "of another file");
        check_eq!(records.take()?, 0);
    }
    // Another file has counters of its own; these are told as well.
    let mut theirs = Watch::new(&other)?;
    send(&device, 0, 1)?;
    check_eq!((watch.agree()?, theirs.agree()?), (1, 1));
    // Taken away, and the other file's stay.
    for (vector, _) in (0..).zip(&watch.counters) {
        device.tell(-1, Some(vector))?;
    }
    send(&device, 0, 2)?;
    check!((1..=2).contains(&theirs.agree()?));
    for counter in &watch.counters {
        check_eq!(counter.take()?, 0, "it was taken away");
    }
    // One counter for everything.
    let all = Counter::new()?;
    device.tell(all.number(), None)?;
    for vector in 0..device.info()?.out_vectors {
        device.tell(all.number(), Some(vector))?;
    }
    let before = interrupts(&device)?;
    send(&device, 0, 3)?;
    let mut sum = 0;
    until("records and interrupts in one", || {
        sum += all.take()?;
        Ok(sum == 3 + interrupts(&device)? - before)
    })
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Other files on the card that goes wrong, which must not notice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::on;
use crate::device::{from_card, to_card, Device, COHERENT};
use crate::guest::Card;
use crate::memory::{Mapping, PAGE};
use crate::model::CHANNELS;
use crate::outcome::{same_bytes, Context as _, Outcome};
use crate::poll::until;
use crate::raw::wide;
use crate::requests::{pread, pwrite};
use crate::suites::uring::Ring;

/// Where their part of the card's memory begins.
const PLACE: usize = 1 << 20;

/// How one of them moves its data.
#[derive(Debug, Clone, Copy)]
enum How {
    Submit(u16),
    Ring(u16),
    Requests,
}

/// One for each channel, one with io_uring, and one that reads and writes.
const HOW: [How; 6] = [
    How::Submit(0),
    How::Submit(1),
    How::Submit(2),
    How::Submit(3),
    How::Ring(1),
    How::Requests,
];

impl How {
    /// It is on the channel that goes wrong.
    fn is_neighbour(self) -> bool {
        matches!(self, Self::Submit(0) | Self::Requests)
    }
}

/// Others at work.
pub(super) struct Others {
    /// Pages that have gone to the card and back, of each.
    rounds: [AtomicU64; HOW.len()],
    /// The neighbours may begin.
    open: AtomicBool,
    over: AtomicBool,
}

/// Runs `body` while others work on each channel of the card. Those on channel 0
/// begin when it lets them, all must get on after it.
pub(super) fn among(card: &Card, body: impl FnOnce(&Others) -> Outcome) -> Outcome {
    let others = Others {
        rounds: Default::default(),
        open: AtomicBool::new(false),
        over: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..HOW.len())
            .map(|number| {
                let others = &others;
                (number, scope.spawn(move || others.work(number, card)))
            })
            .collect();
        let outcome = others
            .get_on()
            .and_then(|()| body(&others))
            .and_then(|()| others.get_on());
        others.over.store(true, Ordering::Relaxed);
        for (number, thread) in threads {
            let end = thread.join().expect("it does not panic");
            end.context(|| format!("{:?} beside it", HOW[number]))?;
        }
        outcome
    })
}

impl Others {
    /// Lets those on channel 0 begin: the card has been given what goes wrong.
    pub(super) fn let_in(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    /// Waits until each that may work has moved something anew.
    fn get_on(&self) -> Outcome {
        let open = self.open.load(Ordering::Relaxed);
        let may = |number: &usize| open || !HOW[*number].is_neighbour();
        for number in (0..HOW.len()).filter(may) {
            let round = &self.rounds[number];
            // What it is at began before.
            let want = round.load(Ordering::Relaxed) + 2;
            until(&format!("{:?} gets on", HOW[number]), || {
                Ok(round.load(Ordering::Relaxed) >= want)
            })?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn work(&self, number: usize, card: &Card) -> Outcome {
        let how = HOW[number];
        let device = Device::open(&card.path)?;
        let buffer = device.alloc(COHERENT, 2 * PAGE)?;
        let map = device.map(&buffer)?;
        let own = Mapping::anonymous(2 * PAGE)?;
        let place = PLACE + number * PAGE;
        let at = i64::try_from(place)?;
        let mut ring = match how {
            How::Ring(_) => Some(Ring::new(&device)?),
            _ => None,
        };
        if how.is_neighbour() {
            until("the neighbours let in", || {
                Ok(self.open.load(Ordering::Relaxed) || self.is_over())
            })?;
        }
        let mut round = 0;
        while !self.is_over() {
            let bytes = page(number, round);
            let there = to_card(buffer.handle, 0, PAGE, place);
            let back = from_card(buffer.handle, PAGE, PAGE, place);
            let memory = if matches!(how, How::Requests) {
                &own
            } else {
                &map
            };
            memory.write(0, &bytes);
            match how {
                How::Submit(channel) => {
                    device.run_well(&[on(channel, there), on(channel, back)])?;
                }
                How::Ring(channel) => {
                    let Some(ring) = &mut ring else {
                        fail!("no ring");
                    };
                    ring.transfers(&[on(channel, there), on(channel, back)])?;
                    for end in ring.ends(2)? {
                        check_eq!(end.result, i32::try_from(PAGE)?);
                        check_eq!(end.bytes, wide(PAGE));
                    }
                }
                How::Requests => {
                    check_eq!(pwrite(&device, own.address(), PAGE, at), Ok(PAGE));
                    check_eq!(pread(&device, own.address() + PAGE, PAGE, at), Ok(PAGE));
                }
            }
            same_bytes(&memory.read(PAGE, PAGE), &bytes, "there and back")?;
            round = self.rounds[number].fetch_add(1, Ordering::Relaxed) + 1;
        }
        Ok(())
    }
}

/// What one of them moves: never twice the same.
fn page(number: usize, round: u64) -> Vec<u8> {
    let words = (0..PAGE / 8).map(|word| (round << 20) | wide((number << 12) | word));
    words.flat_map(u64::to_ne_bytes).collect()
}

/// Requires that all channels work, and that data are right.
pub(super) fn check_channels(card: &Card) -> Outcome {
    let device = Device::open(&card.path)?;
    let buffer = device.alloc(COHERENT, 2 * PAGE)?;
    let map = device.map(&buffer)?;
    for channel in 0..CHANNELS {
        let bytes = page(HOW.len(), channel.into());
        map.write(0, &bytes);
        map.fill(PAGE..2 * PAGE, 0);
        device.run_well(&[
            on(channel, to_card(buffer.handle, 0, PAGE, PLACE)),
            on(channel, from_card(buffer.handle, PAGE, PAGE, PLACE)),
        ])?;
        same_bytes(&map.read(PAGE, PAGE), &bytes, "after it")?;
    }
    device.check_idle()
}

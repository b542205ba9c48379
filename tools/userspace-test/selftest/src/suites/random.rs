// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Random transfers between the card and memory of every kind, on all cards at
//! once: every byte of every memory is compared with what must be there.

mod place;

use std::path::Path;

use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use userdma::sys;

use crate::account::Account;
use crate::device::{from_card, to_card, Device};
use crate::kinds;
use crate::memory::PAGE;
use crate::outcome::{same_bytes, Context as _, Outcome};
use crate::raw::size;
use crate::registry::{Context, Test};
use crate::requests::{contents, pread, pwrite, set_contents};

pub(super) use place::{copy, Place};

pub(super) const TESTS: &[Test] = &[Test::new(
    "random.transfers",
    "registered, huge and coherent memory, requests of every size, all cards",
    transfers,
)
.seconds(120)];

/// The least bytes of each kind of memory.
const LENGTH: usize = 5 * PAGE;

/// One card, and all that is known about every byte.
struct Work {
    device: Device,
    rng: SmallRng,
    places: Vec<Place>,
    card: Vec<u8>,
    /// See [`crate::guest::Card::reaches_last_bytes`].
    last_bytes: bool,
    /// The card copies from buffer to buffer.
    copies: bool,
    transfers: u32,
}

impl Work {
    fn new(path: &Path, seed: u64, last_bytes: bool) -> Outcome<Self> {
        let device = Device::open(path)?;
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut card = vec![0; size(device.info()?.out_card_size)];
        rng.fill_bytes(&mut card);
        set_contents(&device, &card)?;
        let mut places = Vec::new();
        for memory in kinds::set(LENGTH)? {
            places.push(Place::registered(&device, memory, &mut rng)?);
        }
        places.extend(Place::own(&device, LENGTH, &mut rng)?);
        Ok(Self {
            copies: device.can(sys::USERDMA_CAP_HOST_TO_HOST)?,
            device,
            rng,
            places,
            card,
            last_bytes,
            transfers: 0,
        })
    }

    /// A length, mostly of a shape that has bitten somebody.
    fn length(&mut self, most: usize) -> usize {
        let most = most.min(self.card.len());
        let any = self.rng.random_range(1..=most);
        let shapes = [any, any % 16 + 1, any / 4 * 4 + 4, 64, 512, PAGE - 1, PAGE];
        shapes[self.rng.random_range(0..shapes.len())].clamp(1, most)
    }

    /// A part of a place that the card may be given: (offset, length).
    fn part(&mut self, index: usize) -> (usize, usize) {
        let whole = self.places[index].length();
        let mut length = self.length(whole);
        let mut offset = self.rng.random_range(0..=whole - length);
        // Now and then to the very end, or over the end of a page.
        match self.rng.random_range(0..6) {
            0 => offset = whole - length,
            1 => offset = self.places[index].before_page(length).unwrap_or(offset),
            _ => {}
        }
        if !self.last_bytes && self.places[index].begins_last_byte(offset) {
            // The part without its first byte, or that byte's neighbour.
            match length {
                1 => offset -= 1,
                _ => (offset, length) = (offset + 1, length - 1),
            }
        }
        (offset, length)
    }

    /// New bytes in a part of a place.
    fn refill(&mut self, index: usize, offset: usize, length: usize) {
        self.places[index].refill(offset, length, &mut self.rng);
    }

    /// A place to read from, and one to write to.
    fn ends(&mut self) -> (usize, usize) {
        let source = self.rng.random_range(0..self.places.len());
        loop {
            let target = self.rng.random_range(0..self.places.len());
            if !self.places[target].source_only() {
                return (source, target);
            }
        }
    }

    /// Out of one place, through the card, into another.
    fn through(&mut self) -> Outcome {
        let (source, target) = self.ends();
        let (from, length) = self.part(source);
        let at = self.rng.random_range(0..=self.card.len() - length);
        let (to, most) = self.part(target);
        let back = length.min(most);
        self.refill(source, from, length);
        let what = format!(
            "{length} bytes of {} at {from} over {at}, {back} into {} at {to}",
            self.places[source].name(),
            self.places[target].name()
        );
        self.device
            .run_well(&[
                to_card(self.places[source].handle(), from, length, at),
                from_card(self.places[target].handle(), to, back, at),
            ])
            .context(|| what.clone())?;
        self.transfers += 2;
        let bytes = self.places[source].want(from, length);
        self.card[at..at + length].copy_from_slice(&bytes);
        self.places[target].expect(to, &bytes[..back]);
        for index in [source, target] {
            self.places[index].check().context(|| what.clone())?;
        }
        Ok(())
    }

    /// From one place to another, or within one.
    fn copy(&mut self) -> Outcome {
        let (source, target) = self.ends();
        let (from, length) = self.part(source);
        let (to, most) = self.part(target);
        let mut length = length.min(most);
        if source == target {
            // So that they do not overlap.
            length = length.min(from.abs_diff(to));
        }
        if length == 0 {
            return Ok(());
        }
        self.refill(source, from, length);
        self.transfers += 1;
        let places = &mut self.places;
        copy(
            &self.device,
            places,
            0,
            (source, from),
            (target, to),
            length,
        )
    }

    /// A request on memory that is registered, too, or is a buffer's.
    fn request(&mut self) -> Outcome {
        let index = self.rng.random_range(0..self.places.len());
        let (offset, length) = self.part(index);
        let address = self.places[index].address(offset);
        let at = self.rng.random_range(0..=self.card.len() - length);
        let write = self.rng.random_bool(0.5);
        let what = format!(
            "request, write {write}, of {length} bytes of {} at {offset}, {at} of the card",
            self.places[index].name()
        );
        let position = i64::try_from(at)?;
        if write {
            self.refill(index, offset, length);
            let done = pwrite(&self.device, address, length, position);
            check_eq!(done, Ok(length), "{what}");
            let bytes = self.places[index].want(offset, length);
            self.card[at..at + length].copy_from_slice(&bytes);
        } else {
            let done = pread(&self.device, address, length, position);
            check_eq!(done, Ok(length), "{what}");
            let bytes = self.card[at..at + length].to_vec();
            self.places[index].expect(offset, &bytes);
        }
        self.transfers += 1;
        self.places[index].check().context(|| what)
    }

    fn run(&mut self, transfers: u32) -> Outcome {
        while self.transfers < transfers {
            let kinds = if self.copies { 14 } else { 10 };
            match self.rng.random_range(0..kinds) {
                0..=5 => self.through()?,
                6..=8 => self.request()?,
                10.. => self.copy()?,
                _ => {
                    let index = self.rng.random_range(0..self.places.len());
                    let place = &mut self.places[index];
                    place.sync(&self.device, &mut self.rng)?;
                    place.again(&self.device, &mut self.rng)?;
                }
            }
        }
        for place in &self.places {
            place.check().context(|| "in the end".to_owned())?;
        }
        same_bytes(&contents(&self.device)?, &self.card, "the card in the end")
    }
}

fn transfers(context: &mut Context) -> Outcome {
    let before = Account::now()?;
    let count = u32::try_from(context.cards.len())?;
    let each = context.times(50).div_ceil(count);
    let pool = kinds::pool(LENGTH, context.cards.len())?;
    let mut works = Vec::new();
    for card in context.cards.clone() {
        let seed = context.rng.random();
        works.push(Work::new(&card.path, seed, card.reaches_last_bytes())?);
    }
    std::thread::scope(|scope| -> Outcome {
        let threads: Vec<_> = works
            .iter_mut()
            .map(|work| scope.spawn(|| work.run(each)))
            .collect();
        let mut outcome = Ok(());
        for (thread, card) in threads.into_iter().zip(&context.cards) {
            let one = match thread.join() {
                Ok(one) => one.context(|| card.bus.clone()),
                Err(_) => fail!("a thread panicked"),
            };
            // The first that failed tells; all are waited for.
            outcome = outcome.and(one);
        }
        outcome
    })?;
    let sum: u32 = works.iter().map(|work| work.transfers).sum();
    println!("did {sum} random transfers, on {count} cards");
    check!(sum >= context.times(50));
    drop(works);
    drop(pool);
    before.settle()
}

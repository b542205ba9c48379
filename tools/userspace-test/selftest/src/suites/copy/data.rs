// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is copied.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use userdma::sys;

use super::scattered;
use crate::account::Account;
use crate::device::{from_card, host_to_host, tagged, to_card, Device, COHERENT, HUGE};
use crate::memory::PAGE;
use crate::model::Model;
use crate::outcome::{same_bytes, Context as _, Outcome};
use crate::raw::{size, wide};
use crate::registry::Context;
use crate::suites::inject::on;
use crate::suites::random::{self, Place};
use crate::suites::rings::{counted, since};

/// Buffers of the driver's, registered memory, and memory that is both.
fn places(device: &Device, length: usize, rng: &mut SmallRng) -> Outcome<Vec<Place>> {
    let mut places = Place::own(device, length, rng)?;
    // More pieces, with any third of it, than the card's ring has entries.
    let memory = scattered(4 * length, rng)?;
    let place = Place::registered(device, memory, rng)?;
    let segments = device.buffer_info(place.handle())?.out_segments;
    let pages = u32::try_from(place.length() / PAGE)?;
    println!("{pages} scattered pages in {segments} segments");
    // An IOMMU puts them side by side; and what must leave an area that nothing may be
    // pinned in comes into order on its way.
    check!(segments > 1 || device.can(sys::USERDMA_CAP_IOMMU)?);
    places.push(place);
    Ok(places)
}

/// A length of any order of magnitude, odd ones and pages among them.
fn length(most: usize, rng: &mut SmallRng) -> usize {
    let some = 1 << rng.random_range(0..=most.ilog2());
    let shapes = [some, some + 1, rng.random_range(1..=some), some + 13];
    shapes[rng.random_range(0..shapes.len())].clamp(1, most)
}

pub(super) fn data(context: &mut Context) -> Outcome {
    const LENGTH: usize = (4 << 20) + 3 * PAGE;
    let before = Account::now()?;
    let device = context.open()?;
    let channels = u16::try_from(device.info()?.out_channels)?;
    let mut rng = SmallRng::seed_from_u64(context.rng.random());
    let mut places = places(&device, LENGTH, &mut rng)?;
    let all = 0..places.len();
    let (mut within, mut moved) = (0, 0);
    for round in 0..context.times(80) {
        // Now and then all of one into all of another, each pair in turn.
        let whole_pair = round % 5 == 0;
        let turn = size((round / 5).into());
        let (source, target) = match (whole_pair, rng.random_range(0..4)) {
            (true, _) => (turn % all.len(), turn / all.len() % all.len()),
            (_, 0) => {
                let both = rng.random_range(all.clone());
                (both, both)
            }
            _ => (rng.random_range(all.clone()), rng.random_range(all.clone())),
        };
        if places[target].source_only() {
            continue;
        }
        let (whole, room) = (places[source].length(), places[target].length());
        let most = match source == target {
            true => whole / 2,
            false => whole.min(room),
        };
        let length = match whole_pair {
            true => most,
            false => length(most, &mut rng),
        };
        let mut from = rng.random_range(0..=whole - length);
        let mut to = rng.random_range(0..=room - length);
        if source == target {
            // On either side of a border, and touching it now and then.
            let border = rng.random_range(length..=whole - length);
            (from, to) = match rng.random_range(0..3) {
                0 => (border - length, border),
                1 => (border, border - length),
                _ => (
                    rng.random_range(0..=border - length),
                    rng.random_range(border..=whole - length),
                ),
            };
            within += 1;
        }
        places[source].refill(from, length, &mut rng);
        let channel = rng.random_range(0..channels);
        random::copy(
            &device,
            &mut places,
            channel,
            (source, from),
            (target, to),
            length,
        )
        .context(|| format!("round {round}, channel {channel}"))?;
        moved += length;
    }
    println!("copied {moved} bytes, {within} times within one buffer");
    check!(within > 0 && moved > LENGTH);
    for place in &places {
        place.check().context(|| "in the end".to_owned())?;
    }
    drop((device, places));
    before.settle()
}

pub(super) fn chain(context: &mut Context) -> Outcome {
    const LENGTH: usize = 100_003;
    // More than a card is given at once.
    const COUNT: usize = 30;
    let before = Account::now()?;
    let device = context.open()?;
    let info = device.info()?;
    let length = LENGTH.min(size(info.out_card_size));
    let mut rng = SmallRng::seed_from_u64(context.rng.random());
    let first = device.alloc(COHERENT, COUNT * LENGTH)?;
    let second = device.alloc(HUGE, LENGTH)?;
    let memory = scattered(LENGTH, &mut rng)?;
    let third = device.register(memory.address(), LENGTH, 0)?;
    let last = device.alloc(COHERENT, COUNT * LENGTH)?;
    let (source, target) = (device.map(&first)?, device.map(&last)?);
    let all = COUNT * length;
    for channel in 0..u16::try_from(info.out_channels)? {
        let bytes = context.bytes(all);
        source.write(0, &bytes);
        target.fill(0..all, 0);
        // All of them through the same places: each overwrites what the one before has left.
        let links: Vec<_> = (0..all)
            .step_by(length)
            .flat_map(|part| {
                [
                    host_to_host((first.handle, part), (second.handle, 0), length),
                    host_to_host((second.handle, 0), (third.handle, 0), length),
                    to_card(third.handle, 0, length, 0),
                    from_card(last.handle, part, length, 0),
                ]
            })
            .zip(0..)
            .map(|(link, tag)| tagged(on(channel, link), tag))
            .collect();
        check_eq!(device.submit(&links)?, links.len(), "in one call");
        for (record, tag) in device.collect(links.len())?.iter().zip(0..) {
            let told = (record.user_data, record.result, record.bytes);
            check_eq!(told, (tag, 0, wide(length)), "{record:?}");
        }
        same_bytes(&target.read(0, all), &bytes, "what came out in the end")?;
        same_bytes(&source.read(0, all), &bytes, "what it was made of")?;
    }
    drop((device, source, target));
    before.settle()
}

pub(super) fn large(context: &mut Context) -> Outcome {
    const LENGTH: usize = 64 << 20;
    let card = context.card().clone();
    let mut model = Model::of(&card)?;
    let device = context.open()?;
    let (from, to) = (device.alloc(HUGE, LENGTH)?, device.alloc(HUGE, LENGTH)?);
    let (source, target) = (device.map(&from)?, device.map(&to)?);
    let bytes = context.bytes(LENGTH);
    source.write(0, &bytes);
    let before = counted(&mut model, &card)?;
    device.run_well(&[host_to_host((from.handle, 0), (to.handle, 0), LENGTH)])?;
    let counts = since(&mut model, &card, &before)?;
    println!("{counts:?}, of {} and {}", from.segments, to.segments);
    check!(counts.descriptors <= 64, "{counts:?}");
    check_eq!((counts.chains, counts.doorbells), (1, 1), "{counts:?}");
    check_eq!(counts.interrupts, 1, "{counts:?}");
    same_bytes(&target.read(0, LENGTH), &bytes, "the copy")
}

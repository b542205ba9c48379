// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Many cards, many processes, all kinds of work at once.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};

use crate::child::{spawn, Child};
use crate::device::{from_card, to_card, Device, COHERENT, HUGE};
use crate::memory::PAGE;
use crate::outcome::{same_bytes, Outcome};
use crate::raw::{size, wide};
use crate::registry::{Context, Need, Test};

pub(super) const TESTS: &[Test] = &[
    Test::new("many.cards", "every card by itself, all at once", cards).needs(&[Need::Cards(2)]),
    Test::new(
        "many.processes",
        "four cards, eight processes, mixed work, every byte right",
        processes,
    )
    .seconds(300)
    .needs(&[Need::Cards(4)]),
    Test::new(
        "many.killed",
        "any of eight processes killed at any moment, nothing left",
        killed,
    )
    .seconds(300)
    .needs(&[Need::Cards(4)]),
    Test::new("many.one_card", "eight processes on one card", one_card).seconds(180),
    Test::new(
        "many.killed_one_card",
        "processes killed on one card, the others go on",
        killed_one,
    )
    .seconds(180),
];

const PROCESSES: usize = 8;

/// A process's part of a card's memory.
#[derive(Clone, Copy)]
struct Part {
    begin: usize,
    length: usize,
}

/// Rounds of mixed work on one part of a card; every byte is compared with what
/// must be there.
fn work(path: &Path, part: Part, seed: u64, rounds: usize) -> Outcome {
    let mut rng = SmallRng::seed_from_u64(seed);
    let device = Device::open(path)?;
    let mut card = vec![0; part.length];
    device.file().write_all_at(&card, wide(part.begin))?;
    let buffer = device.alloc(COHERENT, 2 * PAGE)?;
    let map = device.map(&buffer)?;
    for round in 0..rounds {
        let length = rng.random_range(1..=part.length);
        let place = rng.random_range(0..=part.length - length);
        let offset = rng.random_range(0..=PAGE - length);
        let at = part.begin + place;
        let mut bytes = vec![0; length];
        match rng.random_range(0..5) {
            0 => {
                rng.fill_bytes(&mut bytes);
                device.file().write_all_at(&bytes, wide(at))?;
                card[place..place + length].copy_from_slice(&bytes);
            }
            1 => {
                device.file().read_exact_at(&mut bytes, wide(at))?;
                same_bytes(&bytes, &card[place..place + length], "read")?;
            }
            2 => {
                rng.fill_bytes(&mut bytes);
                map.write(offset, &bytes);
                device.run_well(&[
                    to_card(buffer.handle, offset, length, at),
                    from_card(buffer.handle, PAGE + offset, length, at),
                ])?;
                same_bytes(&map.read(PAGE + offset, length), &bytes, "there and back")?;
                card[place..place + length].copy_from_slice(&bytes);
            }
            3 => {
                // A buffer that is freed while the card still fills it, mapped all the while.
                let other = device.alloc(if round % 2 == 0 { HUGE } else { COHERENT }, PAGE)?;
                let view = device.map_read(&other)?;
                device.submit(&[from_card(other.handle, offset, length, at)])?;
                device.free(other.handle)?;
                check_eq!(device.collect(1)?[0].result, 0);
                same_bytes(
                    &view.read(offset, length),
                    &card[place..place + length],
                    "freed",
                )?;
            }
            _ => {
                // Another file for a moment, closed with work queued.
                let other = Device::open(path)?;
                let theirs = other.alloc(COHERENT, PAGE)?;
                let read = from_card(theirs.handle, 0, length, at);
                check_eq!(other.submit(&[read, read, read])?, 3);
            }
        }
    }
    let mut last = vec![0; part.length];
    device.file().read_exact_at(&mut last, wide(part.begin))?;
    same_bytes(&last, &card, "the card in the end")
}

/// How many processes share a card, and which part is whose; of a large card's
/// memory the end is nobody's.
fn part(cards: usize, process: usize, end: usize) -> Part {
    let sharing = PROCESSES.div_ceil(cards);
    let length = (end / sharing).min(PAGE);
    Part {
        begin: process / cards * length,
        length,
    }
}

/// Starts the processes, round the cards.
fn start(context: &mut Context, cards: usize, rounds: usize) -> Outcome<Vec<Child>> {
    let mut children = Vec::new();
    for process in 0..PROCESSES {
        let path = context.cards[process % cards].path.clone();
        let end = size(Device::open(&path)?.info()?.out_card_size);
        let seed = context.rng.random();
        let part = part(cards, process, end);
        children.push(spawn(|| work(&path, part, seed, rounds))?);
    }
    Ok(children)
}

fn cards(context: &mut Context) -> Outcome {
    let mut devices = Vec::new();
    for card in &context.cards.clone() {
        let device = Device::open(&card.path)?;
        let buffer = device.alloc(COHERENT, PAGE)?;
        let map = device.map(&buffer)?;
        let bytes = context.bytes(1024);
        map.write(0, &bytes);
        devices.push((device, buffer, map, bytes));
    }
    // All at once: there and back on every card.
    for (device, buffer, _, _) in &devices {
        let back = from_card(buffer.handle, 2048, 1024, 0);
        device.submit(&[to_card(buffer.handle, 0, 1024, 0), back])?;
    }
    for (device, _, map, bytes) in &devices {
        for record in device.collect(2)? {
            check_eq!(record.result, 0);
        }
        same_bytes(&map.read(2048, 1024), bytes, "a card's own bytes")?;
    }
    Ok(())
}

fn processes(context: &mut Context) -> Outcome {
    let rounds = size(context.times(12).into());
    join(start(context, 4, rounds)?)
}

fn one_card(context: &mut Context) -> Outcome {
    let rounds = size(context.times(4).into());
    join(start(context, 1, rounds)?)
}

/// Nobody waits for ever: each has minutes, not seconds, on a slow machine.
fn join(children: Vec<Child>) -> Outcome {
    for child in children {
        child.join(Duration::from_secs(240))?;
    }
    Ok(())
}

/// Kills some of the processes while they work; the runner sees what is left
/// behind. The others end well, and the cards work.
fn kill_some(context: &mut Context, cards: usize) -> Outcome {
    for _ in 0..context.times(2) {
        let mut children = start(context, cards, 6)?;
        // The moments are counted in transfers of the first card, not in time.
        let watched = context.open()?;
        let buffer = watched.alloc(COHERENT, PAGE)?;
        for _ in 0..PROCESSES / 2 {
            let victim = context.between(0, children.len() - 1);
            let moments = context.between(0, 3);
            let read = from_card(buffer.handle, 0, 1, 0);
            watched.run_well(&vec![read; moments])?;
            let pause = context.rng.random_range(0..100_000);
            // Within a transfer too: any moment is right, so this one need not be exact.
            std::thread::sleep(Duration::from_micros(pause));
            children.swap_remove(victim).kill()?;
        }
        join(children)?;
        for card in &context.cards[..cards] {
            let device = Device::open(&card.path)?;
            let bytes: Vec<u8> = (0..=255).collect();
            device.file().write_all_at(&bytes, 100)?;
            let mut got = vec![0; 256];
            device.file().read_exact_at(&mut got, 100)?;
            same_bytes(&got, &bytes, "a card after its processes were killed")?;
        }
    }
    Ok(())
}

fn killed(context: &mut Context) -> Outcome {
    kill_some(context, 4)
}

fn killed_one(context: &mut Context) -> Outcome {
    kill_some(context, 1)
}

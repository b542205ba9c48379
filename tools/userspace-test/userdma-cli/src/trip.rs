// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Random blocks from memory through the card and back. `plan` chooses the
//! places.

mod plan;

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::RngCore as _;
use userdma::Completion;
use userdma::Device;
use userdma::Transfer;

use self::plan::Block;
use self::plan::GUARD;
use crate::memory::Memory;

/// Bytes of a huge page.
pub(crate) const HUGE_PAGE: u64 = 2 << 20;
/// What destinations and their guards hold before.
const EMPTY: u8 = 0xee;
/// Time for all, far more than it takes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A block on its way.
struct Trip {
    block: Block,
    from: usize,
    to: usize,
    data: Vec<u8>,
}

/// What came of a block.
pub(crate) struct Arrival {
    /// What memory it came from.
    pub(crate) from: String,
    /// From where to where.
    pub(crate) text: String,
    pub(crate) bytes: u64,
    /// What the card took for it.
    pub(crate) time: Duration,
    /// What is not as it should be.
    pub(crate) wrong: Vec<String>,
}

/// Sends blocks from each of `memories` to the next one and compares them; two
/// transfers for each. None if the memories are too small.
pub(crate) fn round(
    device: &Device,
    memories: &mut [Memory],
    random: &mut SmallRng,
) -> anyhow::Result<Vec<Arrival>> {
    let trips = prepare(device, memories, random)?;
    let transfers = transfers(&trips, memories);
    // One batch: the driver keeps the order of a channel.
    let completions = device.run(&transfers, Some(TIMEOUT))?;
    // All of them before any memory is touched: if the card has gone away in
    // the meantime, so has its memory.
    for completion in &completions {
        completion.result()?;
    }
    (0..)
        .zip(&trips)
        .map(|(number, trip)| check(number, trip, &completions, memories))
        .collect()
}

/// Sends blocks from `memory` to the card, each followed by a look at what the
/// card then has.
pub(crate) fn send(
    device: &Device,
    memory: &mut Memory,
    random: &mut SmallRng,
) -> anyhow::Result<Vec<Arrival>> {
    let size = memory.buffer().length();
    let mut arrivals = Vec::new();
    for block in plan::blocks(size, size, block_size(device), alignment(device), random) {
        let mut data = vec![0; usize::try_from(block.from.end - block.from.start)?];
        random.fill_bytes(&mut data);
        let start = usize::try_from(block.from.start)?;
        memory.mapping_mut().copy_from(start, &data)?;
        let transfer = Transfer::to_card(memory.buffer(), block.from.clone(), 0);
        let completions = device.run(&[transfer], Some(TIMEOUT))?;
        for completion in &completions {
            completion.result()?;
        }
        let mut got = vec![0; data.len()];
        device.read_exact_at(&mut got, 0)?;
        arrivals.push(Arrival {
            from: memory.name(),
            text: format!("{:<7}{:#010x} to the card", block.name, block.from.start),
            bytes: u64::try_from(data.len())?,
            time: completions.iter().map(Completion::duration).sum(),
            wrong: difference(&data, &got).into_iter().collect(),
        });
    }
    Ok(arrivals)
}

fn block_size(device: &Device) -> u64 {
    let info = device.info();
    4096.min(info.card_size).min(info.max_transfer)
}

fn alignment(device: &Device) -> u64 {
    device.info().alignment.into()
}

/// Fills the sources, and the destinations with what must not stay.
fn prepare(
    device: &Device,
    memories: &mut [Memory],
    random: &mut SmallRng,
) -> anyhow::Result<Vec<Trip>> {
    let length = block_size(device);
    let mut trips = Vec::new();
    for from in 0..memories.len() {
        let to = (from + 1) % memories.len();
        let sizes = [from, to].map(|index| memories[index].buffer().length());
        for block in plan::blocks(sizes[0], sizes[1], length, alignment(device), random) {
            let mut data = vec![0; usize::try_from(block.from.end - block.from.start)?];
            random.fill_bytes(&mut data);
            memories[from]
                .mapping_mut()
                .copy_from(usize::try_from(block.from.start)?, &data)?;
            let window =
                usize::try_from(block.to.start - GUARD)?..usize::try_from(block.to.end + GUARD)?;
            memories[to].mapping_mut().fill(window, EMPTY)?;
            trips.push(Trip {
                block,
                from,
                to,
                data,
            });
        }
    }
    Ok(trips)
}

/// Two transfers for each trip, named by its number.
fn transfers(trips: &[Trip], memories: &[Memory]) -> Vec<Transfer> {
    (0..)
        .zip(trips)
        .flat_map(|(number, trip)| {
            let (from, to) = (memories[trip.from].buffer(), memories[trip.to].buffer());
            [
                Transfer::to_card(from, trip.block.from.clone(), 0).user_data(2 * number),
                Transfer::from_card(to, trip.block.to.clone(), 0).user_data(2 * number + 1),
            ]
        })
        .collect()
}

fn check(
    number: u64,
    trip: &Trip,
    completions: &[Completion],
    memories: &[Memory],
) -> anyhow::Result<Arrival> {
    let mut wrong = Vec::new();
    let mut time = Duration::ZERO;
    let length = u64::try_from(trip.data.len())?;
    for name in [2 * number, 2 * number + 1] {
        // Exactly one completion belongs to each transfer.
        let mut own = completions
            .iter()
            .filter(|completion| completion.user_data() == name);
        match (own.next(), own.next()) {
            (Some(completion), None) => {
                let bytes = completion.bytes();
                if bytes != length {
                    wrong.push(format!("{bytes} bytes moved of {length}"));
                }
                time += completion.duration();
            }
            (None, _) => wrong.push("no completion came for it".to_owned()),
            (Some(_), Some(_)) => wrong.push("two completions came for it".to_owned()),
        }
    }
    let guard = usize::try_from(GUARD)?;
    let mut window = vec![0; trip.data.len() + 2 * guard];
    memories[trip.to]
        .mapping()
        .copy_to(usize::try_from(trip.block.to.start - GUARD)?, &mut window)?;
    let mut expected = vec![EMPTY; window.len()];
    expected[guard..guard + trip.data.len()].copy_from_slice(&trip.data);
    wrong.extend(difference(&expected, &window));
    Ok(Arrival {
        from: memories[trip.from].name(),
        text: format!(
            "{:<7}{:#010x} to {} {:#010x}",
            trip.block.name,
            trip.block.from.start,
            memories[trip.to].name(),
            trip.block.to.start
        ),
        bytes: length,
        time,
        wrong,
    })
}

/// Says where the first difference is and how many there are.
pub(crate) fn difference(expected: &[u8], got: &[u8]) -> Option<String> {
    // Much faster than one by one, and nearly always enough.
    if expected == got {
        return None;
    }
    let mut differing = expected
        .iter()
        .zip(got)
        .enumerate()
        .filter(|(_, (wanted, got))| wanted != got);
    let (offset, (wanted, found)) = differing.next()?;
    let count = 1 + differing.count();
    Some(format!(
        "{count} byte{} differ of {}; the first at {offset}: {found:#04x}, not {wanted:#04x}",
        if count == 1 { "" } else { "s" },
        expected.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_counted() {
        assert_eq!(difference(&[1, 2, 3], &[1, 2, 3]), None);
        let told = difference(&[1, 2, 3, 4], &[1, 9, 3, 9]);
        assert_eq!(
            told.as_deref(),
            Some("2 bytes differ of 4; the first at 1: 0x09, not 0x02")
        );
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Random blocks from one buffer through the card into another.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::RngCore as _;
use userdma::Bytes;
use userdma::Completion;
use userdma::Device;
use userdma::Transfer;

use super::plan;
use super::plan::Block;
use super::plan::GUARD;
use super::print::plural;
use super::print::Printer;
use super::Memory;

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

/// Sends blocks from each of `memories` to the next one and compares them.
/// Gives how many transfers that took.
pub(super) fn run(
    device: &Device,
    memories: &mut [Memory],
    random: &mut SmallRng,
    printer: &mut Printer,
) -> anyhow::Result<u64> {
    let trips = prepare(device, memories, random)?;
    let transfers = transfers(&trips, memories);
    let count = u64::try_from(transfers.len())?;
    let size = trips
        .first()
        .map_or(0, |trip| trip.block.from.end - trip.block.from.start);
    printer.section(&format!(
        "through the card and back: {}, {} blocks of random data",
        plural(count, "transfer"),
        Bytes(size)
    ));
    if trips.is_empty() {
        printer.failure("data", "the buffers are too small for it");
        return Ok(0);
    }
    // One batch: the driver keeps the order of a channel.
    let completions = device.run(&transfers, Some(TIMEOUT))?;
    // All of them before any memory is touched: if the card has gone away in
    // the meantime, so has its memory.
    for completion in &completions {
        completion.result()?;
    }
    for (number, trip) in trips.iter().enumerate() {
        check(number, trip, &completions, memories, printer)?;
    }
    Ok(count)
}

/// Fills the sources, and the destinations with what must not stay.
fn prepare(
    device: &Device,
    memories: &mut [Memory],
    random: &mut SmallRng,
) -> anyhow::Result<Vec<Trip>> {
    let info = device.info();
    let length = 4096.min(info.card_size).min(info.max_transfer);
    let mut trips = Vec::new();
    for from in 0..memories.len() {
        let to = (from + 1) % memories.len();
        let sizes = (memories[from].buffer.length(), memories[to].buffer.length());
        for block in plan::blocks(sizes.0, sizes.1, length, info.alignment.into(), random) {
            let mut data = vec![0; usize::try_from(block.from.end - block.from.start)?];
            random.fill_bytes(&mut data);
            memories[from]
                .mapping
                .copy_from(usize::try_from(block.from.start)?, &data)?;
            let window =
                usize::try_from(block.to.start - GUARD)?..usize::try_from(block.to.end + GUARD)?;
            memories[to].mapping.fill(window, EMPTY)?;
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
            let (from, to) = (&memories[trip.from].buffer, &memories[trip.to].buffer);
            [
                Transfer::to_card(from, trip.block.from.clone(), 0).user_data(2 * number),
                Transfer::from_card(to, trip.block.to.clone(), 0).user_data(2 * number + 1),
            ]
        })
        .collect()
}

fn check(
    number: usize,
    trip: &Trip,
    completions: &[Completion],
    memories: &[Memory],
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let names = [2 * number, 2 * number + 1].map(u64::try_from);
    let mut time = Duration::ZERO;
    for name in names {
        let name = name?;
        // Exactly one completion belongs to each transfer.
        let mut own = completions
            .iter()
            .filter(|completion| completion.user_data() == name);
        match (own.next(), own.next()) {
            (Some(completion), None) => {
                let bytes = completion.bytes();
                if bytes != u64::try_from(trip.data.len())? {
                    printer.failure(
                        "transfer",
                        &format!("{bytes} bytes moved of {}", trip.data.len()),
                    );
                }
                time += completion.duration();
            }
            (None, _) => printer.failure("transfer", "no completion came for it"),
            (Some(_), Some(_)) => printer.failure("transfer", "two completions came for it"),
        }
    }
    let guard = usize::try_from(GUARD)?;
    let mut window = vec![0; trip.data.len() + 2 * guard];
    memories[trip.to]
        .mapping
        .copy_to(usize::try_from(trip.block.to.start - GUARD)?, &mut window)?;
    let mut expected = vec![EMPTY; window.len()];
    expected[guard..guard + trip.data.len()].copy_from_slice(&trip.data);

    let name = memories[trip.from].buffer.kind().to_string();
    let text = format!(
        "{:<7}{:#010x} to {} {:#010x}",
        trip.block.name,
        trip.block.from.start,
        memories[trip.to].buffer.kind(),
        trip.block.to.start
    );
    printer.compared(&name, &text, time, difference(&expected, &window));
    Ok(())
}

/// Says where the first difference is and how many there are.
pub(super) fn difference(expected: &[u8], got: &[u8]) -> Option<String> {
    let mut differing = expected
        .iter()
        .zip(got)
        .enumerate()
        .filter(|(_, (wanted, got))| wanted != got);
    let (offset, (wanted, found)) = differing.next()?;
    Some(format!(
        "{} differ of {}; the first at {offset}: {found:#04x}, not {wanted:#04x}",
        plural(
            u64::try_from(1 + differing.count()).unwrap_or(u64::MAX),
            "byte"
        ),
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

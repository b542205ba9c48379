// SPDX-License-Identifier: GPL-2.0 OR MIT
//! As much as one batch takes, to the card and back: what it costs, and how fast
//! it is.

use std::ops::Range;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::RngCore as _;
use userdma::Bytes;
use userdma::Completion;
use userdma::Device;
use userdma::Transfer;

use super::print::plural;
use super::print::Printer;
use crate::interrupts::Counts;
use crate::memory::Memory;
use crate::number;
use crate::trip;

/// Time for all, far more than it takes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// So many transfers of a card with which a batch is not worth much: QEMU's takes
/// 100 ms for each.
const FEW: u64 = 4;

/// Sends all of `memory` to the card and fills it from there, in pieces as large as
/// the card takes, or [`FEW`] where that would be too many for one batch. Gives how
/// many transfers that took.
pub(super) fn move_whole(
    device: &Device,
    memory: &mut Memory,
    random: &mut SmallRng,
    printer: &mut Printer,
) -> anyhow::Result<u64> {
    let info = device.info();
    let pieces = pieces(
        memory.buffer().length(),
        info.max_transfer.min(info.card_size),
        info.depth.into(),
    );
    let Some(last) = pieces.last() else {
        return Ok(0);
    };
    let count = u64::try_from(pieces.len())?;
    let size = last.end - last.start;
    printer.section(&format!(
        "one batch: {} of {}, {} buffer",
        plural(count, "transfer"),
        Bytes(size),
        memory.name()
    ));
    // The last one stays in the card: all begin at the same place there.
    let mut data = vec![0; usize::try_from(size)?];
    random.fill_bytes(&mut data);
    let place = usize::try_from(last.start)?;
    memory.mapping_mut().copy_from(place, &data)?;
    let buffer = memory.buffer();
    let to_card = pieces
        .iter()
        .map(|piece| Transfer::to_card(buffer, piece.clone(), 0));
    let from_card = pieces
        .iter()
        .map(|piece| Transfer::from_card(buffer, piece.clone(), 0));
    timed(device, "to the card", to_card.collect(), printer)?;
    timed(device, "from the card", from_card.collect(), printer)?;

    let mut back = vec![0; data.len()];
    for piece in &pieces {
        let place = usize::try_from(piece.start)?;
        memory.mapping().copy_to(place, &mut back)?;
        if let Some(words) = trip::difference(&data, &back) {
            printer.failure("from the card", &format!("at {place:#x}: {words}"));
        }
    }
    Ok(2 * count)
}

/// What of a buffer is moved in which pieces.
fn pieces(length: u64, most: u64, depth: u64) -> Vec<Range<u64>> {
    let size = most.min(length);
    if size == 0 {
        return Vec::new();
    }
    let count = match length / size {
        all if all <= depth => all,
        _ => FEW,
    };
    (0..count)
        .map(|piece| piece * size..(piece + 1) * size)
        .collect()
}

/// Does one batch, and shows what it took.
fn timed(
    device: &Device,
    name: &str,
    transfers: Vec<Transfer>,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let before = Counts::read(device);
    let completions = device.run(&transfers, Some(TIMEOUT))?;
    let after = Counts::read(device);
    for completion in &completions {
        completion.result()?;
    }
    let bytes: u64 = completions.iter().map(Completion::bytes).sum();
    let begin = completions.iter().map(Completion::submitted).min();
    let end = completions.iter().map(Completion::ended).max();
    let time = end
        .zip(begin)
        .map_or(Duration::ZERO, |(end, begin)| end.saturating_sub(begin));
    let mut text = Bytes(bytes).to_string();
    if let Some((before, after)) = before.zip(after) {
        let counts = after.since(before);
        for (count, what) in [
            (counts.descriptors, "descriptor"),
            (counts.doorbells, "doorbell"),
            (counts.interrupts, "interrupt"),
        ] {
            text.push_str(", ");
            text.push_str(&plural(count, what));
        }
    }
    printer.row(name, &text, Some(time));
    printer.row("", &number::rate(bytes, time), None);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_takes_all_or_a_few() {
        // A card with rings and 4 MiB, and QEMU's with 4 KiB.
        assert_eq!(pieces(64 << 20, 4 << 20, 128).len(), 16);
        assert_eq!(pieces(64 << 20, 4096, 128), pieces(4 * 4096, 4096, 128));
        assert_eq!(pieces(1 << 20, 4 << 20, 128).last(), Some(&(0..1 << 20)));
        assert!(pieces(0, 4096, 128).is_empty());
        assert!(pieces(4096, 0, 128).is_empty());
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Keeps several pieces of a copy in flight, and ends them in order.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context as _;
use indicatif::ProgressBar;
use userdma::Device;
use userdma::Transfer;
use userdma::Wait;

use super::slots::Slots;
use super::EACH;
use crate::cli;
use crate::stream;
use crate::trip;

/// Longer than the card may take for what is in flight: the driver ends what it
/// does not end itself.
const PATIENCE: Duration = Duration::from_secs(120);

/// From where to where, with offsets in the card's memory.
pub(super) enum Route<'a> {
    /// Out of a file into the card.
    In(&'a mut dyn Read, u64),
    /// Out of the card into a file, which is read back from if there is a second one.
    Out(u64, &'a mut dyn Write, Option<&'a mut File>),
    /// From one place of the card to another.
    Within(u64, u64),
}

/// The pieces in flight.
pub(super) struct Flow<'a> {
    device: &'a Device,
    slots: Slots,
    /// Pieces in flight at most; so many slots, and as many again to verify.
    depth: u64,
    piece: u64,
    verify: bool,
    bar: &'a ProgressBar,
    /// What is in flight, by the number of the piece modulo the depth.
    flights: Vec<Flight>,
}

/// What was copied, and how long that took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copied {
    pub(super) bytes: u64,
    pub(super) time: Duration,
}

/// A piece in flight.
#[derive(Clone, Copy, Debug, Default)]
struct Flight {
    begin: u64,
    length: usize,
    transfers: usize,
}

impl<'a> Flow<'a> {
    pub(super) fn new(
        device: &'a Device,
        options: &cli::Copy,
        length: u64,
        bar: &'a ProgressBar,
    ) -> anyhow::Result<Self> {
        let info = device.info();
        let channels = u64::from(info.channels.max(1));
        let largest = info.max_transfer.max(1);
        if let Some(block) = options
            .block
            .filter(|block| *block == 0 || *block > largest)
        {
            bail!("--block {block} is not what one transfer moves\n  limit: 1 to {largest} bytes");
        }
        let verify = options.verify;
        let each = if verify { 3 } else { 2 };
        let most = (u64::from(info.depth) / each).max(1);
        if let Some(flight) = options.flight.filter(|flight| *flight > most) {
            bail!("--flight {flight} is more than an open file may have\n  limit: {most}");
        }
        let depth = options.flight.unwrap_or(EACH * channels).clamp(1, most);
        let piece = options.block.unwrap_or(1 << 20).min(largest);
        // No more memory than there is to be copied.
        let depth = depth.min(length.div_ceil(piece)).max(1);
        let count = usize::try_from(if verify { 2 * depth } else { depth })?;
        Ok(Self {
            device,
            slots: Slots::new(device, count, usize::try_from(piece)?)?,
            depth,
            piece,
            verify,
            bar,
            flights: vec![Flight::default(); usize::try_from(depth)?],
        })
    }

    /// Copies up to `length` bytes.
    pub(super) fn run(&mut self, mut route: Route<'_>, length: u64) -> anyhow::Result<Copied> {
        let begin = Instant::now();
        let (mut sent, mut begun, mut ended) = (0, 0, 0);
        let mut more = true;
        loop {
            if begun - ended == self.depth || (!more && ended < begun) {
                self.end(&mut route, ended)?;
                ended += 1;
            } else if !more {
                return Ok(Copied {
                    bytes: sent,
                    time: begin.elapsed(),
                });
            } else {
                let wanted = self.piece.min(length - sent);
                let count = self.begin(&mut route, begun, sent, wanted)?;
                sent += count;
                begun += u64::from(count > 0);
                more = count == self.piece && sent < length;
            }
        }
    }

    /// Begins the piece `number`, and gives how many bytes it has.
    fn begin(
        &mut self,
        route: &mut Route<'_>,
        number: u64,
        at: u64,
        wanted: u64,
    ) -> anyhow::Result<u64> {
        let slot = usize::try_from(number % self.depth)?;
        let mut count = usize::try_from(wanted)?;
        if let Route::In(input, _) = route {
            let memory = self.slots.bytes_mut(slot, count);
            let memory = memory.context("the memory is in use")?;
            count = stream::fill(input, memory).context("cannot read the source")?;
        }
        if count == 0 {
            return Ok(0);
        }
        let range = self.slots.lend(slot, count)?;
        let buffer = self.slots.buffer();
        let mut transfers = match route {
            Route::In(_, to) => vec![Transfer::to_card(buffer, range, *to + at)],
            Route::Out(from, ..) => vec![Transfer::from_card(buffer, range, *from + at)],
            // In order, as they are on one channel.
            Route::Within(from, to) => vec![
                Transfer::from_card(buffer, range.clone(), *from + at),
                Transfer::to_card(buffer, range, *to + at),
            ],
        };
        if let (Route::In(_, to) | Route::Within(_, to), true) = (&route, self.verify) {
            let to = *to + at;
            let range = self.slots.lend(self.second(slot), count)?;
            transfers.push(Transfer::from_card(self.slots.buffer(), range, to));
        }
        let channels = u64::from(self.device.info().channels.max(1));
        let channel = u16::try_from(number % channels)?;
        let transfers: Vec<_> = transfers
            .into_iter()
            .map(|transfer| transfer.channel(channel).user_data(number % self.depth))
            .collect();
        let mut accepted = 0;
        while accepted < transfers.len() {
            accepted += self.device.submit(&transfers[accepted..])?;
        }
        self.flights[slot] = Flight {
            begin: at,
            length: count,
            transfers: accepted,
        };
        Ok(u64::try_from(count)?)
    }

    /// The slot into which what went through a slot comes back.
    fn second(&self, slot: usize) -> usize {
        self.flights.len() + slot
    }

    /// Waits for the end of the piece `number`, and takes what it brought.
    fn end(&mut self, route: &mut Route<'_>, number: u64) -> anyhow::Result<()> {
        let slot = usize::try_from(number % self.depth)?;
        while self.flights[slot].transfers > 0 {
            for completion in self.device.wait(&Wait::new().timeout(PATIENCE))? {
                let moved = completion.result()?;
                let flight = &mut self.flights[usize::try_from(completion.user_data())?];
                if moved != u64::try_from(flight.length)? {
                    bail!("the card moved {moved} bytes of {}", flight.length);
                }
                flight.transfers -= 1;
            }
        }
        let Flight { begin, length, .. } = self.flights[slot];
        self.slots.take_back(slot);
        let wrong = match route {
            Route::Out(_, output, written) => {
                let bytes = self.slots.bytes(slot, length);
                let bytes = bytes.context("the memory is in use")?;
                output
                    .write_all(bytes)
                    .context("cannot write to the destination")?;
                match written {
                    None => None,
                    Some(written) => {
                        let mut back = vec![0; length];
                        written
                            .read_exact(&mut back)
                            .context("cannot read the destination back")?;
                        trip::difference(bytes, &back)
                    }
                }
            }
            _ if self.verify => {
                let second = self.second(slot);
                self.slots.take_back(second);
                let sent = self.slots.bytes(slot, length);
                let both = sent.zip(self.slots.bytes(second, length));
                let (sent, back) = both.context("the memory is in use")?;
                trip::difference(sent, back)
            }
            _ => None,
        };
        if let Some(words) = wrong {
            bail!("what was copied differs in the piece at {begin:#x}: {words}");
        }
        self.bar.inc(u64::try_from(length)?);
        Ok(())
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Takes the figures of a row: of one transfer at a time, then of a full queue.

use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use rustix::time::clock_gettime;
use rustix::time::ClockId;
use userdma::Buffer;
use userdma::Device;
use userdma::ErrorKind;
use userdma::Transfer;

use super::plan::Group;
use super::plan::Plan;
use super::progress::Progress;
use super::queue::Queue;
use super::report::Latency;
use super::report::Throughput;
use super::times::Times;
use super::way::Ended;
use super::way::Way;
use crate::cli::Direction;
use crate::interrupts::Counts;

/// However slow the card is, so many transfers are measured.
const FEWEST: u64 = 3;

/// Measures the rows of one group, in one buffer.
pub(super) struct Meter<'a> {
    pub(super) way: &'a mut Way,
    pub(super) buffer: &'a Buffer,
    pub(super) plan: &'a Plan,
    pub(super) group: &'a Group,
    /// Bytes of each transfer.
    pub(super) block: u64,
    pub(super) progress: &'a Progress,
}

impl Meter<'_> {
    /// Moves one at a time; `None` if it was stopped before one was.
    pub(super) fn alone(&mut self) -> anyhow::Result<Option<Latency>> {
        let channel = self.group.channels.first().copied().unwrap_or(0);
        let (mut program, mut card) = (Times::new()?, Times::new()?);
        // The first one brings tables and caches into the state that the others find.
        self.one(0, channel)?;
        let begin = Instant::now();
        for number in 1.. {
            let time = begin.elapsed();
            let enough = time >= self.plan.time && program.count() >= FEWEST;
            if enough || self.progress.is_stopped() {
                break;
            }
            self.progress.at(time);
            let submit = Instant::now();
            let on_card = self.one(number, channel)?;
            program.add(submit.elapsed())?;
            if let Some(time) = on_card {
                card.add(time)?;
            }
        }
        Ok(program.summary().map(|summary| Latency {
            transfers: program.count(),
            program_ns: summary,
            card_ns: card.summary(),
        }))
    }

    /// Moves one, waits for its end whatever signals come, and gives the card's part of
    /// the time.
    fn one(&mut self, number: u64, channel: u16) -> anyhow::Result<Option<Duration>> {
        self.way.submit(&[self.transfer(number, channel)])?;
        loop {
            if let Some(ended) = self.way.wait(1, 1)?.pop() {
                let on_card = ended.on_card;
                self.moved(ended)?;
                return Ok(on_card);
            }
        }
    }

    /// Keeps the queue full; `None` if it was stopped before one had ended.
    pub(super) fn full(&mut self) -> anyhow::Result<Option<Throughput>> {
        let (flight, batch) = (self.plan.flight, self.plan.batch);
        let mut queue = Queue::new(&self.group.channels);
        let (calls, processor) = (self.way.calls(), processor());
        let counts = Counts::read(self.device());
        let begin = Instant::now();
        let (mut count, mut bytes, mut time) = (0, 0, Duration::ZERO);
        while !self.progress.is_stopped() && (time < self.plan.time || count < FEWEST) {
            let free = flight - queue.in_flight();
            if free >= batch {
                let next = (0..free).map(|_| queue.next());
                let transfers: Vec<_> = next
                    .map(|(number, channel)| self.transfer(number, channel))
                    .collect();
                self.way.submit(&transfers)?;
            }
            for ended in self.way.wait(batch, flight)? {
                queue.ended(ended.channel);
                bytes += self.moved(ended)?;
                count += 1;
                time = begin.elapsed();
            }
            self.progress.at(time);
        }
        let full = Throughput::new(
            (count, bytes),
            time,
            self.way.calls() - calls,
            self::processor().saturating_sub(processor),
            Counts::read(self.device())
                .zip(counts)
                .map(|(now, then)| now.since(then)),
        );
        self.empty(&mut queue)?;
        Ok((count > 0).then_some(full))
    }

    /// Takes back what the card was not given yet, and waits for the rest: not
    /// measured, as the queue is no longer full.
    fn empty(&mut self, queue: &mut Queue) -> anyhow::Result<()> {
        for channel in &self.group.channels {
            self.device().cancel_all((*channel).into())?;
        }
        while queue.in_flight() > 0 {
            for ended in self.way.wait(1, self.plan.flight)? {
                queue.ended(ended.channel);
                let canceled = |error: &userdma::Error| error.kind() == ErrorKind::Canceled;
                if !ended.result.as_ref().is_err_and(canceled) {
                    self.moved(ended)?;
                }
            }
        }
        Ok(())
    }

    fn device(&self) -> &Device {
        self.buffer.device()
    }

    fn transfer(&self, number: u64, channel: u16) -> Transfer {
        let (range, card) = self.plan.place(number, self.block, self.buffer.length());
        let transfer = match self.group.direction {
            Direction::ToCard => Transfer::to_card(self.buffer, range, card),
            _ => Transfer::from_card(self.buffer, range, card),
        };
        transfer.channel(channel).user_data(number)
    }

    /// Gives the bytes that a transfer has moved, which must be all of it.
    fn moved(&self, ended: Ended) -> anyhow::Result<u64> {
        match ended.result? {
            all if all == self.block => Ok(all),
            some => bail!("the card moved {some} bytes of {}", self.block),
        }
    }
}

/// Time of processors that this program has used so far, in all its threads.
fn processor() -> Duration {
    // The clock is never negative.
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

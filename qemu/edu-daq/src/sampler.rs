// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which samples a digitiser has taken at a time, and what becomes of each. Times
//! are nanoseconds of the card's clock.
//!
//! Nothing ticks here: that samples are due is found when somebody asks. Samples
//! are counted from RESET; `next` is the first that is neither in a chain nor
//! dropped. A chain takes those that are due; whoever knows that no chain is there
//! drops them, before anything happens that may change that.

use crate::registers::digitiser::ACQUIRE_ENABLE;
use crate::registers::digitiser::ACQUIRE_FORCE;
use crate::registers::digitiser::ACQUIRE_SOURCE;
use crate::registers::digitiser::ACQUIRE_TRIGGERED;
use crate::source::Generator;
use crate::source::Source;

/// How many samples are looked at at once for the trigger.
const LOOK: u64 = 16 << 10;

/// How often it is looked for, in nanoseconds.
const LOOK_EVERY: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Off,
    /// Waits for the trigger; `below`: the sample before was below the level.
    Waiting {
        below: bool,
    },
    Taking,
}

/// A digitiser, but for its memory and threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sampler {
    /// What can be read of ACQUIRE.
    acquire: u32,
    pub(crate) level: i32,
    pub(crate) sine_period: u32,
    period: u32,
    state: State,
    /// The first sample of those that come in the present PERIOD, which began at
    /// `start`; all before it are due, and were until `start` at the latest.
    first: u64,
    start: u64,
    next: u64,
    /// The chain that is filled ends before this sample.
    cut: Option<u64>,
    dropped: u64,
    /// Some were dropped since a chain began.
    gap: bool,
    generator: Generator,
}

/// Samples for a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Samples {
    pub(crate) first: u64,
    pub(crate) count: u64,
}

impl Sampler {
    pub(crate) fn acquire(&self) -> u32 {
        self.acquire
    }

    pub(crate) fn period(&self) -> u32 {
        self.period
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Writes ACQUIRE. `chain`: a chain is there, or may be.
    pub(crate) fn set_acquire(&mut self, value: u32, now: u64, chain: bool) {
        let (was, is) = (self.acquire & ACQUIRE_ENABLE, value & ACQUIRE_ENABLE);
        self.acquire = value & !ACQUIRE_FORCE & 0x1f;
        match (was, is) {
            (0, 1) => self.enable(now),
            (1, 0) => {
                match self.state {
                    // Those that were only looked at are nobody's.
                    State::Waiting { .. } => self.first = self.next,
                    _ => self.rebase(now),
                }
                self.state = State::Off;
                if chain {
                    self.cut.get_or_insert(self.first);
                } else {
                    self.drop_until(now);
                }
            }
            _ => {}
        }
        let waiting = matches!(self.state, State::Waiting { .. });
        if value & ACQUIRE_FORCE != 0 && waiting {
            self.next = self.next.max(self.due(now, self.next));
            self.state = State::Taking;
        }
    }

    fn enable(&mut self, now: u64) {
        // What the last acquisition left, if nobody fetched it in time.
        self.lose(self.first.saturating_sub(self.next));
        self.first = self.next;
        self.start = now;
        self.state = match self.acquire & ACQUIRE_TRIGGERED {
            0 => State::Taking,
            _ => State::Waiting { below: false },
        };
    }

    pub(crate) fn set_period(&mut self, period: u32, now: u64) {
        self.rebase(now);
        self.period = period;
    }

    /// Settles which samples are due, and counts PERIOD from now on.
    fn rebase(&mut self, now: u64) {
        self.first = self.due(now, self.next);
        self.start = now;
    }

    /// The number of samples that are due; `endless` if they wait for chains.
    fn due(&self, now: u64, endless: u64) -> u64 {
        match (self.state, self.period) {
            (State::Off, _) => self.first,
            (_, 0) => endless,
            (_, period) => self.first + now.saturating_sub(self.start) / u64::from(period),
        }
    }

    /// When a sample was or will be taken.
    fn time(&self, index: u64) -> u64 {
        match index.checked_sub(self.first) {
            Some(later) => (later + 1)
                .saturating_mul(self.period.into())
                .saturating_add(self.start),
            None => self.start,
        }
    }

    fn lose(&mut self, samples: u64) {
        self.next += samples;
        self.dropped += samples;
        self.gap |= samples != 0;
    }

    /// Drops what is due: no chain was there until now.
    pub(crate) fn drop_until(&mut self, now: u64) {
        let waiting = matches!(self.state, State::Waiting { .. });
        if self.cut.is_none() && !waiting {
            let due = self.due(now, self.next);
            self.lose(due.saturating_sub(self.next));
        }
    }

    /// Ends the chain that is being filled, with the samples that are due.
    pub(crate) fn cut(&mut self, now: u64) {
        let end = match self.state {
            State::Waiting { .. } => self.next,
            _ => self.due(now, self.next).max(self.next),
        };
        self.cut.get_or_insert(end);
    }

    /// Whether the chain that is being filled gets no more.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.is_some_and(|cut| cut <= self.next)
    }

    /// The chain that was cut has ended, or there was none.
    pub(crate) fn end_cut(&mut self) {
        self.cut = None;
    }

    /// Whether samples were dropped since the last chain; once.
    pub(crate) fn take_gap(&mut self) -> bool {
        std::mem::take(&mut self.gap)
    }

    /// The source as it is set now.
    pub(crate) fn generator(&mut self) -> &Generator {
        let source = (self.acquire >> ACQUIRE_SOURCE) & 0b111;
        self.generator
            .set(Source::from_bits(source), self.sine_period);
        &self.generator
    }

    /// How many samples are due for the chain that is there, counted up to `most`.
    pub(crate) fn available(&self, now: u64, most: u64) -> u64 {
        if matches!(self.state, State::Waiting { .. }) {
            return 0;
        }
        let endless = self.next.saturating_add(most);
        let end = self.due(now, endless).min(self.cut.unwrap_or(u64::MAX));
        end.saturating_sub(self.next).min(most)
    }

    /// Whether the last samples are due of a chain that is cut.
    pub(crate) fn has_last(&self, now: u64) -> bool {
        let left = self.cut.map_or(0, |cut| cut.saturating_sub(self.next));
        left != 0 && self.available(now, left) == left
    }

    /// When the next sample is taken.
    pub(crate) fn next_time(&self, now: u64) -> u64 {
        match self.period {
            0 => now,
            _ => self.time(self.next),
        }
    }

    /// Gives up to `most` samples that are due to the chain that is there.
    pub(crate) fn take(&mut self, now: u64, most: u64) -> Option<Samples> {
        let count = self.available(now, most);
        let first = self.next;
        self.next += count;
        (count != 0).then_some(Samples { first, count })
    }

    /// Takes samples back that a chain could not hold.
    pub(crate) fn give_back(&mut self, samples: u64) {
        self.next -= samples;
    }

    /// Whether the trigger is to be looked for. `chain`: a chain is there, without
    /// which a PERIOD of 0 takes no samples.
    pub(crate) fn is_looking(&self, chain: bool) -> bool {
        matches!(self.state, State::Waiting { .. }) && (chain || self.period != 0)
    }

    /// Looks for the trigger in some of the samples that are due. Whether there are
    /// more to look at.
    pub(crate) fn look(&mut self, now: u64) -> bool {
        let State::Waiting { mut below } = self.state else {
            return false;
        };
        let end = self.due(now, self.next + LOOK);
        let stop = end.min(self.next + LOOK);
        let level = self.level;
        let first = self.next;
        let generator = self.generator();
        let mut next = first;
        let mut found = false;
        while next < stop && !found {
            let reached = generator.value(next) >= level;
            found = reached && below;
            below = !reached;
            next += u64::from(!found);
        }
        self.next = next;
        self.state = match found {
            true => State::Taking,
            false => State::Waiting { below },
        };
        // Without a PERIOD there are always more; but not in an endless loop.
        !found && stop < end
    }

    /// When it is worth while to ask again for `count` samples; None: not before a
    /// register is written.
    pub(crate) fn ready(&self, now: u64, count: u64) -> Option<u64> {
        match self.state {
            State::Off => None,
            State::Waiting { .. } => Some(now.saturating_add(LOOK_EVERY)),
            State::Taking => Some(self.time(self.next + count.max(1) - 1)),
        }
    }
}

#[cfg(test)]
mod tests;

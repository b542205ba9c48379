// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Chains that samples fill.

use std::time::Duration;

use userdma_model::Place;

use crate::chain::Chain;
use crate::channel::State;
use crate::faults::Middle;
use crate::ring::Status;
use crate::sampler::Samples;
use crate::source::Generator;
use crate::worker::status;
use crate::worker::Outcome;
use crate::worker::Stop;
use crate::worker::Worker;

/// Bytes of a sample.
const SAMPLE: u64 = 2;

/// So many samples are stored at once.
const BATCH: u64 = 64 << 10;

/// What a chain may expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Supply {
    /// Samples are due.
    Due,
    /// It gets no more.
    End,
    /// RUN was cleared before there was any.
    Park,
}

/// A chain while it is filled.
#[derive(Debug)]
struct Filling<'a> {
    chain: &'a Chain,
    outcome: Outcome,
    /// Has a sample.
    begun: bool,
    /// The descriptor, and the place in it, that come next.
    descriptor: usize,
    done: u64,
    /// What happens after so many bytes.
    middle: Middle,
    half: u64,
}

impl Filling<'_> {
    /// The samples until something happens; until the end of the chain or before.
    fn left(&self) -> u64 {
        (self.chain.length().min(self.half) - self.outcome.moved) / SAMPLE
    }
}

impl Worker {
    /// Fills a chain; None if it is to wait, empty.
    pub(crate) fn fill(&self, chain: &Chain) -> Result<Option<Outcome>, Stop> {
        let mut filling = Filling {
            chain,
            outcome: Outcome {
                status: Status::Ok,
                moved: 0,
                start: 0,
                gap: false,
            },
            begun: false,
            descriptor: 0,
            done: 0,
            middle: Middle::default(),
            half: u64::MAX,
        };
        let length = chain.length();
        let mut supply = self.await_samples(&filling)?;
        while supply == Supply::Due {
            self.begin(&mut filling);
            if filling.outcome.moved == filling.half {
                filling.half = u64::MAX;
                if let Some(status) = self.middle(filling.middle)? {
                    filling.outcome.status = status;
                    break;
                }
            }
            if let Err(status) = self.store(&mut filling) {
                filling.outcome.status = status;
                break;
            }
            if filling.outcome.moved == length {
                break;
            }
            supply = self.await_samples(&filling)?;
        }
        if let Some(sampler) = &mut self.channel.state().sampler {
            // A cut that is still ahead is for the next chain.
            if sampler.is_cut() {
                sampler.end_cut();
            }
        }
        Ok((supply != Supply::Park).then_some(filling.outcome))
    }

    /// Waits until samples are due for a chain: one for its beginning, and then as
    /// many as are stored at once.
    fn await_samples(&self, filling: &Filling<'_>) -> Result<Supply, Stop> {
        let channel = &self.channel;
        let mut state = channel.state();
        loop {
            if state.is_abandoned() {
                return Err(Stop::Abandoned);
            }
            let mut time = self.look_for_trigger(&mut state, true);
            let (now, run) = (channel.clock.now(), state.run);
            let Some(sampler) = &mut state.sampler else {
                return Ok(Supply::End);
            };
            let count = match filling.begun {
                true => filling.left().clamp(1, BATCH),
                false => 1,
            };
            if sampler.available(now, count) >= count || sampler.has_last(now) {
                return Ok(Supply::Due);
            }
            if sampler.is_cut() && filling.begun {
                return Ok(Supply::End);
            }
            if !run && !filling.begun {
                return Ok(Supply::Park);
            }
            if sampler.is_cut() {
                // It was for a chain that was being filled, and this one is not.
                sampler.end_cut();
            }
            if time.is_none() {
                let ready = sampler.ready(now, count);
                time = ready.map(|ready| channel.clock.until(ready));
            }
            state = channel.wait(state, time);
        }
    }

    /// The first sample of a chain.
    fn begin(&self, filling: &mut Filling<'_>) {
        if filling.begun {
            return;
        }
        let channel = &self.channel;
        let now = channel.clock.now();
        filling.begun = true;
        filling.middle = channel.faults.chain(channel.index);
        if !filling.middle.is_nothing() {
            filling.half = filling.chain.length() / 2 / SAMPLE * SAMPLE;
        }
        if let Some(sampler) = &mut channel.state().sampler {
            filling.outcome.start = sampler.next_time(now);
            filling.outcome.gap = sampler.take_gap();
        }
    }

    /// Stores samples that are due.
    fn store(&self, filling: &mut Filling<'_>) -> Result<(), Status> {
        let Some((samples, generator)) = self.take(filling.left().min(BATCH)) else {
            return Ok(());
        };
        let mut bytes = vec![0; (samples.count * SAMPLE) as usize];
        generator.fill(samples.first, &mut bytes);
        let length = bytes.len() as u64;
        let mut at = 0;
        let mut result = self.block.write(0, &bytes);
        while result.is_ok() && at < length {
            let Some(descriptor) = filling.chain.descriptors().get(filling.descriptor) else {
                break;
            };
            let left = u64::from(descriptor.length) - filling.done;
            let from = Place::Card(&self.block, at);
            let to = Place::Host(descriptor.address.saturating_add(filling.done));
            match self.channel.host.copy(from, to, left.min(length - at)) {
                Ok(bytes) => {
                    at += bytes;
                    filling.outcome.moved += bytes;
                    filling.done += bytes;
                    if bytes == left {
                        (filling.descriptor, filling.done) = (filling.descriptor + 1, 0);
                    }
                }
                Err(refusal) => result = Err(refusal),
            }
        }
        if let Some(sampler) = &mut self.channel.state().sampler {
            // Half a sample is none.
            sampler.give_back((length - at).div_ceil(SAMPLE));
        }
        result.map_err(status)
    }

    fn take(&self, most: u64) -> Option<(Samples, Generator)> {
        let now = self.channel.clock.now();
        let mut state = self.channel.state();
        let sampler = state.sampler.as_mut()?;
        let samples = sampler.take(now, most)?;
        Some((samples, sampler.generator().clone()))
    }

    /// Looks for the trigger, if it is waited for: how long to wait until there is
    /// more to look at. `chain`: there is a chain for samples.
    pub(crate) fn look_for_trigger(&self, state: &mut State, chain: bool) -> Option<Duration> {
        let now = self.channel.clock.now();
        let sampler = state.sampler.as_mut()?;
        if !sampler.is_looking(chain) {
            return None;
        }
        if sampler.look(now) {
            // Others may have the state in between.
            return Some(Duration::ZERO);
        }
        let again = sampler.is_looking(chain).then(|| sampler.ready(now, 1));
        again.flatten().map(|time| self.channel.clock.until(time))
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The worker of a channel: a thread that takes chains from the descriptor ring,
//! has them worked on, and writes their completions.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use userdma_model::DeviceMemory;
use userdma_model::Refusal;
use userdma_model::BLOCK;

use crate::chain::Chain;
use crate::channel::Channel;
use crate::channel::State;
use crate::clock::LONG;
use crate::faults::ChainFault;
use crate::faults::Middle;
use crate::ring::Completion;
use crate::ring::Descriptor;
use crate::ring::Operation;
use crate::ring::Status;

/// Why the worker leaves what it is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// RESET, or the end of the card.
    Abandoned,
    /// No completion can be given.
    Halted(Status),
}

/// How a chain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: Status,
    pub(crate) moved: u64,
    pub(crate) start: u64,
    pub(crate) gap: bool,
}

/// The worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) channel: Arc<Channel>,
    /// A block of samples on their way.
    pub(crate) block: DeviceMemory,
}

impl Worker {
    /// Starts the thread, which [`Channel::end`] ends.
    pub(crate) fn start(channel: &Arc<Channel>) -> anyhow::Result<JoinHandle<()>> {
        let worker = Self {
            channel: channel.clone(),
            block: DeviceMemory::new(BLOCK as usize)?,
        };
        Ok(std::thread::spawn(move || worker.run()))
    }

    fn run(&self) {
        while let Some(mut chain) = self.next() {
            let end = self.turn(&mut chain);
            let mut state = self.channel.state();
            match end {
                Ok(()) => state.chain = chain,
                Err(Stop::Abandoned) => {}
                Err(Stop::Halted(_)) if state.is_abandoned() => {}
                Err(Stop::Halted(status)) => {
                    state.halted = Some(status);
                    self.channel.interrupts.halted(self.channel.index);
                }
            }
            self.channel.rest(&mut state);
        }
    }

    /// Waits until there is something to do; None: the end.
    fn next(&self) -> Option<Chain> {
        let mut state = self.channel.state();
        while !state.is_over() {
            if state.has_work() {
                state.working = true;
                return Some(std::mem::take(&mut state.chain));
            }
            let time = self.look_for_trigger(&mut state, false);
            state = self.channel.wait(state, time);
        }
        None
    }

    /// Takes a chain as far as it is given, and works on it if it is whole. What is
    /// left of it waits for its time.
    fn turn(&self, chain: &mut Chain) -> Result<(), Stop> {
        let state = self.channel.state();
        let (ring, given, mut taken) = (state.ring, state.given, state.taken);
        drop(state);
        while !chain.is_whole(ring.entries()) && taken != given {
            if self.channel.is_abandoned() {
                return Err(Stop::Abandoned);
            }
            chain.push(self.descriptor(ring.entry(taken), ring.phase(taken))?);
            taken = taken.wrapping_add(1);
            self.channel.counters.descriptors.add(1);
            self.channel.state().taken = taken;
        }
        if !chain.is_whole(ring.entries()) {
            return Ok(());
        }
        if let Some(outcome) = self.work(chain)? {
            self.complete(chain, outcome)?;
            *chain = Chain::default();
        }
        Ok(())
    }

    fn descriptor(&self, address: u64, phase: bool) -> Result<Descriptor, Stop> {
        let host = &self.channel.host;
        let halt = |refusal| Stop::Halted(status(refusal));
        // The word with the PHASE first: the others are not older.
        let third = host.load(address + 16).map_err(halt)?;
        let mut words = [0; 4];
        for (index, word) in words.iter_mut().enumerate() {
            *word = match index {
                2 => third,
                _ => host.load(address + 8 * index as u64).map_err(halt)?,
            };
        }
        let descriptor = Descriptor::from_words(words);
        if descriptor.phase() != phase {
            let text = format!("the descriptor at {address:#x} is STALE");
            host.violation("descriptor", text);
            return Err(Stop::Halted(Status::Stale));
        }
        Ok(descriptor)
    }

    /// Works on a whole chain; None if its time has not come.
    fn work(&self, chain: &Chain) -> Result<Option<Outcome>, Stop> {
        let has_digitiser = self.channel.state().sampler.is_some();
        let memory = self.channel.memory.size();
        if let Err(malformed) = chain.check(memory, has_digitiser) {
            self.channel.host.violation(malformed.rule, malformed.text);
            return Ok(Some(Outcome {
                status: malformed.status,
                moved: 0,
                start: self.channel.clock.now(),
                gap: false,
            }));
        }
        match chain.operation() {
            Operation::Samples => self.fill(chain),
            _ => {
                let outcome = self.copy(chain)?;
                self.drop_samples();
                Ok(Some(outcome))
            }
        }
    }

    fn complete(&self, chain: &Chain, outcome: Outcome) -> Result<(), Stop> {
        let channel = &self.channel;
        let completion = Completion {
            cookie: chain.cookie(),
            start: outcome.start,
            end: channel.clock.now(),
            bytes: outcome.moved,
            status: outcome.status,
            gap: outcome.gap,
        };
        channel.counters.chains.add(1);
        channel.counters.bytes.add(outcome.moved);
        let busy = completion.end.saturating_sub(completion.start);
        channel.counters.busy.add(busy);
        let mut state = channel.state();
        if state.is_abandoned() {
            return Err(Stop::Abandoned);
        }
        // Before the completion is seen, after which the entries are filled again.
        state.ended = state.ended.wrapping_add(chain.count());
        let (done, count) = (state.done, state.completions);
        state.completions = count.wrapping_add(1);
        drop(state);
        let halt = |refusal| Stop::Halted(status(refusal));
        let address = done.entry(count);
        channel
            .host
            .write(address, &completion.head())
            .map_err(halt)?;
        let tail = completion.tail(done.phase(count));
        channel.host.store(address + 24, tail).map_err(halt)?;
        channel.counters.completions.add(1);
        let quiet = chain.is_quiet();
        channel.interrupts.completed(channel.index, quiet);
        Ok(())
    }

    /// What a chain meets in its middle. Some: it ends there.
    pub(crate) fn middle(&self, middle: Middle) -> Result<Option<Status>, Stop> {
        let mut pause = middle.slow;
        let mut end = None;
        match middle.fault {
            Some(ChainFault::Error) => end = Some(Status::Failed),
            Some(ChainFault::Short) => end = Some(Status::Ok),
            Some(ChainFault::Slow(time)) => pause += time,
            Some(ChainFault::Stuck { hard }) => self.stick(hard)?,
            None => {}
        }
        let clock = self.channel.clock;
        let pause = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        let time = clock.now().saturating_add(pause);
        let heals = self.channel.faults.heals();
        self.wait_while(|state| {
            let goes_on = clock.now() < time && self.channel.faults.heals() == heals;
            (goes_on && !state.is_abandoned()).then(|| clock.until(time))
        })?;
        Ok(end)
    }

    /// Stays until RESET, or even longer.
    fn stick(&self, hard: bool) -> Result<(), Stop> {
        let heals = self.channel.faults.heals();
        self.wait_while(|state| {
            let leaves = match hard {
                true => state.is_over(),
                false => state.is_abandoned(),
            };
            let stays = !leaves && self.channel.faults.heals() == heals;
            stays.then_some(LONG)
        })
    }

    /// Waits as long as `more` says for how long.
    fn wait_while(&self, more: impl Fn(&State) -> Option<Duration>) -> Result<(), Stop> {
        let mut state = self.channel.state();
        while let Some(time) = more(&state) {
            state = self.channel.wait(state, Some(time));
        }
        match state.is_abandoned() {
            true => Err(Stop::Abandoned),
            false => Ok(()),
        }
    }
}

/// The status of a chain that a refusal ends.
pub(crate) fn status(refusal: Refusal) -> Status {
    match refusal {
        Refusal::NotMaster => Status::Master,
        Refusal::Outside(_) => Status::Range,
        _ => Status::Address,
    }
}

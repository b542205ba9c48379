// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Chains that copy.

use userdma_model::Place;

use crate::chain::Chain;
use crate::ring::Descriptor;
use crate::ring::Operation;
use crate::ring::Status;
use crate::worker::status;
use crate::worker::Outcome;
use crate::worker::Stop;
use crate::worker::Worker;

impl Worker {
    /// Moves what a chain asks for, block by block: between two of them a reset is
    /// noticed, and the guest can take memory away.
    pub(crate) fn copy(&self, chain: &Chain) -> Result<Outcome, Stop> {
        let channel = &self.channel;
        let mut outcome = Outcome {
            status: Status::Ok,
            moved: 0,
            start: channel.clock.now(),
            gap: false,
        };
        let middle = channel.faults.chain(channel.index);
        let mut half = match middle.is_nothing() {
            true => u64::MAX,
            false => chain.length() / 2,
        };
        for descriptor in chain.descriptors() {
            let length = u64::from(descriptor.length);
            let mut done = 0;
            while done < length {
                if channel.is_abandoned() {
                    return Err(Stop::Abandoned);
                }
                if outcome.moved == half {
                    half = u64::MAX;
                    if let Some(status) = self.middle(middle)? {
                        return Ok(Outcome { status, ..outcome });
                    }
                }
                let (from, to) = self.places(descriptor, done);
                let most = (length - done).min(half - outcome.moved);
                match channel.host.copy(from, to, most) {
                    Ok(bytes) => {
                        done += bytes;
                        outcome.moved += bytes;
                    }
                    Err(refusal) => {
                        let status = status(refusal);
                        return Ok(Outcome { status, ..outcome });
                    }
                }
            }
        }
        Ok(outcome)
    }

    /// Where byte `done` of a descriptor comes from, and goes to.
    fn places(&self, descriptor: &Descriptor, done: u64) -> (Place<'_>, Place<'_>) {
        // An address that wraps is found when its first bytes are moved: nothing
        // is at the last one.
        let host = Place::Host(descriptor.address.saturating_add(done));
        let target = descriptor.target.saturating_add(done);
        let card = Place::Card(&self.channel.memory, target);
        match descriptor.operation() {
            Operation::HostToCard => (host, card),
            Operation::CardToHost => (card, host),
            _ => (host, Place::Host(target)),
        }
    }

    /// A chain that copies was none for samples.
    pub(crate) fn drop_samples(&self) {
        let now = self.channel.clock.now();
        if let Some(sampler) = &mut self.channel.state().sampler {
            sampler.end_cut();
            sampler.drop_until(now);
        }
    }
}

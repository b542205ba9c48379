// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The registers of a digitiser; and when there is a chain for its samples.

use super::Channel;
use super::State;
use crate::registers::digitiser::*;

impl State {
    /// Whether a chain is there for samples, or may be: the worker has not yet
    /// looked.
    pub(crate) fn may_have_chain(&self) -> bool {
        let taken_in_part = !self.chain.is_empty()
            && self.given == self.taken
            && !self.chain.is_whole(self.ring.entries());
        let none = self.given == self.ended || taken_in_part && !self.working;
        self.run && self.halted.is_none() && !self.resetting && !none
    }

    /// Without a digitiser there is nothing to be done with it.
    fn with_sampler(&mut self, visit: impl FnOnce(&mut crate::sampler::Sampler)) {
        if let Some(sampler) = &mut self.sampler {
            visit(sampler);
        }
    }
}

impl Channel {
    /// Chains may come now: samples before that, without one, are dropped.
    pub(super) fn before_chains_come(&self, state: &mut State) {
        let now = self.clock.now();
        if !state.may_have_chain() {
            state.with_sampler(|sampler| sampler.drop_until(now));
        }
    }

    /// RUN is cleared: a chain that is being filled gets no more samples.
    pub(super) fn before_chains_stop(&self, state: &mut State) {
        let (now, chain) = (self.clock.now(), state.may_have_chain());
        state.with_sampler(|sampler| match chain {
            true => sampler.cut(now),
            false => sampler.drop_until(now),
        });
    }

    pub(super) fn read_digitiser(&self, state: &mut State, offset: u64) -> u32 {
        if offset == DROPPED_LOW {
            self.before_chains_come(state);
        }
        let Some(sampler) = &state.sampler else {
            return 0;
        };
        match offset {
            ACQUIRE => sampler.acquire(),
            PERIOD => sampler.period(),
            // CAST: a signed number in a register.
            LEVEL => sampler.level as u32,
            DROPPED_LOW => {
                let dropped = sampler.dropped();
                // CAST: halves of a number.
                state.dropped_high = (dropped >> 32) as u32;
                dropped as u32
            }
            DROPPED_HIGH => state.dropped_high,
            SINE_PERIOD => sampler.sine_period,
            _ => 0,
        }
    }

    pub(super) fn write_digitiser(&self, state: &mut State, offset: u64, value: u32) {
        let (now, chain) = (self.clock.now(), state.may_have_chain());
        state.with_sampler(|sampler| match offset {
            ACQUIRE => sampler.set_acquire(value, now, chain),
            PERIOD => sampler.set_period(value, now),
            // CAST: a signed number in a register.
            LEVEL => sampler.level = value as i32,
            SINE_PERIOD => sampler.sine_period = value,
            _ => {}
        });
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The laboratory, which can do to a model what its driver cannot: see
//! `qemu/init/src/lab.rs`.

use anyhow::Context;
use anyhow::Result;
use serde_json::json;
use serde_json::Value;
use userdma_selftest::lab::Lab;

/// Longer than anything here takes: `heal` ends it.
const HELD_MS: u32 = 600_000;

/// The control socket of a model.
#[derive(Debug)]
pub(crate) struct Model {
    lab: Lab,
    /// What the laboratory calls the card.
    card: String,
}

/// What a model counts: of the card, and of a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) doorbells: u64,
    pub(crate) interrupts: u64,
    pub(crate) completions: u64,
    pub(crate) bytes: u64,
    pub(crate) busy_ns: u64,
}

impl Counts {
    /// What was added since.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            reads: self.reads - before.reads,
            writes: self.writes - before.writes,
            doorbells: self.doorbells - before.doorbells,
            interrupts: self.interrupts - before.interrupts,
            completions: self.completions - before.completions,
            bytes: self.bytes - before.bytes,
            busy_ns: self.busy_ns - before.busy_ns,
        }
    }
}

impl Model {
    /// Finds the model that is at this place of the bus.
    pub(crate) fn at(bus_name: &str) -> Result<Self> {
        let mut lab = Lab::find()?.context("there is no channel to the laboratory")?;
        let model = lab.model(bus_name)?;
        let model = model.with_context(|| format!("no model is at {bus_name}"))?;
        Ok(Self {
            lab,
            card: model.name,
        })
    }

    /// From now on a chain that a channel has begun does not end.
    pub(crate) fn hold(&mut self, channel: u32) -> Result<()> {
        self.slow(channel, HELD_MS)
    }

    /// From now on each chain of a channel takes so much longer, in the host's time.
    pub(crate) fn slow(&mut self, channel: u32, ms: u32) -> Result<()> {
        let fault = json!({ "fault": "slow-all", "channel": channel, "ms": ms });
        self.control(&json!({ "inject": fault })).map(drop)
    }

    /// What was held ends.
    pub(crate) fn release(&mut self) -> Result<()> {
        self.control(&json!({ "heal": {} })).map(drop)
    }

    /// What a channel has counted.
    pub(crate) fn counts(&mut self, channel: u32) -> Result<Counts> {
        let all = self.control(&json!({ "counters": {} }))?;
        let number = |place: &str| {
            let value = all.pointer(place).and_then(Value::as_u64);
            value.with_context(|| format!("no {place} in {all}"))
        };
        let of = |name: &str| number(&format!("/channels/{channel}/{name}"));
        Ok(Counts {
            reads: number("/card/reads")?,
            writes: number("/card/writes")?,
            doorbells: of("doorbells")?,
            interrupts: of("interrupts")?,
            completions: of("completions")?,
            bytes: of("bytes")?,
            busy_ns: of("busy_ns")?,
        })
    }

    fn control(&mut self, request: &Value) -> Result<Value> {
        let answer = self.lab.control(&self.card, request)?;
        serde_json::from_str(&answer).with_context(|| format!("the answer {answer}"))
    }
}

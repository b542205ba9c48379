// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The laboratory, which can do to a model what its driver cannot: see
//! `qemu/init/src/lab.rs`.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use serde_json::json;
use serde_json::Value;

/// Names the channel to it.
const VARIABLE: &str = "USERDMA_LAB";

/// Longer than anything here takes: `heal` ends it.
const HELD_MS: u32 = 600_000;

/// The control socket of a model.
#[derive(Debug)]
pub(crate) struct Model {
    channel: BufReader<File>,
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
        let path = std::env::var_os(VARIABLE).context("there is no channel to the laboratory")?;
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut this = Self {
            channel: BufReader::new(file),
            card: String::new(),
        };
        let models = this.ask("models")?;
        let card = models.split(' ').find_map(|word| {
            let (card, place) = word.split_once('=')?;
            let (_, address) = place.split_once('@')?;
            (address == bus_name).then(|| card.to_owned())
        });
        this.card = card.with_context(|| format!("no model is at {bus_name}: {models}"))?;
        Ok(this)
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
        let answer = self.ask(&format!("control {} {request}", self.card))?;
        serde_json::from_str(&answer).with_context(|| format!("the answer {answer}"))
    }

    fn ask(&mut self, request: &str) -> Result<String> {
        self.channel
            .get_mut()
            .write_all(format!("{request}\n").as_bytes())?;
        let mut answer = String::new();
        self.channel.read_line(&mut answer)?;
        let answer = answer.trim();
        match answer.split_once(' ').unwrap_or((answer, "")) {
            ("ok", rest) => Ok(rest.to_owned()),
            _ => bail!("{request}: {answer}"),
        }
    }
}

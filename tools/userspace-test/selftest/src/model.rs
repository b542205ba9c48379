// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A card that is a model of the laboratory's: told to be slow, and asked what it
//! has counted. What can be asked is in `Documentation/edu-daq.rst`.

use std::fs;

use serde_json::{json, Value};

use crate::device::Device;
use crate::guest::Card;
use crate::lab::Lab;
use crate::memory::PAGE;
use crate::outcome::Outcome;
use crate::raw::size;

/// The model of cards with rings.
const EDU_DAQ: &str = "edu-daq";

/// What `edu` takes for each transfer, in milliseconds.
const SLOW: u32 = 100;

/// Its channels.
const CHANNELS: u16 = 4;

/// An `edu-daq`. As long as this is there nobody else can ask the laboratory.
#[derive(Debug)]
pub(crate) struct Model {
    lab: Lab,
    /// As the laboratory calls it.
    name: String,
}

/// What a channel has counted since its process began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) descriptors: u64,
    pub(crate) chains: u64,
    pub(crate) doorbells: u64,
    pub(crate) interrupts: u64,
}

impl Model {
    /// The model that a card is.
    pub(crate) fn of(card: &Card) -> Outcome<Self> {
        let mut lab = Lab::open()?;
        // Its own address, or that of the port that it is behind.
        let path = fs::canonicalize(card.sysfs())?;
        let port = path.parent().and_then(|port| port.file_name());
        let port = port.unwrap_or_default().to_string_lossy().into_owned();
        let models = lab.ask("models")?;
        let named = models.split_whitespace().find_map(|word| {
            let (name, rest) = word.split_once('=')?;
            let (model, place) = rest.split_once('@')?;
            let here = place == card.bus || place == port;
            (model == EDU_DAQ && here).then(|| name.to_owned())
        });
        match named {
            Some(name) => Ok(Self { lab, name }),
            None => skip!("needs a card that is the laboratory's {EDU_DAQ}"),
        }
    }

    /// Passes a request to the model; its answer.
    pub(crate) fn tell(&mut self, request: &Value) -> Outcome<String> {
        Ok(self.lab.ask(&format!("control {} {request}", self.name))?)
    }

    /// The next so many chains or interrupts of a channel go wrong.
    pub(crate) fn inject(&mut self, fault: &str, channel: u16, count: usize) -> Outcome {
        let inject = json!({ "fault": fault, "channel": channel, "count": count });
        self.tell(&json!({ "inject": inject })).map(drop)
    }

    /// Each chain on each channel takes so much longer from now on.
    pub(crate) fn slow_down(&mut self, milliseconds: u32) -> Outcome {
        for channel in 0..CHANNELS {
            self.tell(&json!({ "inject": {
                "fault": "slow-all", "channel": channel, "ms": milliseconds,
            } }))?;
        }
        Ok(())
    }

    /// Ends all that it was told to do wrong.
    pub(crate) fn heal(&mut self) -> Outcome {
        self.tell(&json!({ "heal": {} })).map(drop)
    }

    /// Has it forget what broke a rule; nothing may have broken another one.
    pub(crate) fn forgive(&mut self, rule: &str) -> Outcome {
        let report = self.tell(&json!({ "forgive": {} }))?;
        let answer: Value = serde_json::from_str(&report)?;
        let Some(violations) = answer["violations"].as_array() else {
            fail!("no violations in {report}");
        };
        check!(violations.iter().all(|one| one["rule"] == rule), "{report}");
        Ok(())
    }

    /// What a channel has counted.
    pub(crate) fn counts(&mut self, channel: u16) -> Outcome<Counts> {
        let answer = self.tell(&json!({ "counters": {} }))?;
        let answer: Value = serde_json::from_str(&answer)?;
        let counters = &answer["channels"][usize::from(channel)];
        let number = |key: &str| match counters[key].as_u64() {
            Some(number) => Ok(number),
            None => fail!("no \"{key}\" of channel {channel} in {answer}"),
        };
        Ok(Counts {
            descriptors: number("descriptors")?,
            chains: number("chains")?,
            doorbells: number("doorbells")?,
            interrupts: number("interrupts")?,
        })
    }
}

/// Whether a card takes 100 ms for a page by itself.
pub(crate) fn is_slow(device: &Device) -> Outcome<bool> {
    Ok(size(device.info()?.out_max_transfer) <= PAGE)
}

/// Cards that were told to be as slow as `edu`, until this is dropped.
#[derive(Debug)]
pub(crate) struct Slow(Vec<Card>);

impl Slow {
    /// Tells those that are not so by themselves.
    pub(crate) fn down(cards: &[Card]) -> Outcome<Self> {
        let mut slow = Self(Vec::new());
        for card in cards {
            if is_slow(&Device::open(&card.path)?)? {
                continue;
            }
            let mut model = Model::of(card)?;
            slow.0.push(card.clone());
            model.slow_down(SLOW)?;
        }
        Ok(slow)
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        for card in &self.0 {
            let healed = Model::of(card).and_then(|mut model| model.heal());
            if let Err(stop) = healed {
                println!("# {} is still slow: {stop:?}", card.bus);
            }
        }
    }
}

impl Counts {
    /// What was counted since then.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            descriptors: self.descriptors - before.descriptors,
            chains: self.chains - before.chains,
            doorbells: self.doorbells - before.doorbells,
            interrupts: self.interrupts - before.interrupts,
        }
    }
}

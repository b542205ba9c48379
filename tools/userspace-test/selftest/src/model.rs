// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A card that is a model of the laboratory's: told to be slow, and asked what it
//! has counted. What can be asked is in `Documentation/edu-daq.rst`.

use std::ops::{Deref, DerefMut};

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
const SLOW: u64 = 100;

/// Its channels.
pub(crate) const CHANNELS: u16 = 4;

/// An `edu-daq`. As long as this is there nobody else can ask the laboratory.
#[derive(Debug)]
pub(crate) struct Model {
    lab: Lab,
    /// As the laboratory calls it.
    name: String,
}

/// The cards that are `edu-daq`, and what the laboratory calls them.
pub(crate) fn models(lab: &mut Lab, cards: &[Card]) -> Outcome<Vec<(String, Card)>> {
    let mut models = Vec::new();
    for card in cards {
        let model = lab.model(&card.bus)?.filter(|model| model.kind == EDU_DAQ);
        models.extend(model.map(|model| (model.name, card.clone())));
    }
    Ok(models)
}

/// Makes something go wrong on a channel of the model `name`, so many times, with a time in milliseconds.
pub(crate) fn inject(
    lab: &mut Lab,
    name: &str,
    fault: &str,
    channel: u16,
    count: usize,
    ms: u64,
) -> Outcome {
    let inject = json!({ "fault": fault, "channel": channel, "count": count, "ms": ms });
    lab.control(name, &json!({ "inject": inject }))?;
    Ok(())
}

/// Makes each chain on each channel of the model `name` take so much longer from now on.
pub(crate) fn slow_down(lab: &mut Lab, name: &str, ms: u64) -> Outcome {
    (0..CHANNELS).try_for_each(|channel| inject(lab, name, "slow-all", channel, 1, ms))
}

/// Ends all that the model `name` was told to do wrong.
pub(crate) fn heal(lab: &mut Lab, name: &str) -> Outcome {
    lab.control(name, &json!({ "heal": {} }))?;
    Ok(())
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
        match models(&mut lab, std::slice::from_ref(card))?.pop() {
            Some((name, _)) => Ok(Self { lab, name }),
            None => skip!("needs a card that is the laboratory's {EDU_DAQ}"),
        }
    }

    /// Passes a request to the model; its answer.
    fn tell(&mut self, request: &Value) -> Outcome<String> {
        Ok(self.lab.control(&self.name, request)?)
    }

    /// The next chain or interrupt of a channel goes wrong.
    pub(crate) fn inject(&mut self, fault: &str, channel: u16) -> Outcome {
        inject(&mut self.lab, &self.name, fault, channel, 1, 0)
    }

    /// The next so many do.
    pub(crate) fn inject_times(&mut self, fault: &str, channel: u16, count: usize) -> Outcome {
        inject(&mut self.lab, &self.name, fault, channel, count, 0)
    }

    /// The next one does, with a time.
    pub(crate) fn inject_ms(&mut self, fault: &str, channel: u16, ms: u64) -> Outcome {
        inject(&mut self.lab, &self.name, fault, channel, 1, ms)
    }

    /// Each chain on each channel takes so much longer from now on.
    pub(crate) fn slow_down(&mut self, ms: u64) -> Outcome {
        slow_down(&mut self.lab, &self.name, ms)
    }

    /// Ends all that it was told to do wrong.
    pub(crate) fn heal(&mut self) -> Outcome {
        heal(&mut self.lab, &self.name)
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

/// A model that goes wrong, until the end of this: then it is well again.
#[derive(Debug)]
pub(crate) struct Faulty(Model);

impl Faulty {
    /// The model that a card is.
    pub(crate) fn of(card: &Card) -> Outcome<Self> {
        Model::of(card).map(Self)
    }
}

impl Deref for Faulty {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.0
    }
}

impl DerefMut for Faulty {
    fn deref_mut(&mut self) -> &mut Model {
        &mut self.0
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        // For the next test, if this one has failed.
        let _ = self.heal();
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

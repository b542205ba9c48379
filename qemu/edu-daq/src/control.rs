// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The requests of the control socket that are the card's own.

use anyhow::bail;
use anyhow::Context;
use serde::Deserialize;
use serde_json::json;
use serde_json::Value;

use crate::card::EduDaq;
use crate::faults::Fault;

/// So many interrupts for nothing can be asked for at once.
const MOST_SPURIOUS: u64 = 1000;

/// The arguments of `inject`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inject {
    fault: String,
    channel: usize,
    #[serde(default = "once")]
    count: u64,
    ms: Option<u64>,
}

fn once() -> u64 {
    1
}

impl EduDaq {
    /// Answers a request.
    pub(crate) fn request(&self, name: &str, arguments: &Value) -> anyhow::Result<Value> {
        match name {
            "counters" => Ok(self.counters_json()),
            "inject" => {
                let inject = Inject::deserialize(arguments).context("inject")?;
                self.inject(&inject)?;
                Ok(json!({}))
            }
            "heal" => {
                self.faults.heal();
                for channel in &self.channels {
                    // Under the lock: a worker that is about to wait sees it.
                    let state = channel.state();
                    channel.notify();
                    drop(state);
                }
                Ok(json!({}))
            }
            _ => bail!("this card does not know the request \"{name}\""),
        }
    }

    fn inject(&self, inject: &Inject) -> anyhow::Result<()> {
        if inject.channel >= self.channels.len() {
            bail!("there is no channel {}", inject.channel);
        }
        let fault = Fault::from_name(&inject.fault, inject.ms)?;
        if fault == Fault::Spurious && inject.count > MOST_SPURIOUS {
            bail!("not more than {MOST_SPURIOUS} at once");
        }
        self.faults.inject(inject.channel, fault, inject.count);
        if fault == Fault::Spurious {
            for _ in 0..inject.count {
                self.interrupts.spurious(inject.channel);
            }
        }
        Ok(())
    }

    fn counters_json(&self) -> Value {
        let channels = self.channels.iter();
        let channels: Vec<Value> = channels.map(|channel| channel.counters.to_json()).collect();
        json!({ "card": self.counters.to_json(), "channels": channels })
    }
}

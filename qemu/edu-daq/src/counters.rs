// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is counted, for tests and measurements. Nothing resets it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use serde_json::json;
use serde_json::Value;

/// A number that grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Those of the card.
#[derive(Debug, Default)]
pub(crate) struct CardCounters {
    pub(crate) reads: Counter,
    pub(crate) writes: Counter,
}

impl CardCounters {
    pub(crate) fn to_json(&self) -> Value {
        json!({ "reads": self.reads.get(), "writes": self.writes.get() })
    }
}

/// Those of a channel.
#[derive(Debug, Default)]
pub(crate) struct ChannelCounters {
    pub(crate) descriptors: Counter,
    pub(crate) chains: Counter,
    pub(crate) bytes: Counter,
    pub(crate) completions: Counter,
    pub(crate) interrupts: Counter,
    pub(crate) doorbells: Counter,
    /// Nanoseconds from the beginnings of chains to their ends.
    pub(crate) busy: Counter,
}

impl ChannelCounters {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "descriptors": self.descriptors.get(),
            "chains": self.chains.get(),
            "bytes": self.bytes.get(),
            "completions": self.completions.get(),
            "interrupts": self.interrupts.get(),
            "doorbells": self.doorbells.get(),
            "busy_ns": self.busy.get(),
        })
    }
}

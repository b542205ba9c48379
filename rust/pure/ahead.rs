// SPDX-License-Identifier: GPL-2.0

//! How much a channel is given beyond what it works on.
//!
//! What the card was given cannot be taken back, and whoever comes later waits for it. If it is given too
//! little it idles between two chains. So it is given what it does in about [`LONGEST_NS`], as it was seen to:
//! now and then all that it has is timed, until it has ended. If that takes too long the limits become what
//! was done in that time; else they grow to twice what there was.

/// The longest that a chain should wait in a channel, with its own time.
const LONGEST_NS: u64 = 10_000_000;

/// Where the limits of a channel begin that nobody knows yet.
const FIRST_BYTES: u64 = 1 << 20;
const FIRST_CHAINS: usize = 64;

/// The most bytes that may be given, whatever the channel is like.
pub(crate) const MOST_BYTES: u64 = 16 << 20;

/// Chains that are timed, and those that have ended since, and their bytes.
#[derive(Clone, Copy, Debug)]
struct Timed {
    since: u64,
    chains: usize,
    bytes: u64,
    ended_chains: usize,
    ended_bytes: u64,
}

/// The limits of a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    bytes: u64,
    chains: usize,
    timed: Option<Timed>,
}

impl Ahead {
    /// Those of a channel that nobody knows yet.
    pub(crate) const fn new() -> Self {
        Self {
            bytes: FIRST_BYTES,
            chains: FIRST_CHAINS,
            timed: None,
        }
    }

    /// Returns whether a channel that has so many chains, of so many bytes, may be given another. It always
    /// may have one and the next.
    pub(crate) fn allows(&self, chains: usize, bytes: u64) -> bool {
        chains < 2 || (chains < self.chains && bytes < self.bytes)
    }

    /// Called when the channel was given chains; with them, it has so many, of so many bytes.
    pub(crate) fn given(&mut self, chains: usize, bytes: u64, now: impl FnOnce() -> u64) {
        if self.timed.is_none() {
            self.timed = Some(Timed {
                since: now(),
                chains,
                bytes,
                ended_chains: 0,
                ended_bytes: 0,
            });
        }
    }

    /// Called when it is seen that so many chains, of so many bytes, have ended.
    pub(crate) fn ended(&mut self, chains: usize, bytes: u64, now: impl FnOnce() -> u64) {
        let Some(timed) = &mut self.timed else {
            return;
        };
        timed.ended_chains = timed.ended_chains.saturating_add(chains);
        timed.ended_bytes = timed.ended_bytes.saturating_add(bytes);
        let timed = *timed;
        let time = now().saturating_sub(timed.since);
        if time > LONGEST_NS {
            let chains = (timed.ended_chains as u64).saturating_mul(LONGEST_NS) / time;
            // Fewer than there were, so it fits.
            self.chains = usize::try_from(chains).unwrap_or(timed.ended_chains);
            self.bytes = timed.ended_bytes.saturating_mul(LONGEST_NS) / time;
            self.bytes = self.bytes.min(MOST_BYTES);
        } else if timed.ended_chains >= timed.chains {
            self.chains = self.chains.max(timed.chains.saturating_mul(2));
            self.bytes = self
                .bytes
                .max(timed.bytes.saturating_mul(2))
                .min(MOST_BYTES);
        } else {
            return;
        }
        self.timed = None;
    }

    /// Called when the channel has forgotten what it was given, or ends some of it in another way.
    pub(crate) fn forget(&mut self) {
        self.timed = None;
    }
}

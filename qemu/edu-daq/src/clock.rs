// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The card's clock.

use std::time::Duration;
use std::time::Instant;

/// A time to wait that nobody waits for: something else happens before.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// Nanoseconds since power was applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long it is until a time.
    pub(crate) fn until(self, time: u64) -> Duration {
        Duration::from_nanos(time.saturating_sub(self.now()))
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Times, and what is told of them.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Decimal digits to which a time is kept.
const DIGITS: u8 = 3;

/// Any number of times, in the room of a few thousand.
pub(super) struct Times(Histogram<u64>);

/// What is told of them, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    pub(super) min: u64,
    pub(super) median: u64,
    /// Of a hundred times 99 are not longer.
    pub(super) p99: u64,
    pub(super) max: u64,
}

impl Times {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new(DIGITS)?))
    }

    pub(super) fn add(&mut self, time: Duration) -> anyhow::Result<()> {
        Ok(self.0.record(u64::try_from(time.as_nanos())?)?)
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// `None` if there is no time.
    pub(super) fn summary(&self) -> Option<Summary> {
        (!self.0.is_empty()).then(|| Summary {
            min: self.0.min(),
            median: self.0.value_at_quantile(0.5),
            p99: self.0.value_at_quantile(0.99),
            max: self.0.max(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(micros: impl IntoIterator<Item = u64>) -> anyhow::Result<Option<Summary>> {
        let mut times = Times::new()?;
        for it in micros {
            times.add(Duration::from_micros(it))?;
        }
        Ok(times.summary())
    }

    /// As a time is kept: to three digits.
    fn near(value: u64, micros: u64) -> bool {
        value.abs_diff(1000 * micros) <= micros
    }

    #[test]
    fn percentiles_are_of_all_times() -> anyhow::Result<()> {
        let told = summary((1..=1000).rev())?.expect("a thousand times");
        assert!(near(told.min, 1) && near(told.max, 1000), "{told:?}");
        assert!(near(told.median, 500) && near(told.p99, 990), "{told:?}");
        // One slow one of a hundred is none of the 99.
        let told = summary((0..99).map(|_| 5).chain([100_000]))?.expect("a hundred times");
        assert!(near(told.p99, 5) && near(told.max, 100_000), "{told:?}");
        Ok(())
    }

    #[test]
    fn few_times_and_long_ones() -> anyhow::Result<()> {
        assert_eq!(summary([])?, None);
        let told = summary([100_000, 100_100, 3_600_000_000])?.expect("three times");
        assert!(near(told.median, 100_100), "{told:?}");
        assert!(near(told.p99, 3_600_000_000), "{told:?}");
        Ok(())
    }
}

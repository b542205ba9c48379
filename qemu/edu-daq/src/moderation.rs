// SPDX-License-Identifier: GPL-2.0 OR MIT

//! When a channel raises its interrupt. Times are nanoseconds of the card's clock.

/// The interrupt of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) vector: u32,
    /// MODERATE_COUNT.
    pub(crate) count: u32,
    /// MODERATE_TIME, in microseconds.
    pub(crate) time: u32,
    /// How often it was raised.
    pub(crate) raised: u32,
    /// Completions that no interrupt told of.
    untold: u32,
    /// When the first of these has waited long enough.
    deadline: Option<u64>,
}

impl Line {
    /// A completion was written, that of a QUIET chain or not. Whether the interrupt
    /// is to be raised now.
    pub(crate) fn completed(&mut self, now: u64, quiet: bool) -> bool {
        self.untold = self.untold.saturating_add(1);
        if self.untold == 1 {
            self.deadline = Some(now.saturating_add(u64::from(self.time) * 1000));
        }
        !quiet || self.untold >= self.count || self.is_due(now)
    }

    /// Whether completions have waited long enough.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// It was raised.
    pub(crate) fn told(&mut self) {
        self.raised = self.raised.wrapping_add(1);
        self.untold = 0;
        self.deadline = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(count: u32, time: u32) -> Line {
        Line {
            count,
            time,
            ..Line::default()
        }
    }

    #[test]
    fn zero_and_one_are_each() {
        for count in 0..2 {
            let mut line = line(count, 1000);
            for now in 0..5 {
                assert!(line.completed(now, true));
                line.told();
            }
            assert_eq!(line.raised, 5);
        }
    }

    #[test]
    fn the_count_or_the_time_whichever_is_first() {
        let mut line = line(3, 10);
        assert!(!line.completed(100, true));
        assert!(!line.completed(5000, true));
        // From the first on.
        assert_eq!(line.deadline(), Some(10_100));
        assert!(!line.is_due(10_099));
        assert!(line.is_due(10_100));
        assert!(line.completed(5001, true));
        line.told();
        assert!(!line.is_due(u64::MAX));
        assert!(!line.completed(20_000, true));
        assert!(line.completed(30_000, true));
    }

    #[test]
    fn no_time_is_at_once() {
        assert!(line(8, 0).completed(5, true));
    }

    #[test]
    fn a_chain_that_is_not_quiet_tells_of_all() {
        let mut line = line(3, 10);
        assert!(!line.completed(0, true));
        assert!(line.completed(1, false));
        line.told();
        // Both are counted from anew.
        assert!(!line.completed(2, true));
        assert_eq!(line.deadline(), Some(10_002));
        assert!(!line.completed(3, true));
        assert!(line.completed(4, true));
    }

    proptest! {
        /// However completions come: none waits longer than it may, and each
        /// interrupt but those of time tells of as many as were asked for.
        #[test]
        fn no_completion_is_forgotten(
            count in 0..6_u32,
            time in 0..50_u32,
            gaps in prop::collection::vec((0..40_000_u64, any::<bool>()), 1..60),
        ) {
            let mut line = line(count, time);
            let (mut now, mut untold) = (0, Vec::new());
            for (gap, quiet) in gaps {
                let until = now + gap;
                if let Some(deadline) = line.deadline().filter(|deadline| *deadline <= until) {
                    prop_assert!(line.is_due(deadline));
                    prop_assert_eq!(untold[0] + u64::from(time) * 1000, deadline);
                    line.told();
                    untold.clear();
                }
                now = until;
                untold.push(now);
                if line.completed(now, quiet) {
                    let enough = untold.len() as u32 == count.max(1);
                    prop_assert!(!quiet || enough || now - untold[0] >= u64::from(time) * 1000);
                    line.told();
                    untold.clear();
                }
                prop_assert_eq!(untold.is_empty(), line.deadline().is_none());
            }
        }
    }
}

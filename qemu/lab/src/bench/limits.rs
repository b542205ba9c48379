// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is promised of the figures.
//!
//! A promise that does not hold is a failure, unless the figures show where the rest
//! goes: then that stands below it, and the promise stays on the list as missed.

mod memory;
mod transfers;

use anyhow::Result;
use serde::Serialize;

use crate::bench::figures::thousands;
use crate::bench::figures::Figures;
use crate::tally::Test;

/// A promise, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Limit {
    what: String,
    /// What was counted.
    counted: u64,
    /// What it may be.
    bound: u64,
    /// At most so much, or at least.
    kind: Kind,
    holds: bool,
    /// Where the rest goes, a line each.
    rest: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    AtMost,
    AtLeast,
}

impl Limit {
    fn new(what: impl Into<String>, counted: u64, most: u64) -> Self {
        Self {
            what: what.into(),
            counted,
            bound: most,
            kind: Kind::AtMost,
            holds: counted <= most,
            rest: Vec::new(),
        }
    }

    fn at_least(what: impl Into<String>, counted: u64, least: u64) -> Self {
        Self {
            bound: least,
            kind: Kind::AtLeast,
            holds: counted >= least,
            ..Self::new(what, counted, least)
        }
    }

    /// Where the rest goes, if it does not hold.
    fn rest(self, lines: Vec<String>) -> Self {
        Self {
            rest: lines,
            ..self
        }
    }

    /// The promise as a test.
    pub(crate) fn test(&self) -> Test {
        let explained = !self.holds && !self.rest.is_empty();
        let problems = match self.holds || explained {
            true => Vec::new(),
            false => vec![format!(
                "{} counted, {} {} may be",
                thousands(self.counted),
                match self.kind {
                    Kind::AtMost => "at most",
                    Kind::AtLeast => "no less than",
                },
                thousands(self.bound)
            )],
        };
        let verdict = if explained { ", missed" } else { "" };
        Test::of(&format!("limit: {}{verdict}", self.what), problems)
    }
}

/// Judges the promises. Where not `all` is counted, those whose figures there are.
pub(crate) fn all(figures: &Figures, all: bool) -> Result<Vec<Limit>> {
    let limits = memory::all(figures)
        .into_iter()
        .chain(transfers::all(figures))
        .filter(|limit| all || limit.is_ok());
    limits.collect()
}

/// The promises as a table.
pub(crate) fn text(limits: &[Limit]) -> String {
    let mut text = "\nWhat is promised\n".to_owned();
    for limit in limits {
        let verdict = if limit.holds { "holds" } else { "MISSED" };
        let sign = match limit.kind {
            Kind::AtMost => "<=",
            Kind::AtLeast => ">=",
        };
        text.push_str(&format!(
            "  {:<88} {:>12} {sign} {:>12}  {verdict}\n",
            limit.what,
            thousands(limit.counted),
            thousands(limit.bound)
        ));
        if !limit.holds {
            text.extend(limit.rest.iter().map(|line| format!("      {line}\n")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Outcome;

    #[test]
    fn a_limit_holds_up_to_itself() {
        assert_eq!(Limit::new("x", 5, 5).test().outcome, Outcome::Passed);
        let missed = Limit::new("x", 6, 5).test().outcome;
        assert!(matches!(missed, Outcome::Failed(_)));
        assert_eq!(Limit::at_least("x", 5, 5).test().outcome, Outcome::Passed);
        let missed = Limit::at_least("x", 4, 5).test().outcome;
        assert!(matches!(missed, Outcome::Failed(_)));
    }

    #[test]
    fn a_limit_that_is_missed_for_a_reason_is_shown_as_missed() {
        let missed = Limit::new("x", 6, 5).rest(vec!["5 are the kernel's".to_owned()]);
        assert_eq!(missed.test().outcome, Outcome::Passed);
        assert_eq!(missed.test().name, "limit: x, missed");
        let text = text(&[missed]);
        assert!(
            text.contains("MISSED\n      5 are the kernel's\n"),
            "{text}"
        );
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a card found fault with.

use std::sync::Arc;
use std::sync::Mutex;

use serde::Serialize;

use crate::lock;
use crate::log;

/// So many are kept; all are counted.
const KEPT: usize = 1000;

/// Something that a driver did and a card does not forgive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which rule of the card's data sheet, in a word.
    pub rule: &'static str,
    /// Which part of the card found it.
    pub who: String,
    /// What it was, in words.
    pub text: String,
}

/// All violations of a process, whoever was its client. A handle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report(Arc<Mutex<Violations>>);

/// As the control socket gives it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Violations {
    pub(crate) count: u64,
    pub(crate) violations: Vec<Violation>,
}

impl Report {
    pub(crate) fn add(&self, violation: Violation) {
        let mut all = lock(&self.0);
        all.count += 1;
        if all.violations.len() < KEPT {
            // For the log; what comes after so many is more of the same.
            let Violation { rule, who, text } = &violation;
            log(format_args!("violation: {who}: {rule}: {text}"));
            all.violations.push(violation);
        }
    }

    pub(crate) fn get(&self) -> Violations {
        lock(&self.0).clone()
    }

    /// Forgets all, and gives them.
    pub(crate) fn take(&self) -> Violations {
        std::mem::take(&mut *lock(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_a_thousand_kept_until_they_are_taken() {
        let report = Report::default();
        for number in 0..KEPT + 5 {
            report.add(Violation {
                rule: "rule",
                who: "test".to_owned(),
                text: number.to_string(),
            });
        }
        assert_eq!(report.get().count, 1005);
        let taken = report.clone().take();
        assert_eq!((taken.count, taken.violations.len()), (1005, 1000));
        assert_eq!(taken.violations[999].text, "999");
        assert_eq!(report.get().count, 0);
    }
}

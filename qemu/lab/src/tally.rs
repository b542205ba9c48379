// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Adds up named tests: a line for each while they run, and the last line.

use std::sync::Mutex;

/// So many lines of a failed test are shown once more at the end.
const SHOWN_AGAIN: usize = 12;

/// How a test ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It passed.
    Passed,
    /// It failed, with what is known about it, a line each.
    Failed(Vec<String>),
    /// It could not run here, and why.
    Skipped(String),
}

/// One named test.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
}

impl Test {
    /// A test that passed if `problems` is empty.
    pub(crate) fn of(name: &str, problems: Vec<String>) -> Self {
        let outcome = match problems.is_empty() {
            true => Outcome::Passed,
            false => Outcome::Failed(problems),
        };
        Self {
            name: name.to_owned(),
            outcome,
        }
    }
}

/// All tests of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    tests: Mutex<Vec<Test>>,
}

impl Tally {
    /// Adds a test and prints its line.
    pub(crate) fn add(&self, test: Test) {
        let mut text = match &test.outcome {
            Outcome::Passed => format!("ok       {}", test.name),
            Outcome::Failed(_) => format!("NOT OK   {}", test.name),
            Outcome::Skipped(reason) => format!("skipped  {}: {reason}", test.name),
        };
        if let Outcome::Failed(lines) = &test.outcome {
            for line in lines {
                text.push_str("\n         | ");
                text.push_str(line);
            }
        }
        // One call: lines of guests that run side by side stay whole.
        println!("{text}");
        if let Ok(mut tests) = self.tests.lock() {
            tests.push(test);
        }
    }

    /// Prints failures and skips once more, then the counts as the last line.
    /// Returns whether at least one test passed and none failed.
    pub(crate) fn finish(&self) -> bool {
        let tests = self
            .tests
            .lock()
            .map(|tests| tests.clone())
            .unwrap_or_default();
        let count = |wanted: fn(&Outcome) -> bool| {
            tests.iter().filter(|test| wanted(&test.outcome)).count()
        };
        let passed = count(|outcome| matches!(outcome, Outcome::Passed));
        let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
        println!();
        for test in &tests {
            if let Outcome::Skipped(reason) = &test.outcome {
                println!("skipped: {}: {reason}", test.name);
            }
        }
        for test in &tests {
            if let Outcome::Failed(lines) = &test.outcome {
                println!("failed: {}", test.name);
                // Of a long run this end may be all that somebody sees.
                for line in lines.iter().take(SHOWN_AGAIN) {
                    println!("        | {line}");
                }
            }
        }
        println!("{passed} passed, {failed} failed");
        passed > 0 && failed == 0
    }
}

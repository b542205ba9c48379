// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What became of each mutant.

use std::time::Duration;

use anyhow::Error;

use crate::guest::Report;
use crate::mutants::list::Mutant;
use crate::mutants::work::Boot;
use crate::step;
use crate::tally::Outcome;
use crate::tally::Test;

/// How much of a failure's words is shown.
const SHOWN: usize = 12;

/// One boot's line.
#[derive(Debug)]
pub(crate) struct Row {
    name: String,
    what: String,
    verdict: Verdict,
    took: Duration,
}

#[derive(Debug)]
enum Verdict {
    /// The module as it is passes.
    Passes,
    /// It does not: its failures, with what is known.
    Fails(Vec<String>),
    /// These named tests have failed; what the first has said.
    Caught(Vec<String>, Vec<String>),
    /// None has; these other results are failures.
    Survived(Vec<String>),
    /// It could not be built or run.
    Broken(Vec<String>),
}

impl Row {
    /// What a boot gave.
    pub(crate) fn of(boot: &Boot<'_>, report: &Report) -> Self {
        let verdict = match boot.mutant {
            None => unbroken(&boot.tests, &report.tests),
            Some(mutant) => of_mutant(mutant, &report.tests),
        };
        let what = match boot.mutant {
            None => "the module as it is".to_owned(),
            Some(mutant) => mutant.what.clone(),
        };
        Self {
            name: boot.name(),
            what,
            verdict,
            took: report.took,
        }
    }

    /// A mutant that the compiler does not take.
    pub(crate) fn not_built(mutant: &Mutant, error: &Error) -> Self {
        Self {
            name: mutant.name.clone(),
            what: mutant.what.clone(),
            verdict: Verdict::Broken(words(error)),
            took: Duration::ZERO,
        }
    }

    /// A boot that did not come to be.
    pub(crate) fn not_run(boot: &Boot<'_>, error: &Error) -> Self {
        Self {
            name: boot.name(),
            what: String::new(),
            verdict: Verdict::Broken(words(error)),
            took: Duration::ZERO,
        }
    }

    /// Whether it is as it should be.
    pub(crate) fn good(&self) -> bool {
        matches!(self.verdict, Verdict::Passes | Verdict::Caught(..))
    }

    /// Prints its line, and what is known.
    pub(crate) fn print(&self) {
        let known = match &self.verdict {
            Verdict::Passes | Verdict::Survived(_) => &[][..],
            Verdict::Fails(words) | Verdict::Caught(_, words) | Verdict::Broken(words) => words,
        };
        let mut text = self.line();
        for line in known {
            text.push_str("\n         | ");
            text.push_str(line);
        }
        println!("{text}");
    }

    fn line(&self) -> String {
        let mark = if self.good() { "ok      " } else { "NOT OK  " };
        let verdict = match &self.verdict {
            Verdict::Passes => "passes".to_owned(),
            Verdict::Fails(_) => "does not pass: what mutants do says nothing".to_owned(),
            Verdict::Caught(by, _) => format!("caught by {}", by.join(", ")),
            Verdict::Survived(others) if others.is_empty() => "SURVIVED".to_owned(),
            Verdict::Survived(others) => {
                format!("not caught by its test, but {} failed", others.join(", "))
            }
            Verdict::Broken(_) => "could not be made".to_owned(),
        };
        format!(
            "{mark} {:<26} {verdict} ({})",
            self.name,
            step::seconds(self.took)
        )
    }
}

fn unbroken(wanted: &[String], tests: &[Test]) -> Verdict {
    let mut words = Vec::new();
    for test in tests {
        if let Outcome::Failed(lines) = &test.outcome {
            words.push(format!("{}:", test.name));
            words.extend(lines.iter().take(SHOWN).cloned());
        }
    }
    for name in wanted {
        let passed = tests
            .iter()
            .any(|test| test.name == *name && test.outcome == Outcome::Passed);
        if !passed {
            words.push(format!("{name} has not passed here"));
        }
    }
    match words.is_empty() {
        true => Verdict::Passes,
        false => Verdict::Fails(words),
    }
}

fn of_mutant(mutant: &Mutant, tests: &[Test]) -> Verdict {
    let (mut by, mut others, mut words) = (Vec::new(), Vec::new(), Vec::new());
    for test in tests {
        let Outcome::Failed(lines) = &test.outcome else {
            continue;
        };
        if !mutant.caught_by().contains(&test.name) || !mutant.tells(lines) {
            others.push(test.name.clone());
            continue;
        }
        if by.is_empty() {
            words.extend(lines.iter().take(SHOWN).cloned());
        }
        by.push(test.name.clone());
    }
    match by.is_empty() {
        true => Verdict::Survived(others),
        false => Verdict::Caught(by, words),
    }
}

fn words(error: &Error) -> Vec<String> {
    format!("{error:#}").lines().map(str::to_owned).collect()
}

/// All rows, and how many were caught.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        text.push_str(&format!("{}\n         {}\n", row.line(), row.what));
    }
    let mutants = |row: &&Row| !matches!(row.verdict, Verdict::Passes | Verdict::Fails(_));
    let all = rows.iter().filter(mutants).count();
    let caught = rows
        .iter()
        .filter(|row| matches!(row.verdict, Verdict::Caught(..)))
        .count();
    text.push_str(&format!("{all} mutants, {caught} caught\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::list;

    fn results() -> [Test; 3] {
        [
            Test::of("a", Vec::new()),
            Test::of("b", vec!["why".to_owned()]),
            Test {
                name: "c".to_owned(),
                outcome: Outcome::Skipped("no card".to_owned()),
            },
        ]
    }

    fn mutant(more: &str) -> Mutant {
        let text = format!(
            "[m]\nwhat = \"x\"\nfile = \"f\"\nbefore = \"b\"\nafter = \"\"\nguest = \"g\"\n{more}\n"
        );
        list::parse(&text).expect("it is sound").remove(0)
    }

    #[test]
    fn a_mutant_is_caught_by_a_test_that_was_named() {
        let caught = of_mutant(&mutant("tests = [\"a\", \"b\"]"), &results());
        assert!(matches!(caught, Verdict::Caught(by, words) if by == ["b"] && words == ["why"]));
        let survived = of_mutant(&mutant("tests = [\"a\"]"), &results());
        assert!(matches!(survived, Verdict::Survived(others) if others == ["b"]));
    }

    #[test]
    fn a_failure_of_another_kind_does_not_count() {
        let says = |what: &str| mutant(&format!("tests = [\"b\"]\nsays = \"{what}\""));
        let caught = of_mutant(&says("^w"), &results());
        assert!(matches!(caught, Verdict::Caught(..)));
        let survived = of_mutant(&says("DMAR:"), &results());
        assert!(matches!(survived, Verdict::Survived(others) if others == ["b"]));
    }

    #[test]
    fn a_test_that_is_skipped_proves_nothing() {
        let skipped = of_mutant(&mutant("tests = [\"c\"]"), &results());
        assert!(matches!(skipped, Verdict::Survived(_)));
        let passing = [results()[0].clone(), results()[2].clone()];
        let named = |name: &str| [name.to_owned()];
        assert!(matches!(unbroken(&named("a"), &passing), Verdict::Passes));
        assert!(matches!(unbroken(&named("c"), &passing), Verdict::Fails(_)));
        assert!(matches!(
            unbroken(&named("none"), &passing),
            Verdict::Fails(_)
        ));
    }
}

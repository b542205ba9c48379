// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A parser of KTAP, version 1, as in the kernel's Documentation/dev-tools/ktap.rst.
//!
//! Lines come one at a time. Nested documents are told by their indentation;
//! a document ends when a result comes at the indentation of an outer one, and
//! becomes that result's children. What the format lets pass silently is a
//! failure here: a document without a plan, fewer results than planned, a
//! number out of order, a skip without a reason, a document cut short.

use crate::tally::Outcome;
use crate::tally::Test;

#[derive(Debug, Default)]
struct Document {
    indent: usize,
    plan: Option<usize>,
    results: usize,
    tests: Vec<Test>,
    /// Remarks since the last result; they belong to the next one.
    remarks: Vec<String>,
}

/// A stream of KTAP lines.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    open: Vec<Document>,
    seen: bool,
}

impl Parser {
    /// Takes the next line; returns the remark on it, if it is one.
    pub(crate) fn line<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        let line = line.trim_end();
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if text == "KTAP version 1" || text.starts_with("TAP version ") {
            self.seen = true;
            self.open.push(Document {
                indent,
                ..Document::default()
            });
            return None;
        }
        if let Some(remark) = text.strip_prefix('#') {
            let remark = remark.strip_prefix(' ').unwrap_or(remark);
            if let Some(document) = self.open.last_mut() {
                document.remarks.push(remark.to_owned());
            }
            return Some(remark);
        }
        if let Some(count) = text.strip_prefix("1..") {
            let count = count
                .split_whitespace()
                .next()
                .and_then(|count| count.parse().ok());
            if let (Some(count), Some(document)) = (count, self.open.last_mut()) {
                document.plan = Some(count);
            }
            return None;
        }
        if let Some(result) = Line::parse(text) {
            self.result(indent, result);
        }
        None
    }

    fn result(&mut self, indent: usize, line: Line) {
        // Documents further in end here and become this result's children.
        let mut children = Vec::new();
        let mut nested = false;
        while self.open.len() > 1 && self.open.last().is_some_and(|inner| inner.indent > indent) {
            if let Some(inner) = self.open.pop() {
                nested = true;
                children.splice(0..0, inner.close());
            }
        }
        let Some(document) = self.open.last_mut() else {
            return;
        };
        document.results += 1;
        let remarks = std::mem::take(&mut document.remarks);
        let number = document.results;
        let mut test = line.judge(number, remarks);
        if nested {
            let parts_failed = children
                .iter()
                .any(|child| matches!(child.outcome, Outcome::Failed(_)));
            document.tests.append(&mut children);
            // The whole's result repeats what its parts said, except when it
            // failed although none of them did.
            if parts_failed || !matches!(test.outcome, Outcome::Failed(_)) {
                return;
            }
            test.name.push_str(" (as a whole)");
        }
        document.tests.push(test);
    }

    /// Whether a document has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.seen
    }

    /// Ends the stream and returns all tests, leaves only.
    pub(crate) fn finish(mut self) -> Vec<Test> {
        if !self.seen {
            return vec![failed(
                "results",
                "no KTAP document came: the guest ran no test",
            )];
        }
        let mut tests = Vec::new();
        while let Some(document) = self.open.pop() {
            let inner = !self.open.is_empty();
            let indent = document.indent;
            let mut closed = document.close();
            if inner {
                closed.push(failed(
                    "results",
                    &format!("a nested document (indented by {indent}) was cut short"),
                ));
            }
            closed.append(&mut tests);
            tests = closed;
        }
        tests
    }
}

impl Document {
    /// The tests of a document that has ended, with what is wrong about it.
    fn close(mut self) -> Vec<Test> {
        let last = self
            .tests
            .last()
            .map_or("the start", |test| test.name.as_str())
            .to_owned();
        let problem = match self.plan {
            None => Some("there was no plan (1..N)".to_owned()),
            Some(plan) if plan != self.results => Some(format!(
                "{plan} tests were planned, {} ran; the last was {last}",
                self.results
            )),
            Some(0) => Some("the plan was empty: no test ran".to_owned()),
            Some(_) => None,
        };
        if let Some(problem) = problem {
            let mut lines = vec![problem];
            lines.append(&mut self.remarks);
            self.tests.push(Test::of("plan", lines));
        }
        self.tests
    }
}

fn failed(name: &str, problem: &str) -> Test {
    Test::of(name, vec![problem.to_owned()])
}

/// A result line, taken apart.
#[derive(Debug, PartialEq)]
struct Line {
    passed: bool,
    number: Option<usize>,
    name: String,
    /// Behind the `#`: a directive such as SKIP, or just words.
    behind: String,
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let (passed, rest) = match text.strip_prefix("not ok") {
            Some(rest) => (false, rest),
            None => (true, text.strip_prefix("ok")?),
        };
        if !rest.is_empty() && !rest.starts_with(' ') {
            return None;
        }
        let rest = rest.trim_start();
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number = rest[..digits].parse().ok();
        let rest = rest[digits..].trim_start();
        let rest = rest.strip_prefix("- ").unwrap_or(rest);
        let (name, behind) = match rest.split_once('#') {
            Some((name, behind)) => (name.trim(), behind.trim()),
            None => (rest.trim(), ""),
        };
        Some(Self {
            passed,
            number,
            name: if name.is_empty() { "(no name)" } else { name }.to_owned(),
            behind: behind.to_owned(),
        })
    }

    fn judge(self, expected: usize, mut remarks: Vec<String>) -> Test {
        let (directive, reason) = self
            .behind
            .split_once(char::is_whitespace)
            .unwrap_or((&self.behind, ""));
        let outcome = if self.number != Some(expected) {
            remarks.push(format!(
                "result number {:?}, expected {expected}",
                self.number
            ));
            Outcome::Failed(remarks)
        } else if !self.passed {
            if !self.behind.is_empty() {
                remarks.push(self.behind.clone());
            }
            Outcome::Failed(remarks)
        } else if directive.eq_ignore_ascii_case("SKIP") {
            match reason.trim() {
                "" => Outcome::Failed(vec!["skipped without a reason".to_owned()]),
                reason => Outcome::Skipped(reason.to_owned()),
            }
        } else {
            Outcome::Passed
        };
        Test {
            name: self.name,
            outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<Test> {
        let mut parser = Parser::default();
        for line in text.lines() {
            parser.line(line);
        }
        parser.finish()
    }

    fn counts(text: &str) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for test in parse(text) {
            match test.outcome {
                Outcome::Passed => counts.0 += 1,
                Outcome::Failed(_) => counts.1 += 1,
                Outcome::Skipped(_) => counts.2 += 1,
            }
        }
        counts
    }

    #[test]
    fn flat_document() {
        let text =
            "KTAP version 1\n1..3\nok 1 a # 0.1 s\n# why\nnot ok 2 b\nok 3 c # SKIP no card\n";
        assert_eq!(counts(text), (1, 1, 1));
        let tests = parse(text);
        assert_eq!(tests[1].outcome, Outcome::Failed(vec!["why".to_owned()]));
        assert_eq!(tests[2].outcome, Outcome::Skipped("no card".to_owned()));
    }

    #[test]
    fn nested_documents_count_their_leaves() {
        let text =
            "KTAP version 1\n1..2\n  KTAP version 1\n  1..2\n    KTAP version 1\n    1..1\n    \
                    ok 1 x\n  ok 1 inner\n  ok 2 y\nok 1 outer\nok 2 gate\n";
        assert_eq!(counts(text), (3, 0, 0));
    }

    #[test]
    fn a_whole_that_fails_with_good_parts_is_a_failure() {
        let text = "KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  ok 1 a\nnot ok 1 outer\n";
        assert_eq!(counts(text), (1, 1, 0));
        assert_eq!(parse(text)[1].name, "outer (as a whole)");
    }

    #[test]
    fn a_failing_part_is_counted_once() {
        let text = "KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  not ok 1 a\nnot ok 1 outer\n";
        assert_eq!(counts(text), (0, 1, 0));
    }

    #[test]
    fn missing_tests_fail() {
        assert_eq!(counts("KTAP version 1\n1..2\nok 1 a\n"), (1, 1, 0));
        assert_eq!(counts("KTAP version 1\nok 1 a\n"), (1, 1, 0));
        assert_eq!(counts("KTAP version 1\n1..0\n"), (0, 1, 0));
        assert_eq!(counts("nothing\n"), (0, 1, 0));
        assert_eq!(counts(""), (0, 1, 0));
    }

    #[test]
    fn a_nested_document_cut_short_fails() {
        let text = "KTAP version 1\n1..1\n  KTAP version 1\n  1..2\n  ok 1 a\n";
        let (passed, failed, _) = counts(text);
        assert_eq!(passed, 1);
        assert!(failed >= 2, "inner and outer plan both failed");
    }

    #[test]
    fn wrong_numbers_and_bare_skips_fail() {
        assert_eq!(counts("KTAP version 1\n1..1\nok 2 a\n"), (0, 1, 0));
        assert_eq!(counts("KTAP version 1\n1..1\nok 1 a # SKIP\n"), (0, 1, 0));
    }

    #[test]
    fn words_that_begin_like_a_result_are_none() {
        assert_eq!(Line::parse("okay 1 x"), None);
        assert_eq!(Line::parse("not okay"), None);
        assert!(Line::parse("ok").is_some());
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The results of the KUnit suites that ran when the module was loaded.
//!
//! The kernel keeps each suite's KTAP in debugfs as long as the module is
//! there; that is the same text as in its log, without what else was logged
//! meanwhile.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use crate::output::Output;

/// A directory for each suite.
const SUITES: &str = "/sys/kernel/debug/kunit";

/// The names of the suites that there are now: before the module is loaded,
/// those of the kernel itself, which are not ours to judge.
pub(crate) fn names() -> BTreeSet<OsString> {
    let entries = fs::read_dir(SUITES).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).collect()
}

/// Passes the suites on that are not among `others`, as one test with the cases
/// as its parts.
pub(crate) fn report(others: &BTreeSet<OsString>, output: &mut Output) -> Result<()> {
    let result = match suites(Path::new(SUITES), others) {
        Ok(texts) => {
            let (lines, verdict) = combined(&texts);
            for line in lines {
                output.nested(&line)?;
            }
            verdict
        }
        Err(error) => Err(error),
    };
    output.result("kunit", result)
}

/// The text of every other suite, in the order of their names.
fn suites(directory: &Path, others: &BTreeSet<OsString>) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !others.contains(&entry.file_name()) {
            paths.push(entry.path().join("results"));
        }
    }
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read_to_string(path).with_context(|| format!("reading {}", path.display())))
        .collect()
}

/// One flat document of all cases, named `kunit.SUITE.CASE`, and the verdict on
/// the suites as wholes.
fn combined(texts: &[String]) -> (Vec<String>, Result<()>) {
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    let mut cases = 0_usize;
    for text in texts {
        let mut suite = "?";
        let mut planned = None;
        let before = cases;
        for line in text.lines() {
            let inner = line.trim_start();
            // Cases of a suite are indented, and so are their remarks; what is
            // further in are the parameters of one case.
            let depth = (line.len() - inner.len()) / 4;
            if let Some(name) = inner.strip_prefix("# Subtest: ").filter(|_| depth == 1) {
                suite = name;
                continue;
            }
            if let Some(count) = inner.strip_prefix("1..").filter(|_| depth == 1) {
                planned = count.parse().ok();
                continue;
            }
            let Some((words, rest)) = result_of(inner) else {
                if inner.starts_with('#') {
                    lines.push(inner.to_owned());
                }
                continue;
            };
            match depth {
                0 if words == "not ok" => failed.push(rest.to_owned()),
                1 => {
                    cases += 1;
                    lines.push(format!("{words} {cases} kunit.{suite}.{rest}"));
                }
                _ => {}
            }
        }
        if planned != Some(cases - before) {
            failed.push(format!("{suite} (not as many cases as planned)"));
        }
    }
    let mut document = vec!["KTAP version 1".to_owned(), format!("1..{cases}")];
    document.append(&mut lines);
    let verdict = || -> Result<()> {
        if cases == 0 {
            bail!("the module has KUnit suites, and none of their cases ran");
        }
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    };
    (document, verdict())
}

/// "ok" or "not ok", and the name with what follows it, without the number.
fn result_of(line: &str) -> Option<(&'static str, &str)> {
    let (words, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => ("not ok", rest),
        None => ("ok", line.strip_prefix("ok ")?),
    };
    let (_, name) = rest.split_once(' ')?;
    Some((words, name.strip_prefix("- ").unwrap_or(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: split\n    \
                        # module: userdma\n    1..2\n    ok 1 one\n    ok 2 two # SKIP no card\n\
                        # split: pass:1 fail:0 skip:1 total:2\nok 1 split\n";

    #[test]
    fn cases_have_the_names_of_their_suites() {
        let (lines, verdict) = combined(&[GOOD.to_owned(), GOOD.replace("split", "ring")]);
        assert!(verdict.is_ok());
        let results: Vec<&String> = lines.iter().filter(|line| line.starts_with("ok")).collect();
        assert_eq!(
            results,
            [
                "ok 1 kunit.split.one",
                "ok 2 kunit.split.two # SKIP no card",
                "ok 3 kunit.ring.one",
                "ok 4 kunit.ring.two # SKIP no card",
            ]
        );
        assert_eq!(lines[1], "1..4");
    }

    #[test]
    fn a_failed_case_fails_the_whole_and_keeps_its_words() {
        let text = GOOD.replace(
            "    ok 1 one",
            "    # one: EXPECTATION FAILED\n    not ok 1 one",
        );
        let (lines, verdict) = combined(&[text.replace("ok 1 split", "not ok 1 split")]);
        assert!(verdict.is_err());
        let at = lines.iter().position(|line| line.contains("EXPECTATION"));
        assert_eq!(
            at.map(|at| lines[at + 1].as_str()),
            Some("not ok 1 kunit.split.one")
        );
    }

    #[test]
    fn a_case_that_is_missing_is_a_failure() {
        let text = GOOD.replace("    ok 2 two # SKIP no card\n", "");
        assert!(combined(&[text]).1.is_err());
    }

    #[test]
    fn nothing_that_ran_is_a_failure() {
        assert!(combined(&[]).1.is_err());
        let empty =
            "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: x\n    1..0\nok 1 x\n";
        assert!(combined(&[empty.to_owned()]).1.is_err());
    }
}

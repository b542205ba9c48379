// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What each boot did, counted; the table at the end of `make soak`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::Result;
use humantime_serde::re::humantime::format_rfc3339_seconds;

use crate::cache::write_atomically;
use crate::cache::Places;
use crate::guest::Report;
use crate::step;
use crate::tally::Outcome;

/// What was done, and how often. A test says it in a remark of its output:
/// `# did 1000 unbinds`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Deeds(BTreeMap<String, u64>);

impl Deeds {
    /// Takes a remark, which may be of another kind.
    pub(crate) fn remark(&mut self, remark: &str) {
        let deed = remark.trim().strip_prefix("did ");
        let Some((count, what)) = deed.and_then(|rest| rest.split_once(' ')) else {
            return;
        };
        if let Ok(count) = count.parse::<u64>() {
            *self.0.entry(what.trim().to_owned()).or_default() += count;
        }
    }

    fn lines(&self) -> Vec<String> {
        let line = |(what, count): (&String, &u64)| format!("{count} {what}");
        self.0.iter().map(line).collect()
    }
}

/// One boot's line.
#[derive(Debug)]
pub(crate) struct Row {
    name: String,
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    skipped: usize,
    took: Duration,
    deeds: Deeds,
}

impl Row {
    /// The line of a boot that could not be made.
    pub(crate) fn nothing(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            passed: 0,
            failed: 1,
            skipped: 0,
            took: Duration::ZERO,
            deeds: Deeds::default(),
        }
    }

    /// The line of a boot.
    pub(crate) fn of(name: &str, report: &Report) -> Self {
        let count = |wanted: fn(&Outcome) -> bool| {
            let tests = report.tests.iter();
            tests.filter(|test| wanted(&test.outcome)).count()
        };
        Self {
            name: name.to_owned(),
            passed: count(|outcome| matches!(outcome, Outcome::Passed)),
            failed: count(|outcome| matches!(outcome, Outcome::Failed(_))),
            skipped: count(|outcome| matches!(outcome, Outcome::Skipped(_))),
            took: report.took,
            deeds: report.deeds.clone(),
        }
    }
}

/// Prints the table and keeps it in a file, which the last line names.
pub(crate) fn finish(places: &Places, seed: u64, kernels: &str, rows: &mut [Row]) -> Result<()> {
    rows.sort_by(|one, two| one.name.cmp(&two.name));
    let now = format_rfc3339_seconds(SystemTime::now()).to_string();
    let text = format!("{now}, seed {seed}\n{kernels}\n\n{}", table(rows));
    let path = report_path(places, &now, seed);
    write_atomically(&path, text.as_bytes())?;
    println!("\n{text}\nreport: {}\n", places.outside(&path));
    Ok(())
}

fn report_path(places: &Places, now: &str, seed: u64) -> PathBuf {
    let day: String = now.chars().filter(|c| *c != ':').collect();
    places.place.join("soak").join(format!("{day}-{seed}.txt"))
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let mut text = format!(
        "{:<width$}  passed  failed  skipped        time  what was done\n",
        "suite@guest"
    );
    for row in rows {
        let deeds = row.deeds.lines();
        let mut deeds = deeds.iter().map(String::as_str);
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{:<width$}  {:>6}  {:>6}  {:>7}  {:>10}  {}",
            row.name,
            row.passed,
            row.failed,
            row.skipped,
            step::seconds(row.took),
            deeds.next().unwrap_or("-"),
        );
        for deed in deeds {
            let _ = writeln!(text, "{:indent$}{deed}", "", indent = width + 39);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeds_add_up_and_other_remarks_do_not_count() {
        let mut deeds = Deeds::default();
        for remark in [
            "did 10 unbinds",
            "did 5 unbinds",
            "did 2 remove/rescan cycles",
            "did nothing",
            "did",
            "seed 3",
        ] {
            deeds.remark(remark);
        }
        assert_eq!(deeds.lines(), ["2 remove/rescan cycles", "15 unbinds"]);
    }

    #[test]
    fn every_deed_has_a_line_of_the_table() {
        let mut row = Row::nothing("soak-x@cards4");
        row.deeds.remark("did 3 a");
        row.deeds.remark("did 4 b");
        let text = table(&[row]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let column = |line: &str, what: &str| line.find(what);
        assert_eq!(column(lines[0], "what was done"), column(lines[1], "3 a"));
        assert_eq!(column(lines[0], "what was done"), column(lines[2], "4 b"));
    }
}

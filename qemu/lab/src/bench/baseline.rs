// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The figures of an earlier commit, in the tree, so that a change that makes one
//! worse is seen.
//!
//! Only what is the same each time can be judged to a hundredth. What is, the samples
//! say themselves: the baseline holds where the middle half of those of two boots
//! lies, and a figure for which that is wide is listed, and not judged.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;

use crate::bench::figures::thousands;
use crate::bench::figures::Figures;
use crate::bench::figures::Value;
use crate::tally::Outcome;
use crate::tally::Test;

/// Where it is in the tree.
pub(crate) const FILE: &str = "qemu/bench-baseline.json";

/// A figure is worse if it has grown by more than one part in so many, and by more
/// than so many instructions.
const PART: u64 = 100;
const LEAST: u64 = 3;

/// The middle half is narrow if it is no wider than one part in so many.
const NARROW: u64 = 200;

/// Figures that are no cost.
const NO_COST: [&str; 3] = ["accepted", "runs", "segments"];

/// The table of what is measured by the clock.
const BY_THE_CLOCK: &str = ": bulk: ";

/// Of each figure, the least and the most of the middle half of the samples of two
/// boots.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Baseline {
    kernel: String,
    figures: BTreeMap<String, [u64; 2]>,
}

/// What became of the figures.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Comparison {
    judged: usize,
    worse: Vec<String>,
    better: Vec<String>,
    /// Not the same each time.
    unsteady: Vec<String>,
    /// The baseline has them, and nobody has counted them.
    missing: Vec<String>,
    new: usize,
    /// Why nothing is judged.
    not_comparable: Option<String>,
}

impl Baseline {
    /// Of two boots.
    pub(crate) fn of(kernel: &str, boots: [&Figures; 2]) -> Self {
        let [first, second] = boots.map(costs);
        let both = first.into_iter().filter_map(|(name, one)| {
            let ([low, high], [other_low, other_high]) = (middle(one), middle(second.get(&name)?));
            Some((name, [low.min(other_low), high.max(other_high)]))
        });
        Self {
            kernel: kernel.to_owned(),
            figures: both.collect(),
        }
    }

    /// The one of the tree.
    pub(crate) fn read(tree: &Path) -> Result<Self> {
        let path = tree.join(FILE);
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Puts it into the tree.
    pub(crate) fn write(&self, tree: &Path) -> Result<()> {
        let path = tree.join(FILE);
        // A line for each figure, so that a change shows what has changed.
        let mut text = format!("{{\n\"kernel\": {:?},\n\"figures\": {{\n", self.kernel);
        let lines: Vec<String> = self
            .figures
            .iter()
            .map(|(name, [low, high])| format!("{name:?}: [{low}, {high}]"))
            .collect();
        text.push_str(&lines.join(",\n"));
        text.push_str("\n}\n}\n");
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Holds figures against it; `all`: none may be missing.
    pub(crate) fn compare(&self, kernel: &str, figures: &Figures, all: bool) -> Comparison {
        let mut comparison = Comparison::default();
        if self.kernel != kernel {
            let words = format!("it was counted in {}, this is {kernel}", self.kernel);
            comparison.not_comparable = Some(words);
            return comparison;
        }
        let now = costs(figures);
        for (name, value) in &now {
            let Some([low, high]) = self.figures.get(name) else {
                comparison.new += 1;
                continue;
            };
            let value = value.median;
            let line = || {
                let percent = 100.0 * (value as f64 / *high as f64 - 1.0);
                let (value, high) = (thousands(value), thousands(*high));
                format!("{name}: {value}, was {high} ({percent:+.1} %)")
            };
            if high - low > low / NARROW {
                comparison.unsteady.push(line());
                continue;
            }
            comparison.judged += 1;
            if is_worse(*high, value) {
                comparison.worse.push(line());
            } else if is_worse(value, *low) {
                comparison.better.push(line());
            }
        }
        if all {
            let names = self.figures.keys().filter(|name| !now.contains_key(*name));
            comparison.missing = names.cloned().collect();
        }
        comparison
    }
}

/// The figures that cost something, by name.
fn costs(figures: &Figures) -> BTreeMap<String, &Value> {
    figures
        .each()
        .filter(|(name, value)| {
            !NO_COST.contains(&value.name.as_str()) && !name.contains(BY_THE_CLOCK)
        })
        .collect()
}

/// Where the middle half of the samples begins and ends.
fn middle(value: &Value) -> [u64; 2] {
    let mut sorted = value.samples.clone();
    sorted.sort_unstable();
    let quarter = sorted.len() / 4;
    [quarter, sorted.len().saturating_sub(quarter + 1)]
        .map(|place| sorted.get(place).copied().unwrap_or(value.median))
}

fn is_worse(before: u64, now: u64) -> bool {
    now > before + (before / PART).max(LEAST)
}

impl Comparison {
    /// As a test.
    pub(crate) fn test(&self) -> Test {
        const NAME: &str = "baseline";
        if let Some(reason) = &self.not_comparable {
            return Test {
                name: NAME.to_owned(),
                outcome: Outcome::Skipped(format!("{reason}; make bench BASELINE=update")),
            };
        }
        let mut problems: Vec<String> = self.worse.clone();
        let missing = self.missing.iter();
        problems.extend(missing.map(|name| format!("{name}: not counted")));
        if !problems.is_empty() {
            problems.push("where this is meant: make bench BASELINE=update".to_owned());
        }
        Test::of(NAME, problems)
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "\nAgainst {FILE}: {} figures judged, {} worse by more than 1 %, {} better, {} new\n",
            self.judged,
            self.worse.len(),
            self.better.len(),
            self.new
        );
        for (title, lines) in [
            ("worse", &self.worse),
            ("better", &self.better),
            (
                "not judged, for it is not the same each time",
                &self.unsteady,
            ),
            ("not counted", &self.missing),
        ] {
            if !lines.is_empty() {
                text.push_str(&format!("  {title}:\n"));
                text.extend(lines.iter().map(|line| format!("    {line}\n")));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::PLAIN;

    fn figures(values: &[(&str, u64)]) -> Result<Figures> {
        let values: Vec<_> = values
            .iter()
            .map(|(name, median)| {
                serde_json::json!({ "name": name, "median": median, "samples": [median] })
            })
            .collect();
        let row = serde_json::json!({ "table": "t", "row": "r", "values": values });
        let mut figures = Figures::default();
        figures.add(PLAIN, vec![serde_json::from_value(row)?]);
        Ok(figures)
    }

    #[test]
    fn more_than_a_hundredth_is_worse() -> Result<()> {
        let before = figures(&[("a", 1000), ("b", 300)])?;
        let baseline = Baseline::of("k", [&before, &before]);
        let of = |a, b| anyhow::Ok(baseline.compare("k", &figures(&[("a", a), ("b", b)])?, true));
        assert_eq!(of(1010, 303)?.test().outcome, Outcome::Passed);
        // A few instructions are nothing, whatever part they are.
        assert!(of(1000, 304)?.worse[0].starts_with("bench: t: r: b: 304, was 300"));
        let worse = of(1011, 300)?;
        assert_eq!(worse.worse, ["bench: t: r: a: 1,011, was 1,000 (+1.1 %)"]);
        assert!(matches!(worse.test().outcome, Outcome::Failed(_)));
        let better = of(989, 300)?;
        assert_eq!(better.better.len(), 1);
        assert_eq!(better.test().outcome, Outcome::Passed);
        Ok(())
    }

    #[test]
    fn what_is_not_the_same_each_time_is_not_judged() -> Result<()> {
        let baseline = Baseline::of("k", [&figures(&[("a", 1000)])?, &figures(&[("a", 1006)])?]);
        let far = baseline.compare("k", &figures(&[("a", 5000)])?, true);
        assert_eq!((far.judged, far.unsteady.len()), (0, 1));
        assert_eq!(far.test().outcome, Outcome::Passed);
        Ok(())
    }

    #[test]
    fn a_few_odd_samples_change_nothing() -> Result<()> {
        let of = |samples: &str| {
            let text = format!(r#"{{"name":"v","median":5,"samples":{samples}}}"#);
            anyhow::Ok(middle(&serde_json::from_str(&text)?))
        };
        assert_eq!(of("[5, 5, 99, 5, 5, 1, 5]")?, [5, 5]);
        assert_eq!(of("[3, 4, 5, 5, 5, 6, 7]")?, [4, 6]);
        assert_eq!(of("[5]")?, [5, 5]);
        Ok(())
    }

    #[test]
    fn a_figure_that_is_gone_is_a_failure_of_a_whole_run() -> Result<()> {
        let before = figures(&[("a", 1), ("b", 1), ("segments", 7)])?;
        let baseline = Baseline::of("k", [&before, &before]);
        let part = figures(&[("a", 1), ("c", 9), ("segments", 99)])?;
        let whole = baseline.compare("k", &part, true);
        assert_eq!(whole.missing, ["bench: t: r: b"]);
        assert_eq!(whole.new, 1);
        assert!(matches!(whole.test().outcome, Outcome::Failed(_)));
        assert!(baseline.compare("k", &part, false).missing.is_empty());
        let other = baseline.compare("l", &part, true).test();
        assert!(matches!(other.outcome, Outcome::Skipped(_)));
        Ok(())
    }

    #[test]
    fn it_is_read_as_it_was_written() -> Result<()> {
        let directory = tempfile::tempdir()?;
        fs::create_dir(directory.path().join("qemu"))?;
        let before = figures(&[("a \"quoted\"", 12)])?;
        Baseline::of("k", [&before, &before]).write(directory.path())?;
        let read = Baseline::read(directory.path())?;
        assert_eq!(read.compare("k", &before, true).judged, 1);
        Ok(())
    }
}

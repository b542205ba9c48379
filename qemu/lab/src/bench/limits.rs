// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is promised of the figures.

use anyhow::Result;
use serde::Serialize;

use crate::bench::figures::thousands;
use crate::bench::figures::Figures;
use crate::bench::figures::IOMMU;
use crate::bench::figures::PLAIN;
use crate::tally::Test;

/// A promise, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Limit {
    what: String,
    /// What was counted.
    counted: u64,
    /// What it may be at most.
    most: u64,
    holds: bool,
}

impl Limit {
    fn new(what: impl Into<String>, counted: u64, most: u64) -> Self {
        Self {
            what: what.into(),
            counted,
            most,
            holds: counted <= most,
        }
    }

    /// The promise as a test.
    pub(crate) fn test(&self) -> Test {
        let problems = match self.holds {
            true => Vec::new(),
            false => vec![format!(
                "{} counted, at most {} may be",
                thousands(self.counted),
                thousands(self.most)
            )],
        };
        Test::of(&format!("limit: {}", self.what), problems)
    }
}

/// Judges the promises. Where not `all` is counted, those whose figures there are.
pub(crate) fn all(figures: &Figures, all: bool) -> Result<Vec<Limit>> {
    let limits = memory(figures)
        .into_iter()
        .chain(transfers(figures))
        .filter(|limit| all || limit.is_ok());
    limits.collect()
}

/// Of 64 MiB of memory.
fn memory(figures: &Figures) -> Vec<Result<Limit>> {
    let own = |guest, row: &str, value| figures.get(guest, "register", row, value);
    let vfio = |row| figures.get(IOMMU, "vfio", row, "sum");
    let mut limits = Vec::new();
    // Of the pool as it is after boot, where huge pages lie behind each other. The table has
    // the worst case, too.
    for (row, most) in [("hugetlb memfd", 26_000), ("hugetlb", 35_000)] {
        let what = format!("BUF_REGISTER of {row}, no IOMMU");
        limits.push(own(PLAIN, row, "register").map(|counted| Limit::new(what, counted, most)));
    }
    limits.push((|| {
        let huge = own(IOMMU, "hugetlb", "sum")?.min(own(IOMMU, "hugetlb memfd", "sum")?);
        let what = "hugetlb, register and free, against 1/100 of VFIO's map and unmap, Intel IOMMU";
        Ok(Limit::new(what, huge, vfio("hugetlb")? / 100))
    })());
    for row in ["4 KiB pages", "4 KiB pages, scattered"] {
        let what =
            format!("{row}, register and free, against 0.40 of VFIO's map and unmap, Intel IOMMU");
        limits.push(
            own(IOMMU, row, "sum")
                .and_then(|counted| Ok(Limit::new(what, counted, vfio(row)? * 2 / 5))),
        );
    }
    for (guest, name) in super::GUESTS {
        for (row, most) in [
            ("hugetlb, scattered", 32),
            ("hugetlb memfd, scattered", 32),
            ("THP", 40),
        ] {
            let what = format!("segments of {row}, {name}");
            limits.push(own(guest, row, "segments").map(|counted| Limit::new(what, counted, most)));
        }
    }
    limits
}

/// Of edu-daq, against calls that do nothing.
fn transfers(figures: &Figures) -> Vec<Result<Limit>> {
    let get = |table, row, value| figures.get(PLAIN, table, row, value);
    let transfer = |row, value| get("transfer", row, value);
    let null = || get("base", "unknown ioctl", "instructions");
    let uring = |row| get("uring", row, "io_uring_enter");
    let limit =
        |what: &str, counted: Result<u64>, most: Result<u64>| Ok(Limit::new(what, counted?, most?));
    vec![
        limit(
            "SUBMIT of one transfer, against 2.0 of a null ioctl",
            transfer("1 transfer of 64 bytes", "SUBMIT"),
            null().map(|null| 2 * null),
        ),
        limit(
            "WAIT with a completion ready, against 1.3 of a null ioctl",
            transfer("1 transfer of 64 bytes", "WAIT, ready"),
            null().map(|null| null * 13 / 10),
        ),
        limit(
            "a transfer in a SUBMIT of 64, against 0.6 of a null ioctl",
            transfer("64 transfers of 64 bytes", "SUBMIT each"),
            null().map(|null| null * 6 / 10),
        ),
        limit(
            "32 transfers by io_uring, fixed file, against 1.6 of 32 NOP and the descriptors",
            uring("32 transfers, fixed file"),
            uring("32 NOP").and_then(|nop| Ok(nop * 16 / 10 + uring("32 descriptors put down")?)),
        ),
    ]
}

/// The promises as a table.
pub(crate) fn text(limits: &[Limit]) -> String {
    let mut text = "\nWhat is promised\n".to_owned();
    for limit in limits {
        let verdict = if limit.holds { "holds" } else { "MISSED" };
        text.push_str(&format!(
            "  {:<88} {:>12} <= {:>12}  {verdict}\n",
            limit.what,
            thousands(limit.counted),
            thousands(limit.most)
        ));
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
    }
}

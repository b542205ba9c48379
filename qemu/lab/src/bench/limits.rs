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

/// Judges all promises.
pub(crate) fn all(figures: &Figures) -> Result<Vec<Limit>> {
    let own = |guest, row: &str, value| figures.get(guest, "register", row, value);
    let vfio = |row| figures.get(IOMMU, "vfio", row, "sum");
    let huge = own(IOMMU, "hugetlb", "sum")?.min(own(IOMMU, "hugetlb memfd", "sum")?);
    let mut limits = Vec::new();
    // Of the pool as it is after boot, where huge pages lie behind each other. The table has
    // the worst case, too.
    for (row, most) in [("hugetlb memfd", 26_000), ("hugetlb", 35_000)] {
        let what = format!("BUF_REGISTER of {row}, no IOMMU");
        limits.push(Limit::new(what, own(PLAIN, row, "register")?, most));
    }
    limits.push(Limit::new(
        "hugetlb, register and free, against 1/100 of VFIO's map and unmap, Intel IOMMU",
        huge,
        vfio("hugetlb")? / 100,
    ));
    for row in ["4 KiB pages", "4 KiB pages, scattered"] {
        let what =
            format!("{row}, register and free, against 0.40 of VFIO's map and unmap, Intel IOMMU");
        limits.push(Limit::new(
            what,
            own(IOMMU, row, "sum")?,
            vfio(row)? * 2 / 5,
        ));
    }
    for (guest, name) in super::GUESTS {
        for (row, most) in [
            ("hugetlb, scattered", 32),
            ("hugetlb memfd, scattered", 32),
            ("THP", 40),
        ] {
            let what = format!("segments of {row}, {name}");
            limits.push(Limit::new(what, own(guest, row, "segments")?, most));
        }
    }
    Ok(limits)
}

/// The promises as a table.
pub(crate) fn text(limits: &[Limit]) -> String {
    let mut text = "\nWhat is promised of 64 MiB\n".to_owned();
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

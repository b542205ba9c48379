// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Of memory that is registered and allocated.

use anyhow::Result;

use super::Limit;
use crate::bench::figures::thousands;
use crate::bench::figures::Figures;
use crate::bench::figures::IOMMU;
use crate::bench::figures::PLAIN;
use crate::bench::GUESTS;

pub(super) fn all(figures: &Figures) -> Vec<Result<Limit>> {
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
        limits.push((|| {
            let most = vfio(row)? * 2 / 5;
            Ok(Limit::new(what, own(IOMMU, row, "sum")?, most))
        })());
    }
    for (guest, name) in GUESTS {
        for (row, most) in [
            ("hugetlb, scattered", 32),
            ("hugetlb memfd, scattered", 32),
            ("THP", 40),
        ] {
            let what = format!("segments of {row}, {name}");
            let counted = own(guest, row, "segments");
            limits.push(counted.map(|counted| Limit::new(what, counted, most)));
        }
    }
    limits.push(allocated(figures));
    limits
}

/// 32 MiB until all of it was written to.
fn allocated(figures: &Figures) -> Result<Limit> {
    let sum = |row| figures.get(PLAIN, "memory", row, "sum");
    let (own, heap) = (sum("userdma, huge")?, sum("dma-heap, system")?);
    let plain = sum("anonymous, THP")?;
    let beyond = |sum: u64| thousands(sum.saturating_sub(plain));
    let what = "allocate, map and touch 32 MiB, against 0.50 of dma-heap's system heap";
    Ok(Limit::new(what, own, heap / 2).rest(vec![
        format!(
            "{} are what the kernel takes to give a program the same zeroed memory (anonymous, THP)",
            thousands(plain)
        ),
        format!(
            "beyond it userdma takes {}, the heap {}",
            beyond(own),
            beyond(heap)
        ),
    ]))
}

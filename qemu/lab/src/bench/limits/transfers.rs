// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Of transfers of edu-daq.

use anyhow::Result;

use super::Limit;
use crate::bench::figures::thousands;
use crate::bench::figures::Figures;
use crate::bench::figures::BULK;
use crate::bench::figures::IOMMU;
use crate::bench::figures::PLAIN;

/// Tables and rows.
const ONE: &str = "1 transfer of 64 bytes";
const MANY: &str = "64 transfers of 64 bytes";

/// What was tried, and where it goes, function by function.
const WHERE: &str = "see \"Where it goes\" in Documentation/measurements.rst";

pub(super) fn all(figures: &Figures) -> Vec<Result<Limit>> {
    let mut limits = against_nothing(figures);
    limits.extend(woken(figures));
    limits.push(hardware(
        figures,
        "system calls to submit 64 transfers and collect them",
        "system calls",
        2,
    ));
    limits.push(hardware(
        figures,
        "doorbells of 64 transfers in one SUBMIT",
        "doorbells",
        2,
    ));
    limits.push(hardware(
        figures,
        "interrupts of 64 transfers in one SUBMIT",
        "interrupts",
        2,
    ));
    limits.push(
        figures
            .get(
                PLAIN,
                "polled",
                "32 transfers, fixed file, SQPOLL",
                "system calls",
            )
            .map(|calls| Limit::new("system calls of 32 transfers with SQPOLL", calls, 0)),
    );
    for way in ["to the card", "from the card"] {
        let share = figures.get(BULK, "bulk", &format!("65536 KiB {way}"), "percent");
        let what = format!("64 MiB {way}: percent of what the model can copy");
        limits.push(share.map(|share| Limit::at_least(what, share, 80)));
    }
    limits
}

/// Against calls that do nothing.
fn against_nothing(figures: &Figures) -> Vec<Result<Limit>> {
    let get = |table, row, value| figures.get(PLAIN, table, row, value);
    let null = || get("base", "unknown ioctl", "instructions");
    let uring = |row| get("uring", row, "io_uring_enter");
    let beyond = |what: &str,
                  counted: Result<u64>,
                  (peer, least): (&str, Result<u64>),
                  most: Result<u64>| {
        let (counted, least) = (counted?, least?);
        let beyond = thousands(counted.saturating_sub(least));
        let rest = format!(
            "{peer} {}, so {beyond} are beyond it; {WHERE}",
            thousands(least)
        );
        Ok(Limit::new(what, counted, most?).rest(vec![rest]))
    };
    let limit = |what: &str, counted: Result<u64>, most: Result<u64>| {
        beyond(what, counted, ("a null ioctl takes", null()), most)
    };
    vec![
        limit(
            "SUBMIT of one transfer, against 2.0 of a null ioctl",
            get("transfer", ONE, "SUBMIT"),
            null().map(|null| 2 * null),
        ),
        limit(
            "WAIT with a completion ready, against 1.3 of a null ioctl",
            get("transfer", ONE, "WAIT, ready"),
            null().map(|null| null * 13 / 10),
        ),
        limit(
            "a transfer in a SUBMIT of 64, against 0.6 of a null ioctl",
            get("transfer", MANY, "SUBMIT each"),
            null().map(|null| null * 6 / 10),
        ),
        beyond(
            "32 transfers by io_uring, fixed file, against 1.6 of 32 NOP and the descriptors",
            uring("32 transfers, fixed file"),
            ("32 NOP take", uring("32 NOP")),
            uring("32 NOP").and_then(|nop| Ok(nop * 16 / 10 + uring("32 descriptors put down")?)),
        ),
    ]
}

/// From the interrupt to the woken program, against VFIO and UIO in the same boot.
fn woken(figures: &Figures) -> Vec<Result<Limit>> {
    let get = |row| figures.get(IOMMU, "wake", row, "instructions");
    let mut limits = Vec::new();
    for way in ["WAIT", "eventfd of the vector", "eventfd of completions"] {
        for (peer, words, percent) in [
            ("VFIO, eventfd", "1.05 of VFIO's eventfd", 105),
            ("UIO, read", "0.50 of UIO's read", 50),
        ] {
            let what = format!("interrupt to woken program by {way}, against {words}");
            limits.push((|| {
                let (own, peer) = (get(way)?, get(peer)?);
                let share = own * 100 / peer.max(1);
                let rest = format!("it is {share} percent of it; {WHERE}");
                Ok(Limit::new(what, own, peer * percent / 100).rest(vec![rest]))
            })());
        }
    }
    limits
}

fn hardware(figures: &Figures, what: &str, value: &str, most: u64) -> Result<Limit> {
    let counted = figures.get(PLAIN, "traffic", MANY, value)?;
    Ok(Limit::new(what, counted, most))
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! From how many bytes on read() and write() had better not copy.
//!
//! The card of the laboratory has 4 KiB of memory, so that larger requests cannot
//! be made. What they would take is what one of 4 KiB takes, and how much more it
//! takes to register, or to copy, so much more; and for each further piece that
//! the driver copies, a transfer more.

use anyhow::Result;
use serde::Serialize;

use crate::bench::figures::thousands;
use crate::bench::figures::Figures;
use crate::bench::GUESTS;

/// The largest request that was made, and the smallest.
const LARGEST: &str = "4096";
const SMALLEST: &str = "512";

/// The row of the sizes that is as large as the largest request.
const SAME: &str = "4 KiB";

/// What is copied goes in pieces of so many KiB.
const CHUNK_KIB: u64 = 64;

/// What a program's memory may be.
const MEMORY: [&str; 2] = ["4 KiB pages", "THP"];

/// Where the two ways cost the same.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Crossing {
    guest: String,
    memory: String,
    estimates: Vec<Estimate>,
    /// The smallest size from which on direct is never dearer.
    bytes: Option<u64>,
}

/// What a read() would take.
#[derive(Clone, Copy, Debug, Serialize)]
struct Estimate {
    kib: u64,
    direct: u64,
    copied: u64,
}

/// All kinds of memory in all guests.
pub(crate) fn all(figures: &Figures) -> Result<Vec<Crossing>> {
    let mut all = Vec::new();
    for (guest, name) in GUESTS {
        for memory in MEMORY {
            let request = |size: &str, way: &str| {
                figures.get(guest, "request", &format!("read {size} {way}"), "sum")
            };
            let direct = request(LARGEST, "direct")?;
            let copied = request(LARGEST, "copied")?;
            let transfer = request(SMALLEST, "copied")?;
            let more = |row: &str, value: &str| -> Result<u64> {
                let all = figures.get(guest, "copy", row, value)?;
                Ok(all.saturating_sub(figures.get(guest, "copy", SAME, value)?))
            };
            let mut estimates = Vec::new();
            for row in figures.rows(guest, "copy").map(|row| row.row.as_str()) {
                let kib: u64 = row.trim_end_matches(" KiB").parse()?;
                let pieces = kib.div_ceil(CHUNK_KIB);
                estimates.push(Estimate {
                    kib,
                    direct: direct + more(row, memory)?,
                    copied: copied + more(row, "copy")? + (pieces - 1) * transfer,
                });
            }
            all.push(Crossing {
                guest: name.to_owned(),
                memory: memory.to_owned(),
                bytes: crossing(&estimates),
                estimates,
            });
        }
    }
    Ok(all)
}

/// The size from which on direct is never dearer: where straight lines between
/// the estimates cross.
fn crossing(estimates: &[Estimate]) -> Option<u64> {
    let dearer = estimates.iter().rposition(|one| one.direct > one.copied);
    let Some(last) = dearer else {
        return estimates.first().map(|one| one.kib << 10);
    };
    let (one, next) = (estimates[last], estimates.get(last + 1)?);
    let (behind, ahead) = (one.direct - one.copied, next.copied - next.direct);
    let bytes = (next.kib - one.kib) << 10;
    Some((one.kib << 10) + bytes * behind / (behind + ahead))
}

/// The crossings as a table.
pub(crate) fn text(crossings: &[Crossing]) -> String {
    if crossings.is_empty() {
        return String::new();
    }
    let mut text = "\nFrom where on direct requests cost no more than copied ones\n".to_owned();
    for one in crossings {
        let at = match (one.bytes, one.estimates.last()) {
            (Some(bytes), _) => format!("{} bytes", thousands(bytes)),
            (None, last) => format!("not up to {} KiB", last.map_or(0, |last| last.kib)),
        };
        text.push_str(&format!("  {}, {}: {at}\n", one.guest, one.memory));
        for estimate in &one.estimates {
            text.push_str(&format!(
                "    {:>4} KiB: direct {:>9}, copied {:>9}\n",
                estimate.kib,
                thousands(estimate.direct),
                thousands(estimate.copied)
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(estimates: &[(u64, u64, u64)]) -> Option<u64> {
        let estimates: Vec<Estimate> = estimates
            .iter()
            .map(|&(kib, direct, copied)| Estimate {
                kib,
                direct,
                copied,
            })
            .collect();
        crossing(&estimates)
    }

    #[test]
    fn lines_cross_in_between() {
        assert_eq!(of(&[(4, 200, 100), (8, 300, 400)]), Some(6144));
        assert_eq!(of(&[(4, 100, 100)]), Some(4096));
        assert_eq!(of(&[(4, 200, 100), (8, 300, 200)]), None);
    }

    #[test]
    fn the_last_crossing_counts() {
        let three = [(4, 1, 2), (8, 4, 3), (16, 5, 6)];
        assert_eq!(of(&three), Some(12_288));
    }
}

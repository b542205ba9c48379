// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How often the card was told of work, and has interrupted.

use std::fs;

use serde::Serialize;
use userdma::Device;

/// What the driver counts of a card in debugfs, which root may read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) descriptors: u64,
    pub(crate) doorbells: u64,
    pub(crate) interrupts: u64,
    /// Interrupts that did not come: the driver looked, and found the work done.
    pub(crate) lost: u64,
}

impl Counts {
    /// Reads them, if this user may.
    pub(crate) fn read(device: &Device) -> Option<Self> {
        let stats = format!("/sys/kernel/debug/userdma/{}/stats", device.info().bus_name);
        Self::parse(&fs::read_to_string(stats).ok()?)
    }

    fn parse(stats: &str) -> Option<Self> {
        Some(Self {
            descriptors: counter(stats, "descriptors")?,
            doorbells: counter(stats, "doorbells")?,
            interrupts: counter(stats, "interrupts")?,
            lost: counter(stats, "lost_interrupts")?,
        })
    }

    /// What was counted since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            descriptors: self.descriptors.saturating_sub(before.descriptors),
            doorbells: self.doorbells.saturating_sub(before.doorbells),
            interrupts: self.interrupts.saturating_sub(before.interrupts),
            lost: self.lost.saturating_sub(before.lost),
        }
    }
}

/// Gives the interrupts of all cards, which every user may know.
pub(crate) fn in_kernel() -> Option<u64> {
    table(&fs::read_to_string("/proc/interrupts").ok()?)
}

/// Reads the line `interrupts: 12`.
fn counter(stats: &str, name: &str) -> Option<u64> {
    stats
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?
        .trim()
        .parse()
        .ok()
}

/// Adds up the lines of our driver: a number for each processor, then words.
fn table(text: &str) -> Option<u64> {
    let ours = text.lines().filter(|line| {
        line.split_whitespace()
            .any(|word| word.trim_end_matches(',').starts_with("userdma"))
    });
    let sums = ours.map(|line| {
        line.split_whitespace()
            .skip(1)
            .map_while(|word| word.parse::<u64>().ok())
            .fold(0, u64::saturating_add)
    });
    // No such line is not the same as no interrupt.
    sums.reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debugfs_is_read() {
        let text =
            "files: 1\ndescriptors: 9\ndoorbells: 4\ninterrupts: 12\nspurious_interrupts: 3\n\
                    lost_interrupts: 2\n";
        let counts = Counts::parse(text).expect("all are there");
        assert_eq!(counts.interrupts, 12);
        let before = Counts {
            interrupts: 10,
            lost: 2,
            ..Counts::default()
        };
        let since = counts.since(before);
        assert_eq!((since.descriptors, since.doorbells), (9, 4));
        assert_eq!((since.interrupts, since.lost), (2, 0));
        assert_eq!(Counts::parse("lost_interrupts: 3\n"), None);
    }

    #[test]
    fn the_kernels_table_is_added_up() {
        let text = "           CPU0       CPU1\n  0:   10   0   IO-APIC   2-edge      timer\n \
                    24:   5   7   PCI-MSI-0000:00:04.0   0-edge      userdma0\n \
                    10:   1   0   IO-APIC  10-fasteoi   userdma1, ahci\n";
        assert_eq!(table(text), Some(13));
        assert_eq!(table("  0:   10   0   IO-APIC   2-edge      timer\n"), None);
    }
}

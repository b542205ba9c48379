// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How often the card has interrupted.

use std::fs;

use userdma::Device;

/// A count, and who counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interrupts {
    pub(crate) count: u64,
    pub(crate) source: &'static str,
}

/// Asks the driver's debugfs, then the open file, then the kernel's own table.
pub(crate) fn read(device: &Device) -> Option<Interrupts> {
    let stats = format!("/sys/kernel/debug/userdma/{}/stats", device.info().bus_name);
    let in_debugfs = || counter(&fs::read_to_string(stats).ok()?);
    let in_file = || device.counters().ok()?.get("interrupts")?.parse().ok();
    let in_kernel = || table(&fs::read_to_string("/proc/interrupts").ok()?);
    let told = |count, source| Interrupts { count, source };
    in_debugfs()
        .map(|count| told(count, "the driver"))
        .or_else(|| in_file().map(|count| told(count, "the driver")))
        .or_else(|| in_kernel().map(|count| told(count, "/proc/interrupts")))
}

/// Reads the line `interrupts: 12`.
fn counter(stats: &str) -> Option<u64> {
    stats
        .lines()
        .find_map(|line| line.strip_prefix("interrupts:"))?
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
        assert_eq!(
            counter("files: 1\nspurious_interrupts: 3\ninterrupts: 12\n"),
            Some(12)
        );
        assert_eq!(counter("lost_interrupts: 3\n"), None);
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

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The state of the machine's memory, as `/proc` tells it.

use std::fs;

/// What is known; zero where a file could not be read, so that an explanation
/// is never the second thing to fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Bytes that could be had without swapping.
    pub(crate) available: u64,
    /// Bytes set aside for contiguous allocations, and free ones of them.
    pub(crate) cma_total: u64,
    pub(crate) cma_free: u64,
    /// Highest physical address plus one.
    pub(crate) end: u64,
    /// The zones' free blocks.
    pub(crate) zones: Vec<Zone>,
    /// The kernel's command line.
    pub(crate) command_line: String,
}

/// Free memory of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    /// Of which NUMA node.
    pub(crate) node: u32,
    /// How many free blocks of 2^index pages.
    pub(crate) blocks: Vec<u64>,
}

impl Memory {
    /// Asks the running kernel.
    pub(crate) fn read(page_size: u64) -> Self {
        let file = |name: &str| fs::read_to_string(name).unwrap_or_default();
        Self::parse(
            &file("/proc/meminfo"),
            &file("/proc/buddyinfo"),
            &file("/proc/zoneinfo"),
            &file("/proc/cmdline"),
            page_size,
        )
    }

    /// Reads the texts of the files; apart, so that it can be tested.
    pub(crate) fn parse(
        meminfo: &str,
        buddyinfo: &str,
        zoneinfo: &str,
        command_line: &str,
        page_size: u64,
    ) -> Self {
        let kibibytes = |name: &str| {
            meminfo
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .and_then(|rest| rest.split_whitespace().next())
                .and_then(|number| number.parse::<u64>().ok())
                .map_or(0, |number| number.saturating_mul(1024))
        };
        Self {
            available: kibibytes("MemAvailable"),
            cma_total: kibibytes("CmaTotal"),
            cma_free: kibibytes("CmaFree"),
            end: end_of_memory(zoneinfo).saturating_mul(page_size),
            zones: buddyinfo.lines().filter_map(zone).collect(),
            command_line: command_line.trim().to_owned(),
        }
    }

    /// Counts free blocks of 2^`order` pages, also as parts of larger ones; on
    /// one node if it is given.
    pub(crate) fn free_blocks(&self, order: usize, node: Option<u32>) -> u64 {
        self.zones
            .iter()
            .filter(|zone| node.is_none_or(|node| zone.node == node))
            .flat_map(|zone| zone.blocks.iter().enumerate().skip(order))
            .fold(0, |sum, (index, count)| {
                sum.saturating_add(count.saturating_mul(1 << (index - order).min(32)))
            })
    }

    /// Says whether the machine has this NUMA node.
    pub(crate) fn has_node(&self, node: u32) -> bool {
        self.zones.iter().any(|zone| zone.node == node)
    }

    /// Gives the word of the command line that begins so.
    pub(crate) fn parameter(&self, prefix: &str) -> Option<&str> {
        self.command_line
            .split_whitespace()
            .rfind(|word| word.starts_with(prefix))
    }
}

/// Reads `Node 0, zone   Normal   12   3 ...`.
fn zone(line: &str) -> Option<Zone> {
    let (node, rest) = line.strip_prefix("Node ")?.split_once(',')?;
    let mut words = rest
        .split_whitespace()
        .skip_while(|word| *word != "zone")
        .skip(1);
    words.next()?;
    Some(Zone {
        node: node.trim().parse().ok()?,
        blocks: words.map_while(|word| word.parse().ok()).collect(),
    })
}

/// Gives the number of the page behind the last one that exists.
fn end_of_memory(zoneinfo: &str) -> u64 {
    let mut end = 0;
    let mut spanned: u64 = 0;
    for line in zoneinfo.lines() {
        let mut words = line.split_whitespace();
        let number = match (words.next(), words.next()) {
            (Some(name), Some(number)) => (name, number.parse::<u64>()),
            _ => continue,
        };
        match number {
            ("spanned", Ok(pages)) => spanned = pages,
            ("start_pfn:", Ok(first)) if spanned > 0 => {
                end = end.max(first.saturating_add(spanned));
                spanned = 0;
            }
            _ => {}
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) const MEMINFO: &str = "MemTotal:        2014312 kB\n\
        MemFree:         1800000 kB\n\
        MemAvailable:    1790000 kB\n\
        CmaTotal:          65536 kB\n\
        CmaFree:           61440 kB\n";
    pub(crate) const BUDDYINFO: &str =
        "Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      2 \n\
         Node 0, zone    DMA32      1      1      0      1      1      1      1      1      0      0    400 \n\
         Node 1, zone   Normal     10      0      0      0      0      0      0      0      0      3      0 \n";
    const ZONEINFO: &str = "Node 0, zone      DMA\n  pages free     3840\n        spanned  4095\n        \
        present  3998\n  start_pfn:           1\nNode 0, zone    DMA32\n        spanned  520157\n  \
        start_pfn:           4096\nNode 0, zone   Normal\n        spanned  0\n  start_pfn:           0\n";

    #[test]
    fn reads_proc() {
        let memory = Memory::parse(
            MEMINFO,
            BUDDYINFO,
            ZONEINFO,
            "console=ttyS0 cma=64M\n",
            4096,
        );
        assert_eq!(memory.available, 1_790_000 * 1024);
        assert_eq!(memory.cma_total, 64 << 20);
        assert_eq!(memory.cma_free, 60 << 20);
        assert_eq!(memory.end, (4096 + 520_157) * 4096);
        assert_eq!(memory.zones.len(), 3);
        assert_eq!(memory.parameter("cma="), Some("cma=64M"));
        assert_eq!(memory.parameter("intel_iommu="), None);
    }

    #[test]
    fn counts_blocks_with_their_parts() {
        let memory = Memory::parse("", BUDDYINFO, "", "", 4096);
        // Of order 9: 1 + 2 * 2 in DMA, 400 * 2 in DMA32, 3 on node 1.
        assert_eq!(memory.free_blocks(9, None), 5 + 800 + 3);
        assert_eq!(memory.free_blocks(9, Some(1)), 3);
        assert_eq!(memory.free_blocks(10, Some(1)), 0);
        assert!(memory.has_node(1) && !memory.has_node(2));
    }

    #[test]
    fn nothing_readable_gives_zeroes() {
        assert_eq!(
            Memory::parse("", "nonsense", "spanned", "", 4096),
            Memory::default()
        );
    }

    /// The formats are the running kernel's, not only those of the samples.
    #[test]
    fn reads_the_running_kernel() {
        let memory = Memory::read(4096);
        assert!(memory.available > 0, "{memory:?}");
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What this process may lock, has locked and has mapped, as `/proc` tells it.

use std::fs;
use std::ops::Range;

/// What is known; nothing where a file could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// RLIMIT_MEMLOCK in bytes, if there is one.
    pub(crate) memlock: Option<u64>,
    /// Bytes that are locked.
    pub(crate) locked: u64,
    /// Whether it has CAP_IPC_LOCK, here or in a name space of users.
    pub(crate) ipc_lock: bool,
    /// What is mapped, by address.
    pub(crate) areas: Vec<Area>,
}

/// One mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) range: Range<u64>,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) shared: bool,
    /// Of registers, or memory that belongs to a device.
    pub(crate) device: bool,
    /// The file, or what the kernel calls it.
    pub(crate) name: String,
}

/// The capability's bit.
const CAP_IPC_LOCK: u32 = 14;

impl Process {
    /// Asks the running kernel about this process.
    pub(crate) fn read() -> Self {
        let file = |name: &str| fs::read_to_string(name).unwrap_or_default();
        Self::parse(
            &file("/proc/self/limits"),
            &file("/proc/self/status"),
            &file("/proc/self/smaps"),
        )
    }

    /// Reads the texts of the files; apart, so that it can be tested.
    pub(crate) fn parse(limits: &str, status: &str, smaps: &str) -> Self {
        let limit = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max locked memory"))
            .and_then(|rest| rest.split_whitespace().next());
        let field = |name: &str| {
            let mut lines = status.lines();
            lines
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .and_then(|rest| rest.split_whitespace().next())
        };
        let locked = field("VmLck").and_then(|kib| kib.parse::<u64>().ok());
        let able = field("CapEff").and_then(|bits| u64::from_str_radix(bits, 16).ok());
        Self {
            // "unlimited" is not a number.
            memlock: limit.and_then(|bytes| bytes.parse().ok()),
            locked: locked.unwrap_or(0).saturating_mul(1024),
            ipc_lock: able.is_some_and(|bits| bits & (1 << CAP_IPC_LOCK) != 0),
            areas: areas(smaps),
        }
    }

    /// Gives the first address of `range` at which nothing is mapped.
    pub(crate) fn gap(&self, range: &Range<u64>) -> Option<u64> {
        let mut at = range.start;
        for area in self.overlapping(range) {
            if area.range.start > at {
                break;
            }
            at = area.range.end;
        }
        (at < range.end).then_some(at)
    }

    /// Gives the mappings that have a part of `range`.
    pub(crate) fn overlapping<'a>(
        &'a self,
        range: &'a Range<u64>,
    ) -> impl Iterator<Item = &'a Area> {
        let inside = |area: &&Area| area.range.start < range.end && area.range.end > range.start;
        self.areas.iter().filter(inside)
    }
}

/// Reads the first line of each mapping and its line of flags.
fn areas(smaps: &str) -> Vec<Area> {
    let mut areas: Vec<Area> = Vec::new();
    for line in smaps.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            if let Some(last) = areas.last_mut() {
                last.device = flags.split_whitespace().any(|f| f == "io" || f == "pf");
            }
        } else if let Some(area) = area(line) {
            areas.push(area);
        }
    }
    areas
}

/// Reads `7f1c4000-7f1c8000 rw-p 00000000 fe:00 1234   /a/file`.
fn area(line: &str) -> Option<Area> {
    let (start, rest) = line.split_once('-')?;
    let mut words = rest.splitn(6, ' ');
    let end = words.next()?;
    let may = words.next()?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    Some(Area {
        range: address(start)?..address(end)?,
        readable: may.starts_with('r'),
        writable: may.get(1..2) == Some("w"),
        shared: may.ends_with('s'),
        device: false,
        name: words.nth(3).unwrap_or_default().trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str =
        "Limit                     Soft Limit           Hard Limit           Units     \n\
        Max locked memory         8388608              16777216             bytes     \n";
    const STATUS: &str = "Name:\tcat\nVmLck:\t    6144 kB\nCapEff:\t0000000000004000\n";
    const SMAPS: &str = "\
10000-20000 r--p 00000000 fe:00 1234                             /a/file (deleted)\n\
Size:                 64 kB\n\
VmFlags: rd mr mw me \n\
20000-30000 rw-s 00000000 00:01 7                                \n\
VmFlags: rd wr sh mr mw me ms \n\
40000-50000 rw-s f0000000 00:06 9                                /dev/mem\n\
VmFlags: rd wr sh mr mw me ms io pf dd \n";

    #[test]
    fn reads_proc() {
        let process = Process::parse(LIMITS, STATUS, SMAPS);
        assert_eq!(process.memlock, Some(8 << 20));
        assert_eq!(process.locked, 6 << 20);
        assert!(process.ipc_lock);
        let [file, shared, device] = &process.areas[..] else {
            panic!("{:?}", process.areas);
        };
        assert_eq!(file.range, 0x10000..0x20000);
        assert_eq!(file.name, "/a/file (deleted)");
        assert!(file.readable && !file.writable && !file.shared && !file.device);
        assert!(shared.writable && shared.shared && shared.name.is_empty());
        assert!(device.device);
    }

    #[test]
    fn finds_gaps() {
        let process = Process::parse("", "", SMAPS);
        for (range, gap) in [
            (0x10000..0x30000, None),
            (0x18000..0x28000, None),
            (0x40000..0x50000, None),
            (0x28000..0x48000, Some(0x30000)),
            (0x0..0x18000, Some(0x0)),
            (0x48000..0x50001, Some(0x50000)),
            (0x60000..0x70000, Some(0x60000)),
        ] {
            assert_eq!(process.gap(&range), gap, "{range:x?}");
        }
    }

    #[test]
    fn nothing_readable_gives_nothing() {
        assert_eq!(Process::parse("", "x", "nonsense - x"), Process::default());
        let unlimited = "Max locked memory         unlimited            unlimited            bytes";
        assert_eq!(Process::parse(unlimited, "", "").memlock, None);
    }

    /// The formats are the running kernel's, not only those of the samples.
    #[test]
    fn reads_the_running_kernel() {
        let process = Process::read();
        let here = u64::try_from((&raw const process).addr()).expect("64 bits");
        assert_eq!(process.gap(&(here..here + 1)), None);
        let stack = here..here + 1;
        let area = process.overlapping(&stack).next().expect("there is no gap");
        assert!(area.readable && area.writable && !area.shared && !area.device);
        assert!(process.gap(&(0..1)).is_some());
    }
}

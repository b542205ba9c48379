// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Memory that transfers use, whoever allocated it.

use std::fs;

use userdma::Buffer;
use userdma::Mapping;
use userdma::Registered;

/// A buffer, and the memory of it.
pub(crate) enum Memory {
    /// The driver's.
    Allocated(Buffer, Mapping),
    /// This program's.
    Registered(Registered<userdma::Memory>),
}

impl Memory {
    pub(crate) fn buffer(&self) -> &Buffer {
        match self {
            Self::Allocated(buffer, _) => buffer,
            Self::Registered(registered) => registered,
        }
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        match self {
            Self::Allocated(_, mapping) => mapping,
            Self::Registered(registered) => registered.memory(),
        }
    }

    pub(crate) fn mapping_mut(&mut self) -> &mut Mapping {
        match self {
            Self::Allocated(_, mapping) => mapping,
            Self::Registered(registered) => registered.memory_mut(),
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Allocated(buffer, _) => buffer.kind().to_string(),
            Self::Registered(_) => "registered".to_owned(),
        }
    }
}

/// Gives the bytes that this process has locked: VmLck of its status.
pub(crate) fn locked() -> Option<u64> {
    read_locked(&fs::read_to_string("/proc/self/status").ok()?)
}

fn read_locked(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    let rest = lines.find_map(|line| line.strip_prefix("VmLck:"))?;
    let kib: u64 = rest.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locked_memory_is_read() {
        let text = "VmPeak:\t    8192 kB\nVmLck:\t   65536 kB\nVmPin:\t       0 kB\n";
        assert_eq!(read_locked(text), Some(64 << 20));
        assert_eq!(read_locked("VmPin:\t       0 kB\n"), None);
        // As this kernel writes it.
        assert!(locked().is_some());
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Memory that transfers use, whoever allocated it.

use std::fs;

use userdma::Access;
use userdma::Buffer;
use userdma::Device;
use userdma::Mapping;
use userdma::MemoryBuilder;
use userdma::Pages;
use userdma::Registered;
use userdma::Result;

use crate::cli::AnyKind;
use crate::cli::Kind;
use crate::cli::Own;

/// A buffer, and the memory of it.
pub(crate) enum Memory {
    /// The driver's.
    Allocated(Buffer, Mapping),
    /// This program's.
    Registered(Registered<userdma::Memory>),
}

impl Memory {
    /// Gets memory that the card can reach, in huge pages as far as there are some.
    pub(crate) fn new(device: &Device, kind: AnyKind, length: u64) -> Result<Self> {
        let buffer = match kind {
            AnyKind::Driver(Kind::Coherent) => device.coherent(length).allocate()?,
            AnyKind::Driver(Kind::Huge) => device.huge(length).fallback(true).allocate()?,
            AnyKind::Own(kind) => {
                let memory = own(kind, length).allocate()?;
                return Ok(Self::Registered(device.register(memory).pin()?));
            }
        };
        let mapping = map(&buffer)?;
        Ok(Self::Allocated(buffer, mapping))
    }

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

/// Maps all of a buffer, to be written if its device was opened for that.
pub(crate) fn map(buffer: &Buffer) -> Result<Mapping> {
    match buffer.device().access() {
        Access::ReadOnly => buffer.mapping().read_only().map(),
        _ => buffer.map(),
    }
}

/// Begins to allocate memory of the program's own.
pub(crate) fn own(kind: Own, length: u64) -> MemoryBuilder {
    let (anonymous, memfd) = (userdma::Memory::anonymous, userdma::Memory::memfd);
    let (begin, pages): (fn(u64) -> MemoryBuilder, _) = match kind {
        Own::Anonymous => (anonymous, Pages::Small),
        Own::Thp => (anonymous, Pages::Transparent),
        Own::Hugetlb => (anonymous, Pages::Huge2M),
        Own::Memfd => (memfd, Pages::Small),
        Own::MemfdHugetlb => (memfd, Pages::Huge2M),
        Own::Gigantic => (memfd, Pages::Huge1G),
    };
    begin(length).pages(pages)
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

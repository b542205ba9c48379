// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which memory is at which bus address.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::Mutex;

use vm_memory::FileOffset;
use vm_memory::MmapRegion;
use vm_memory::VolatileMemory;
use vm_memory::VolatileSlice;

use super::Access;
use super::Refusal;
use crate::lock;
use crate::log;

/// Memory that the client shares, from some byte on.
#[derive(Clone, Debug)]
pub(super) struct Backing {
    region: Arc<MmapRegion>,
    offset: u64,
}

#[derive(Clone, Debug)]
struct Mapping {
    /// The last bus address that belongs to it.
    last: u64,
    readable: bool,
    writable: bool,
    /// None: something that is no memory, or not shared.
    backing: Option<Backing>,
}

impl Mapping {
    /// What remains when the first `bytes` are taken away.
    fn beyond(&self, bytes: u64) -> Self {
        let mut rest = self.clone();
        if let Some(backing) = &mut rest.backing {
            backing.offset += bytes;
        }
        rest
    }
}

/// The bus addresses that are given to the card, by the first of each piece.
/// Pieces do not overlap.
#[derive(Debug, Default)]
pub(super) struct Map(BTreeMap<u64, Mapping>);

impl Map {
    pub(super) fn insert(
        &mut self,
        address: u64,
        size: u64,
        (readable, writable): (bool, bool),
        backing: Option<Backing>,
    ) {
        let Some(length) = size.checked_sub(1) else {
            return;
        };
        self.remove(address, size);
        let mapping = Mapping {
            last: address.saturating_add(length),
            readable,
            writable,
            backing,
        };
        self.0.insert(address, mapping);
    }

    /// Takes addresses away, also from pieces that have more. There may be none;
    /// QEMU takes away more than it gave.
    pub(super) fn remove(&mut self, address: u64, size: u64) {
        let Some(length) = size.checked_sub(1) else {
            return;
        };
        let last = address.saturating_add(length);
        let before = self.0.range(..address).next_back();
        let before = before.filter(|(_, piece)| piece.last >= address);
        let first = before.map_or(address, |(first, _)| *first);
        let hit: Vec<u64> = self
            .0
            .range(first..=last)
            .map(|(first, _)| *first)
            .collect();
        for first in hit {
            let Some(mut piece) = self.0.remove(&first) else {
                continue;
            };
            if piece.last > last {
                self.0.insert(last + 1, piece.beyond(last + 1 - first));
            }
            if first < address {
                piece.last = address - 1;
                self.0.insert(first, piece);
            }
        }
    }

    /// The memory at a bus address, up to `length` bytes of it, not zero.
    pub(super) fn slice(
        &self,
        address: u64,
        length: u64,
        access: Access,
    ) -> Result<VolatileSlice<'_>, Refusal> {
        let piece = self.0.range(..=address).next_back();
        let piece = piece.filter(|(_, piece)| piece.last >= address);
        let (first, piece) = piece.ok_or(Refusal::Unmapped(address))?;
        let given = match access {
            Access::Read => piece.readable,
            Access::Write => piece.writable,
        };
        if !given {
            return Err(Refusal::Direction(address));
        }
        let refusal = Refusal::NotMemory(address);
        let backing = piece.backing.as_ref().ok_or(refusal)?;
        // One less: a piece may have all 2^64 addresses.
        let beyond = (piece.last - address).min(length - 1);
        let offset = backing.offset + (address - first);
        // CAST: usize has 64 bits; vm-memory supports nothing else.
        let slice = backing
            .region
            .get_slice(offset as usize, beyond as usize + 1);
        slice.map_err(|_| refusal)
    }

    #[cfg(test)]
    pub(super) fn pieces(&self) -> Vec<(u64, u64)> {
        let pieces = self.0.iter();
        pieces.map(|(first, piece)| (*first, piece.last)).collect()
    }
}

/// The client's files of memory. Each is mapped once, however many pieces of it
/// are given to the card: a process has no room for one mapping per page.
#[derive(Debug, Default)]
pub(super) struct Files(Mutex<HashMap<(u64, u64), Arc<MmapRegion>>>);

impl Files {
    /// `size` bytes of a file from `offset` on. None, with a line in the log, if it
    /// cannot be mapped or has not so many.
    pub(super) fn backing(&self, file: File, offset: u64, size: u64) -> Option<Backing> {
        match self.region(file, offset, size) {
            Ok(region) => Some(Backing { region, offset }),
            Err(error) => {
                log(format_args!(
                    "memory that the client gave cannot be used: {error:#}"
                ));
                None
            }
        }
    }

    fn region(&self, file: File, offset: u64, size: u64) -> anyhow::Result<Arc<MmapRegion>> {
        let metadata = file.metadata()?;
        let end = offset.checked_add(size);
        let end = end.filter(|end| *end <= metadata.len());
        anyhow::ensure!(
            end.is_some(),
            "{size} bytes at {offset} of {}",
            metadata.len()
        );
        let mut regions = lock(&self.0);
        let name = (metadata.dev(), metadata.ino());
        if let Some(region) = regions.get(&name) {
            // It may have grown since.
            if end.is_some_and(|end| end <= region.size() as u64) {
                return Ok(region.clone());
            }
        }
        // CAST: usize has 64 bits; vm-memory supports nothing else.
        let region = MmapRegion::from_file(FileOffset::new(file, 0), metadata.len() as usize)?;
        let region = Arc::new(region);
        regions.insert(name, region.clone());
        Ok(region)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        lock(&self.0).len()
    }
}

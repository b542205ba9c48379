// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The guest's memory as the card sees it: bus addresses that the guest, or its
//! IOMMU, gives to the card; and memory of the card's own.
//!
//! One lock guards the bus. It is held for reading while a block is copied, and
//! for writing while bus addresses are taken away or the bus master bit changes:
//! when the client has its answer to that, no copy uses them any more.

mod map;
mod place;

use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::RwLockWriteGuard;

use vm_memory::Bytes;
use vm_memory::VolatileSlice;

use map::Files;
use map::Map;

pub use place::DeviceMemory;
pub use place::Place;
pub use place::Refusal;

/// The most bytes that one call of [`Host::copy`](crate::Host::copy) moves.
pub const BLOCK: u64 = 256 << 10;

/// What an access is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

#[derive(Debug, Default)]
struct Bus {
    /// Whether a client is there.
    attached: bool,
    master: bool,
    map: Map,
}

/// The guest's memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    bus: RwLock<Bus>,
    files: Files,
}

impl Memory {
    pub(crate) fn new() -> Self {
        let memory = Self::default();
        memory.change().attached = true;
        memory
    }

    fn look(&self) -> RwLockReadGuard<'_, Bus> {
        self.bus.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for copies that are under way.
    fn change(&self) -> RwLockWriteGuard<'_, Bus> {
        self.bus.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives `size` bytes at a bus address to the card: those of `file` from
    /// `offset` on. What was there before is no more.
    pub(crate) fn map(
        &self,
        address: u64,
        size: u64,
        (readable, writable): (bool, bool),
        file: Option<File>,
        offset: u64,
    ) {
        let backing = file.and_then(|file| self.files.backing(file, offset, size));
        let map = &mut self.change().map;
        map.insert(address, size, (readable, writable), backing);
    }

    /// Takes bus addresses away. When it returns no copy uses them.
    pub(crate) fn unmap(&self, address: u64, size: u64) {
        self.change().map.remove(address, size);
    }

    pub(crate) fn unmap_all(&self) {
        self.change().map = Map::default();
    }

    /// When it returns, nothing is moved unless `master`.
    pub(crate) fn set_master(&self, master: bool) {
        self.change().master = master;
    }

    pub(crate) fn is_master(&self) -> bool {
        let bus = self.look();
        bus.attached && bus.master
    }

    /// The client is gone.
    pub(crate) fn detach(&self) {
        *self.change() = Bus::default();
    }

    /// See [`Host::copy`](crate::Host::copy).
    pub(crate) fn copy(&self, from: Place<'_>, to: Place<'_>, length: u64) -> Result<u64, Refusal> {
        let bus = self.look();
        let length = length.min(BLOCK);
        let mut done = 0;
        while done < length {
            match bus.step(from.beyond(done)?, to.beyond(done)?, length - done) {
                Ok(bytes) => done += bytes,
                // The next call finds it at once.
                Err(_) if done > 0 => break,
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(done)
    }

    pub(crate) fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Refusal> {
        let mut done = 0;
        while done < bytes.len() {
            let bus = self.look();
            let place = Place::Host(address).beyond(done as u64)?;
            let left = &mut bytes[done..];
            let most = BLOCK.min(left.len() as u64);
            done += bus.slice(place, most, Access::Read)?.copy_to(left);
        }
        Ok(())
    }

    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let mut done = 0;
        while done < bytes.len() {
            let bus = self.look();
            let place = Place::Host(address).beyond(done as u64)?;
            let left = &bytes[done..];
            let most = BLOCK.min(left.len() as u64);
            let slice = bus.slice(place, most, Access::Write)?;
            slice.copy_from(left);
            done += slice.len();
        }
        Ok(())
    }

    pub(crate) fn load(&self, address: u64) -> Result<u64, Refusal> {
        let bus = self.look();
        let slice = bus.slice(Place::Host(address), 8, Access::Read)?;
        match slice.load::<u64>(0, Ordering::Acquire) {
            Ok(word) => Ok(u64::from_le(word)),
            Err(_) => Err(Refusal::Unaligned(address)),
        }
    }

    pub(crate) fn store(&self, address: u64, value: u64) -> Result<(), Refusal> {
        let bus = self.look();
        let slice = bus.slice(Place::Host(address), 8, Access::Write)?;
        let stored = slice.store(value.to_le(), 0, Ordering::Release);
        stored.map_err(|_| Refusal::Unaligned(address))
    }
}

impl Bus {
    /// What is at a place, up to `length` bytes, not zero, and the end of what is
    /// in one piece there.
    fn slice<'a>(
        &'a self,
        place: Place<'a>,
        length: u64,
        access: Access,
    ) -> Result<VolatileSlice<'a>, Refusal> {
        match place {
            Place::Card(memory, offset) => memory.slice(offset, length),
            Place::Host(_) if !self.attached => Err(Refusal::Gone),
            Place::Host(_) if !self.master => Err(Refusal::NotMaster),
            Place::Host(address) => self.map.slice(address, length, access),
        }
    }

    /// Copies up to `length` bytes, at least one.
    fn step(&self, from: Place<'_>, to: Place<'_>, length: u64) -> Result<u64, Refusal> {
        let from = self.slice(from, length, Access::Read)?;
        let to = self.slice(to, length, Access::Write)?;
        let bytes = from.len().min(to.len());
        // As many as both have; they may overlap.
        from.copy_to_volatile_slice(to);
        Ok(bytes as u64)
    }
}

#[cfg(test)]
mod tests;

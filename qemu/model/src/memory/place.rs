// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where bytes may come from and go to, and why they may not.

use std::fmt;

use thiserror::Error;
use vm_memory::MmapRegion;
use vm_memory::VolatileMemory;
use vm_memory::VolatileSlice;

/// Why something was not read or written.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing is at this bus address: the guest has no memory there, or its IOMMU
    /// does not give it to the card.
    #[error("nothing is given to the card at bus address {0:#x}")]
    Unmapped(u64),
    /// What is at this bus address may only be read, or only be written.
    #[error("what is at bus address {0:#x} is not given for that")]
    Direction(u64),
    /// There is something, but no memory that the client shares with the model.
    #[error("what is at bus address {0:#x} is no memory, or not shared (QEMU: share=on)")]
    NotMemory(u64),
    /// A word that is not aligned to its size.
    #[error("the word at bus address {0:#x} is not aligned")]
    Unaligned(u64),
    /// The bus master bit in the command register is 0.
    #[error("the bus master bit is 0")]
    NotMaster,
    /// An offset outside the card's own memory.
    #[error("offset {0:#x} is outside the card's memory")]
    Outside(u64),
    /// The client is gone, and its memory with it.
    #[error("there is no client")]
    Gone,
}

/// Memory of the card's own, zeroed.
#[derive(Debug)]
pub struct DeviceMemory(MmapRegion);

impl DeviceMemory {
    /// Memory of `size` bytes.
    ///
    /// # Errors
    ///
    /// There is not so much of it, or it is none at all.
    pub fn new(size: usize) -> anyhow::Result<Self> {
        Ok(Self(MmapRegion::new(size)?))
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.0.size() as u64
    }

    /// Reads from `offset` on, in bytes.
    ///
    /// # Errors
    ///
    /// `Outside`; then nothing is read.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Refusal> {
        self.slice(offset, bytes.len() as u64)?.copy_to(bytes);
        Ok(())
    }

    /// Writes from `offset` on, in bytes.
    ///
    /// # Errors
    ///
    /// `Outside`; then nothing is written.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.slice(offset, bytes.len() as u64)?.copy_from(bytes);
        Ok(())
    }

    pub(super) fn slice(&self, offset: u64, length: u64) -> Result<VolatileSlice<'_>, Refusal> {
        // CAST: usize has 64 bits; vm-memory supports nothing else.
        let slice = self.0.get_slice(offset as usize, length as usize);
        slice.map_err(|_| Refusal::Outside(offset))
    }
}

/// Where something is copied from or to.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// A bus address.
    Host(u64),
    /// An offset in the card's memory, in bytes.
    Card(&'a DeviceMemory, u64),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(address) => write!(formatter, "bus address {address:#x}"),
            Self::Card(_, offset) => write!(formatter, "the card's {offset:#x}"),
        }
    }
}

impl Place<'_> {
    /// The place so many bytes further on.
    pub(super) fn beyond(self, bytes: u64) -> Result<Self, Refusal> {
        match self {
            Self::Host(address) => match address.checked_add(bytes) {
                Some(address) => Ok(Self::Host(address)),
                None => Err(Refusal::Unmapped(u64::MAX)),
            },
            Self::Card(memory, offset) => match offset.checked_add(bytes) {
                Some(offset) => Ok(Self::Card(memory, offset)),
                None => Err(Refusal::Outside(u64::MAX)),
            },
        }
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A machine with a card in it.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use rustix::event::eventfd;
use rustix::event::poll;
use rustix::event::EventfdFlags;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::fs::memfd_create;
use rustix::fs::MemfdFlags;
use vfio_bindings::bindings::vfio;
use vfio_user::Client;
use vm_memory::Bytes;
use vm_memory::FileOffset;
use vm_memory::MmapRegion;
use vm_memory::VolatileMemory;

use super::LIMIT;

const CONFIG: u32 = vfio::VFIO_PCI_CONFIG_REGION_INDEX;

/// An interrupt's eventfd.
#[derive(Debug)]
pub struct Event(File);

impl Event {
    /// How many interrupts there were since the last call; none is 0.
    ///
    /// # Errors
    ///
    /// The eventfd cannot be read.
    pub fn take(&self) -> Result<u64> {
        let mut bytes = [0; 8];
        match (&self.0).read(&mut bytes) {
            Ok(8) => Ok(u64::from_ne_bytes(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(0),
            other => bail!("reading an eventfd: {other:?}"),
        }
    }

    /// Waits for interrupts, and returns how many there were.
    ///
    /// # Errors
    ///
    /// None came within [`LIMIT`].
    pub fn wait(&self) -> Result<u64> {
        self.wait_for(LIMIT)?.context("no interrupt came")
    }

    /// Waits for interrupts so long, and returns how many there were, if any.
    ///
    /// # Errors
    ///
    /// The eventfd cannot be waited for.
    pub fn wait_for(&self, time: Duration) -> Result<Option<u64>> {
        let time = Timespec::try_from(time)?;
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&time))? {
            0 => Ok(None),
            _ => self.take().map(Some),
        }
    }
}

/// A machine with the card in it.
pub struct Guest {
    client: Client,
    memory: MmapRegion,
    file: File,
}

impl fmt::Debug for Guest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Guest").finish_non_exhaustive()
    }
}

impl Guest {
    pub(super) fn new(socket: &Path, size: usize) -> Result<Self> {
        let file = File::from(memfd_create("guest", MemfdFlags::CLOEXEC)?);
        file.set_len(size as u64)?;
        let memory = MmapRegion::from_file(FileOffset::new(file.try_clone()?, 0), size)?;
        let client = Client::new(socket)?;
        Ok(Self {
            client,
            memory,
            file,
        })
    }

    /// Gives `size` bytes of the memory, from `offset` on, to the card at a bus
    /// address.
    ///
    /// # Errors
    ///
    /// The model does not answer.
    pub fn map(&mut self, address: u64, offset: u64, size: u64) -> Result<()> {
        let file = self.file.as_raw_fd();
        Ok(self.client.dma_map(offset, address, size, file)?)
    }

    /// Gives all of the memory to the card, at its own offsets.
    ///
    /// # Errors
    ///
    /// The model does not answer.
    pub fn map_all(&mut self) -> Result<()> {
        self.map(0, 0, self.memory.size() as u64)
    }

    /// Takes bus addresses away. When it returns the card uses them no more.
    ///
    /// # Errors
    ///
    /// The model does not answer.
    pub fn unmap(&mut self, address: u64, size: u64) -> Result<()> {
        Ok(self.client.dma_unmap(address, size)?)
    }

    /// Reads a register of 32 bits.
    ///
    /// # Errors
    ///
    /// The model does not answer.
    pub fn read32(&mut self, bar: u8, offset: u64) -> Result<u32> {
        let mut bytes = [0; 4];
        self.read(bar, offset, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Writes a register of 32 bits.
    ///
    /// # Errors
    ///
    /// The model does not answer.
    pub fn write32(&mut self, bar: u8, offset: u64, value: u32) -> Result<()> {
        self.write(bar, offset, &value.to_le_bytes())
    }

    /// Reads any bytes of a BAR in one access.
    ///
    /// # Errors
    ///
    /// The model does not answer.
    pub fn read(&mut self, bar: u8, offset: u64, bytes: &mut [u8]) -> Result<()> {
        Ok(self.client.region_read(bar.into(), offset, bytes)?)
    }

    /// Writes any bytes of a BAR in one access.
    ///
    /// # Errors
    ///
    /// The model does not answer.
    pub fn write(&mut self, bar: u8, offset: u64, bytes: &[u8]) -> Result<()> {
        Ok(self.client.region_write(bar.into(), offset, bytes)?)
    }

    /// Reads the configuration space.
    ///
    /// # Errors
    ///
    /// The model does not answer.
    pub fn config(&mut self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        Ok(self.client.region_read(CONFIG, offset, bytes)?)
    }

    /// Writes the configuration space.
    ///
    /// # Errors
    ///
    /// The model does not answer.
    pub fn set_config(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        Ok(self.client.region_write(CONFIG, offset, bytes)?)
    }

    /// Sets or clears the bus master bit (and memory space) of the command register.
    ///
    /// # Errors
    ///
    /// The model does not answer.
    pub fn set_master(&mut self, master: bool) -> Result<()> {
        self.set_config(4, &[if master { 6 } else { 2 }, 0])
    }

    /// How many vectors the card offers.
    ///
    /// # Errors
    ///
    /// The model does not answer.
    pub fn offered_vectors(&mut self) -> Result<u32> {
        let info = self.client.get_irq_info(vfio::VFIO_PCI_MSI_IRQ_INDEX)?;
        Ok(info.count)
    }

    /// Enables so many vectors, and no others.
    ///
    /// # Errors
    ///
    /// The model does not answer.
    pub fn enable_vectors(&mut self, count: u32) -> Result<Vec<Event>> {
        let trigger = vfio::VFIO_IRQ_SET_ACTION_TRIGGER;
        let none = trigger | vfio::VFIO_IRQ_SET_DATA_NONE;
        self.set_irqs(none, 0, &[])?;
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        let events = (0..count).map(|_| Ok(Event(File::from(eventfd(0, flags)?))));
        let events = events.collect::<Result<Vec<_>>>()?;
        let files: Vec<_> = events.iter().map(|event| event.0.as_raw_fd()).collect();
        if count != 0 {
            self.set_irqs(trigger | vfio::VFIO_IRQ_SET_DATA_EVENTFD, count, &files)?;
        }
        Ok(events)
    }

    fn set_irqs(&mut self, flags: u32, count: u32, files: &[i32]) -> Result<()> {
        let index = vfio::VFIO_PCI_MSI_IRQ_INDEX;
        Ok(self.client.set_irqs(index, flags, 0, count, files)?)
    }

    /// Resets the card, as QEMU does when the machine is reset.
    ///
    /// # Errors
    ///
    /// The model does not answer.
    pub fn reset(&mut self) -> Result<()> {
        Ok(self.client.reset()?)
    }

    /// Bytes of the memory.
    ///
    /// # Errors
    ///
    /// Outside of it.
    pub fn bytes(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let memory = self.memory.as_volatile_slice();
        memory.read_slice(&mut bytes, offset as usize)?;
        Ok(bytes)
    }

    /// Writes bytes of the memory.
    ///
    /// # Errors
    ///
    /// Outside of it.
    pub fn put(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let memory = self.memory.as_volatile_slice();
        Ok(memory.write_slice(bytes, offset as usize)?)
    }

    /// Loads an aligned word of 8 bytes of the memory; what is read later is not
    /// older (acquire).
    ///
    /// # Errors
    ///
    /// Outside of it, or not aligned.
    pub fn load(&self, offset: u64) -> Result<u64> {
        let memory = self.memory.as_volatile_slice();
        Ok(u64::from_le(
            memory.load(offset as usize, Ordering::Acquire)?,
        ))
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a client of vfio-user asks for, translated for a model.

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::sync::Mutex;

use vfio_bindings::bindings::vfio;
use vfio_bindings::bindings::vfio::vfio_region_info;
use vfio_user::DmaMapFlags;
use vfio_user::DmaUnmapFlags;
use vfio_user::IrqInfo;
use vfio_user::ServerBackend;
use vfio_user::ServerRegion;

use crate::config;
use crate::config::Config;
use crate::host::Host;
use crate::identity::Bar;
use crate::identity::Identity;
use crate::lock;
use crate::report::Report;
use crate::Model;

/// A card, from the moment that power is applied.
#[derive(Debug)]
pub(crate) struct Session<M> {
    pub(crate) model: M,
    host: Host,
    identity: Identity,
    config: Mutex<Config>,
    /// Whether it has had a client.
    used: AtomicBool,
}

impl<M: Model> Session<M> {
    pub(crate) fn new(
        identity: &Identity,
        report: &Report,
        make: impl Fn(Host) -> anyhow::Result<M>,
    ) -> anyhow::Result<Self> {
        let host = Host::new(identity.vectors, report.clone());
        Ok(Self {
            model: make(host.clone())?,
            host,
            identity: identity.clone(),
            config: Mutex::new(Config::new(identity)),
            used: AtomicBool::new(false),
        })
    }

    /// Says that it has a client from now on; and whether it had one before.
    pub(crate) fn use_it(&self) -> bool {
        self.used.swap(true, Ordering::Relaxed)
    }

    /// A reset of the function.
    pub(crate) fn reset(&self) {
        // First: what the card gives up must not fail for want of bus mastering.
        self.model.reset();
        lock(&self.config).reset();
        self.host.memory().set_master(false);
    }

    /// The client is gone. What the card counted can still be asked for.
    pub(crate) fn end(&self) {
        self.model.reset();
        self.host.memory().detach();
        self.host.interrupts().disable();
    }

    fn write_config(&self, offset: u64, data: &[u8]) {
        let mut config = lock(&self.config);
        let reset = config.write(offset, data);
        let master = config.is_bus_master();
        drop(config);
        if reset {
            self.reset();
        } else if master != self.host.is_bus_master() {
            self.host.memory().set_master(master);
        }
    }

    /// The BAR of an access that a model may have. What is none is a violation.
    fn access(&self, region: u32, offset: u64, length: usize) -> Option<u8> {
        // There are other regions, but no card of ours has them.
        let index = u8::try_from(region).ok().filter(|index| *index < 6)?;
        let bar = self.identity.bar(index).copied();
        let bar = bar.unwrap_or(Bar::new(index, 0));
        let end = offset.checked_add(length as u64);
        let inside = end.is_some_and(|end| end <= bar.size);
        let whole = match bar.only {
            Some(only) => length == usize::from(only) && offset % u64::from(only) == 0,
            None => matches!(length, 1 | 2 | 4 | 8),
        };
        if !inside || !whole {
            let what = if inside {
                "not a whole register"
            } else {
                "outside"
            };
            let text = format!("{length} bytes at {offset:#x} of BAR {index}: {what}");
            self.host.violation("access", text);
            return None;
        }
        Some(index)
    }
}

/// The side of a session that faces the client.
#[derive(Debug)]
pub(crate) struct Backend<M>(pub(crate) Arc<Session<M>>);

impl<M: Model> ServerBackend for Backend<M> {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        data.fill(0);
        let session = &self.0;
        if region == vfio::VFIO_PCI_CONFIG_REGION_INDEX {
            lock(&session.config).read(offset, data);
        } else if let Some(bar) = session.access(region, offset, data.len()) {
            let value = session.model.read(bar, offset, data.len());
            data.copy_from_slice(&value.to_le_bytes()[..data.len()]);
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        let session = &self.0;
        if region == vfio::VFIO_PCI_CONFIG_REGION_INDEX {
            session.write_config(offset, data);
        } else if let Some(bar) = session.access(region, offset, data.len()) {
            let mut value = [0; 8];
            value[..data.len()].copy_from_slice(data);
            let value = u64::from_le_bytes(value);
            session.model.write(bar, offset, data.len(), value);
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        fd: Option<File>,
    ) -> io::Result<()> {
        // The client takes an error for success. What could not be mapped is found,
        // and reported, when the card wants it.
        let given = (
            flags.contains(DmaMapFlags::READ),
            flags.contains(DmaMapFlags::WRITE),
        );
        self.0.host.memory().map(address, size, given, fd, offset);
        Ok(())
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        match flags.contains(DmaUnmapFlags::UNMAP_ALL) {
            true => self.0.host.memory().unmap_all(),
            false => self.0.host.memory().unmap(address, size),
        }
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        self.0.reset();
        Ok(())
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        fds: Vec<File>,
    ) -> io::Result<()> {
        match index {
            vfio::VFIO_PCI_MSI_IRQ_INDEX => {
                let interrupts = self.0.host.interrupts();
                interrupts.set(flags, start, count, fds)
            }
            // No other is ever raised.
            _ => Ok(()),
        }
    }
}

/// What the client is told about the regions of a card.
pub(crate) fn regions(identity: &Identity) -> Vec<ServerRegion> {
    let region = |index: u32| {
        let size = match u8::try_from(index) {
            _ if index == vfio::VFIO_PCI_CONFIG_REGION_INDEX => config::SIZE as u64,
            Ok(bar) => identity.bar_size(bar),
            Err(_) => 0,
        };
        let flags = match size {
            0 => 0,
            _ => vfio::VFIO_REGION_INFO_FLAG_READ | vfio::VFIO_REGION_INFO_FLAG_WRITE,
        };
        ServerRegion {
            region_info: vfio_region_info {
                argsz: size_of::<vfio_region_info>() as u32,
                flags,
                index,
                size,
                ..Default::default()
            },
            sparse_areas: Vec::new(),
            mmap_fd: None,
        }
    };
    (0..vfio::VFIO_PCI_NUM_REGIONS).map(region).collect()
}

/// What the client is told about the interrupts of a card.
pub(crate) fn interrupts(identity: &Identity) -> Vec<IrqInfo> {
    let interrupt = |index: u32| IrqInfo {
        index,
        flags: vfio::VFIO_IRQ_INFO_EVENTFD,
        count: match index {
            vfio::VFIO_PCI_MSI_IRQ_INDEX => identity.vectors.into(),
            // Tells of errors of the bus, and never comes; QEMU warns if it is missing.
            vfio::VFIO_PCI_ERR_IRQ_INDEX => 1,
            _ => 0,
        },
    };
    (0..vfio::VFIO_PCI_NUM_IRQS).map(interrupt).collect()
}

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The peer: VFIO, type 1. As much of it as makes a card reach memory.

use std::ffi::CString;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::ioctl::opcode;
use vfio_bindings::bindings::vfio as sys;

use crate::card::ioctl;
use crate::card::wide;
use crate::guest;
use crate::memory::Memory;
use crate::registers::Registers;

/// `VFIO_BASE`, as wide as it is used.
const BASE: u8 = 100;
const _: () = assert!(BASE as u32 == sys::VFIO_BASE);

/// The numbers, which bindgen does not see: `_IO(VFIO_TYPE, VFIO_BASE + n)`.
const fn number(n: u8) -> u32 {
    opcode::none(sys::VFIO_TYPE, BASE + n)
}

const GET_API_VERSION: u32 = number(0);
const SET_IOMMU: u32 = number(2);
const GROUP_SET_CONTAINER: u32 = number(4);
const GET_DEVICE_FD: u32 = number(6);
const GET_REGION_INFO: u32 = number(8);
const SET_IRQS: u32 = number(10);
const MAP_DMA: u32 = number(13);
const UNMAP_DMA: u32 = number(14);

const DRIVER: &str = "vfio-pci";

/// Where the memory is to the card.
const IOVA: u64 = 1 << 32;

/// A container with a card in it.
#[derive(Debug)]
pub(crate) struct Vfio {
    // Before the container: it leaves it when it is closed.
    group: File,
    container: File,
}

impl Vfio {
    /// Takes the card away from userdma.
    pub(crate) fn take(bus_name: &str) -> Result<Self> {
        guest::rebind(bus_name, DRIVER)?;
        Self::open(bus_name)
    }

    fn open(bus_name: &str) -> Result<Self> {
        let open = |path: &str| {
            let file = OpenOptions::new().read(true).write(true).open(path);
            file.with_context(|| format!("opening {path}"))
        };
        let container = open("/dev/vfio/vfio")?;
        let group = open(&format!("/dev/vfio/{}", guest::iommu_group(bus_name)?))?;
        let none = std::ptr::null_mut::<()>();
        // SAFETY: it takes no argument.
        let version = unsafe { ioctl(&container, GET_API_VERSION, none) };
        let version = version.context("VFIO_GET_API_VERSION")?;
        ensure!(
            u32::try_from(version) == Ok(sys::VFIO_API_VERSION),
            "VFIO has version {version}"
        );
        let mut fd = container.as_raw_fd();
        // SAFETY: it reads the number of a file.
        unsafe { ioctl(&group, GROUP_SET_CONTAINER, &raw mut fd) }
            .context("VFIO_GROUP_SET_CONTAINER")?;
        let kind = std::ptr::without_provenance_mut::<()>(sys::VFIO_TYPE1v2_IOMMU as usize);
        // SAFETY: its argument is a number.
        unsafe { ioctl(&container, SET_IOMMU, kind) }.context("VFIO_SET_IOMMU")?;
        Ok(Self { group, container })
    }

    /// The card itself, with its interrupt sent to an eventfd.
    pub(crate) fn device(&self, bus_name: &str, event: &OwnedFd) -> Result<Device> {
        let name = CString::new(bus_name)?;
        // SAFETY: it reads a string.
        let fd = unsafe { ioctl(&self.group, GET_DEVICE_FD, name.as_ptr().cast_mut()) };
        let fd = fd.context("VFIO_GROUP_GET_DEVICE_FD")?;
        // SAFETY: the file was opened for us, and nobody else knows it.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        // Nothing is sent, interrupts neither, before the card may speak on the bus.
        let config = region(&file, sys::VFIO_PCI_CONFIG_REGION_INDEX)?;
        file.write_all_at(&MASTER.to_le_bytes(), config + COMMAND)?;
        let mut irqs = Irqs {
            set: sys::vfio_irq_set {
                argsz: userdma::sys::size_of::<Irqs>(),
                flags: sys::VFIO_IRQ_SET_DATA_EVENTFD | sys::VFIO_IRQ_SET_ACTION_TRIGGER,
                index: sys::VFIO_PCI_MSI_IRQ_INDEX,
                start: 0,
                count: 1,
                ..Default::default()
            },
            fd: event.as_raw_fd(),
        };
        // SAFETY: number and structure belong together.
        unsafe { ioctl(&file, SET_IRQS, &raw mut irqs) }.context("VFIO_DEVICE_SET_IRQS")?;
        let offset = region(&file, sys::VFIO_PCI_BAR0_REGION_INDEX)?;
        Ok(Device {
            registers: Arc::new(Registers::map(&file, offset)?),
            _file: file,
        })
    }

    /// Makes the card reach all of `memory`.
    pub(crate) fn map(&self, memory: &Memory) -> io::Result<()> {
        let mut map = sys::vfio_iommu_type1_dma_map {
            argsz: userdma::sys::size_of::<sys::vfio_iommu_type1_dma_map>(),
            flags: sys::VFIO_DMA_MAP_FLAG_READ | sys::VFIO_DMA_MAP_FLAG_WRITE,
            vaddr: wide(memory.address),
            iova: IOVA,
            size: wide(memory.length),
        };
        // SAFETY: number and structure belong together; the memory is mapped, and what the card does
        // with it is nothing.
        unsafe { ioctl(&self.container, MAP_DMA, &raw mut map) }.map(drop)
    }

    /// Takes it away again.
    pub(crate) fn unmap(&self, memory: &Memory) -> io::Result<()> {
        let mut unmap = sys::vfio_iommu_type1_dma_unmap {
            argsz: userdma::sys::size_of::<sys::vfio_iommu_type1_dma_unmap>(),
            iova: IOVA,
            size: wide(memory.length),
            ..Default::default()
        };
        // SAFETY: number and structure belong together.
        unsafe { ioctl(&self.container, UNMAP_DMA, &raw mut unmap) }.map(drop)
    }
}

/// A card in the hands of VFIO.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) registers: Arc<Registers>,
    _file: File,
}

/// One interrupt for one eventfd.
#[repr(C)]
struct Irqs {
    set: sys::vfio_irq_set,
    fd: RawFd,
}

/// In the configuration of a card: the command, and that it may use memory and the bus.
const COMMAND: u64 = 4;
const MASTER: u16 = (1 << 1) | (1 << 2);

/// Where in the file a part of the card is.
fn region(device: &File, index: u32) -> Result<u64> {
    let mut region = sys::vfio_region_info {
        argsz: userdma::sys::size_of::<sys::vfio_region_info>(),
        index,
        ..Default::default()
    };
    // SAFETY: number and structure belong together.
    unsafe { ioctl(device, GET_REGION_INFO, &raw mut region) }
        .context("VFIO_DEVICE_GET_REGION_INFO")?;
    Ok(region.offset)
}

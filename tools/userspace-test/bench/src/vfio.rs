// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The peer: VFIO, type 1. As much of it as makes a card reach memory.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::ioctl::opcode;
use vfio_bindings::bindings::vfio as sys;

use crate::card::ioctl;
use crate::card::wide;
use crate::card::Card;
use crate::guest;
use crate::memory::Memory;

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
const MAP_DMA: u32 = number(13);
const UNMAP_DMA: u32 = number(14);

const DRIVER: &str = "vfio-pci";

/// Where the memory is to the card.
const IOVA: u64 = 1 << 32;

/// A container with a card in it.
#[derive(Debug)]
pub(crate) struct Vfio {
    // Before the container: it leaves it when it is closed.
    _group: File,
    container: File,
}

impl Vfio {
    /// Takes the card away from userdma.
    pub(crate) fn take(node: &Path) -> Result<Self> {
        let name = Card::open(node)?.bus_name()?;
        guest::rebind(&name, DRIVER)?;
        Self::open(&name)
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
        Ok(Self {
            _group: group,
            container,
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

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a device is and can do, typed.

use std::time::Duration;

use serde::Serialize;

use crate::sys;

/// What a device is and can do.
///
/// # Examples
///
/// ```no_run
/// let card = userdma::Device::first()?;
/// let info = card.info();
/// println!("{} on {}: {} of memory", info.backend, info.bus_name, userdma::Bytes(info.card_size));
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Info {
    /// Version of the driver's ABI.
    pub abi_version: u32,
    /// N of `/dev/userdmaN`.
    pub node: u32,
    /// Name of the card's backend, as `edu`.
    pub backend: String,
    /// Name of the device on its bus, as `0000:00:04.0`.
    pub bus_name: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Highest bus address that the card can form.
    pub dma_mask: u64,
    /// Bytes of the card's own memory.
    pub card_size: u64,
    /// Most bytes that one transfer may move.
    pub max_transfer: u64,
    /// Most bytes that the card moves in one go.
    pub max_descriptor: u64,
    /// What offsets and lengths of transfers are multiples of, in bytes.
    pub alignment: u32,
    /// Transfers name a channel below this.
    pub channels: u32,
    /// Interrupt vectors in use.
    pub vectors: u32,
    /// How the card interrupts.
    pub interrupt: Interrupt,
    /// Transfers that one open file may have between submit and wait.
    pub depth: u32,
    /// Register windows that can be mapped.
    pub regions: u32,
    /// NUMA node of the device, if known.
    pub numa_node: Option<u32>,
    /// Buffers that one open file may hold.
    pub max_buffers: u32,
    /// Bytes of one of the system's pages.
    pub page_size: u64,
    /// Most bytes of buffers.
    pub limits: Limits,
    /// Bytes of buffers when this was asked.
    pub used: Usage,
    /// Longest that the card may take for one descriptor.
    #[serde(rename = "timeout_ns", serialize_with = "as_nanoseconds")]
    pub timeout: Duration,
    /// Reads and writes of the card's memory of at least so many bytes move the
    /// program's own pages, smaller ones are copied; `None`: all are copied.
    pub direct_min: Option<u64>,
}

/// What a device can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// Allocates coherent buffers.
    pub coherent: bool,
    /// Allocates huge buffers.
    pub huge: bool,
    /// Moves data from a buffer to the card.
    pub to_card: bool,
    /// Moves data from the card to a buffer.
    pub from_card: bool,
    /// Moves data from one buffer to another.
    pub host_to_host: bool,
    /// An IOMMU translates what the card addresses.
    pub iommu: bool,
    /// The card reaches only part of the memory, and data in huge buffers
    /// passes through a bounce buffer of the driver.
    pub bounce: bool,
    /// A transfer that has begun can be stopped.
    pub abort: bool,
    /// Registers the program's own memory.
    pub register: bool,
    /// Takes transfers by io_uring.
    pub uring: bool,
    /// Takes transfers of memory that is registered with a ring of io_uring's.
    pub uring_fixed: bool,
}

/// How a card interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "lowercase")]
pub enum Interrupt {
    /// By a wire that other devices may share.
    Intx,
    /// By messages.
    Msi,
    /// By messages from a table of the card.
    MsiX,
    /// In a way that this library does not know.
    Unknown,
}

impl std::fmt::Display for Interrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Intx => "INTx",
            Self::Msi => "MSI",
            Self::MsiX => "MSI-X",
            Self::Unknown => "unknown",
        })
    }
}

/// Most bytes of buffers that the driver allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Limits {
    /// In one open file.
    pub file: u64,
    /// Of one user.
    pub user: u64,
    /// In all.
    pub total: u64,
}

/// Bytes of buffers that are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// In this open file.
    pub file: u64,
    /// By the user who opened it.
    pub user: u64,
    /// In all.
    pub total: u64,
}

impl Info {
    /// Gives how many bits a bus address of the card has.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// assert!(card.info().dma_mask_bits() >= 28);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn dma_mask_bits(&self) -> u32 {
        u64::BITS - self.dma_mask.leading_zeros()
    }
}

impl From<&sys::userdma_info> for Info {
    fn from(raw: &sys::userdma_info) -> Self {
        Self {
            abi_version: raw.out_abi_version,
            node: raw.out_node,
            backend: text(&raw.out_backend),
            bus_name: text(&raw.out_bus_name),
            capabilities: Capabilities::from(raw.out_capabilities),
            dma_mask: raw.out_dma_mask,
            card_size: raw.out_card_size,
            max_transfer: raw.out_max_transfer,
            max_descriptor: raw.out_max_descriptor,
            alignment: raw.out_alignment,
            channels: raw.out_channels,
            vectors: raw.out_vectors,
            interrupt: match raw.out_interrupt {
                sys::USERDMA_IRQ_INTX => Interrupt::Intx,
                sys::USERDMA_IRQ_MSI => Interrupt::Msi,
                sys::USERDMA_IRQ_MSIX => Interrupt::MsiX,
                _ => Interrupt::Unknown,
            },
            depth: raw.out_depth,
            regions: raw.out_regions,
            numa_node: u32::try_from(raw.out_numa_node).ok(),
            max_buffers: raw.out_max_buffers,
            page_size: 1_u64.checked_shl(raw.out_page_shift).unwrap_or(0),
            limits: Limits {
                file: raw.out_limit_file,
                user: raw.out_limit_user,
                total: raw.out_limit_total,
            },
            used: Usage {
                file: raw.out_used_file,
                user: raw.out_used_user,
                total: raw.out_used_total,
            },
            timeout: Duration::from_nanos(raw.out_timeout_ns),
            direct_min: (raw.out_direct_min > 0).then_some(raw.out_direct_min),
        }
    }
}

impl From<u64> for Capabilities {
    fn from(bits: u64) -> Self {
        let has = |bit: u32| bits & u64::from(bit) != 0;
        Self {
            coherent: has(sys::USERDMA_CAP_COHERENT),
            huge: has(sys::USERDMA_CAP_HUGE),
            to_card: has(sys::USERDMA_CAP_TO_CARD),
            from_card: has(sys::USERDMA_CAP_FROM_CARD),
            host_to_host: has(sys::USERDMA_CAP_HOST_TO_HOST),
            iommu: has(sys::USERDMA_CAP_IOMMU),
            bounce: has(sys::USERDMA_CAP_BOUNCE),
            abort: has(sys::USERDMA_CAP_ABORT),
            register: has(sys::USERDMA_CAP_REGISTER),
            uring: has(sys::USERDMA_CAP_URING),
            uring_fixed: has(sys::USERDMA_CAP_URING_FIXED),
        }
    }
}

/// Reads a NUL-terminated name; one that fills its field has no NUL.
fn text(field: &[core::ffi::c_char]) -> String {
    let bytes: Vec<u8> = field
        .iter()
        // c_char is signed on some systems and not on others.
        .map(|byte| byte.to_ne_bytes()[0])
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn as_nanoseconds<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ioctl::zeroed;

    /// What the module says of QEMU's `edu`, with 2 MiB of limits.
    pub(crate) fn edu() -> Info {
        let mut raw: sys::userdma_info = zeroed();
        for (to, from) in raw.out_backend.iter_mut().zip(b"edu") {
            *to = core::ffi::c_char::from_ne_bytes([*from]);
        }
        raw.out_capabilities = u64::from(sys::USERDMA_CAP_COHERENT | sys::USERDMA_CAP_HUGE);
        raw.out_dma_mask = (1 << 28) - 1;
        raw.out_card_size = 4096;
        raw.out_max_transfer = 4096;
        raw.out_alignment = 4;
        raw.out_channels = 1;
        raw.out_interrupt = sys::USERDMA_IRQ_MSI;
        raw.out_depth = 128;
        raw.out_numa_node = -1;
        raw.out_max_buffers = 1024;
        raw.out_page_shift = 12;
        raw.out_limit_file = 64 << 20;
        raw.out_limit_user = 64 << 20;
        raw.out_limit_total = 128 << 20;
        raw.out_direct_min = 65536;
        Info::from(&raw)
    }

    #[test]
    fn reads_what_the_kernel_says() {
        let info = edu();
        assert_eq!(info.backend, "edu");
        assert_eq!(info.bus_name, "");
        assert_eq!(info.dma_mask_bits(), 28);
        assert_eq!(info.numa_node, None);
        assert_eq!(info.page_size, 4096);
        assert_eq!(info.interrupt, Interrupt::Msi);
        assert_eq!(info.direct_min, Some(65536));
        assert!(info.capabilities.coherent && info.capabilities.huge);
        assert!(!info.capabilities.iommu && !info.capabilities.bounce);
    }

    #[test]
    fn a_name_may_fill_its_field() {
        let full = [core::ffi::c_char::from_ne_bytes([b'x']); 16];
        assert_eq!(text(&full), "x".repeat(16));
    }

    #[test]
    fn nonsense_from_the_kernel_does_not_panic() {
        let mut raw: sys::userdma_info = zeroed();
        raw.out_page_shift = 200;
        raw.out_interrupt = 77;
        let info = Info::from(&raw);
        assert_eq!(info.page_size, 0);
        assert_eq!(info.interrupt, Interrupt::Unknown);
        assert_eq!(info.direct_min, None);
        assert_eq!(info.dma_mask_bits(), 0);
    }
}

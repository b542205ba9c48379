// SPDX-License-Identifier: GPL-2.0

//! Huge buffers: 2 MiB pages, ordinary memory to the program, few segments to the card.

use kernel::{
    device,
    page::PAGE_SHIFT,
    prelude::*,
    sync::Arc, //
};

use super::{
    registry::{
        Hold,
        New,
        Registry, //
    },
    BufferRef,
    Store, //
};
use crate::{
    ext::{
        errno::eaddrnotavail,
        folio::Memory,
        sg::Mapping,
        system, //
    },
    limits::Charge,
    pure::split::Segment,
    uapi, //
};

/// The size of a huge page, in bytes.
pub(crate) const HUGE_PAGE: u64 = 2 << 20;

// CAST: A small number.
const HUGE_ORDER: u32 = HUGE_PAGE.trailing_zeros() - PAGE_SHIFT as u32;

/// What a program asked for.
pub(crate) struct Request {
    /// Bytes, a multiple of [`HUGE_PAGE`].
    pub(crate) length: u64,
    /// Take smaller pages where there are no huge ones.
    pub(crate) fallback: bool,
    /// Allocate on this NUMA node and nowhere else.
    pub(crate) node: Option<u32>,
}

impl Request {
    /// Allocates the memory. Needs no card, hence no guard: this is what takes long.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EINTR`] when a fatal signal comes.
    pub(crate) fn memory(&self) -> Result<Memory> {
        Memory::alloc(self.length, HUGE_ORDER, self.fallback, self.node, || {
            match system::fatal_signal_pending() {
                true => Err(EINTR),
                false => Ok(()),
            }
        })
    }
}

/// Makes a buffer of `memory`. Called with the guard held.
///
/// With `bounce` the card cannot reach all memory and no IOMMU helps: no mapping is tried then,
/// since swiotlb could not hold it and would say so with a warning.
///
/// # Errors
///
/// [`ENOMEM`], or EADDRNOTAVAIL if the card cannot reach it.
pub(crate) fn alloc(
    registry: &Arc<Registry>,
    dev: &device::Device<device::Bound>,
    memory: Memory,
    bounce: bool,
    charge: Charge,
) -> Result<BufferRef> {
    let mut state = uapi::USERDMA_BUF_PINNABLE;
    if memory.page_size() < HUGE_PAGE {
        state |= uapi::USERDMA_BUF_FELL_BACK;
    }
    make(registry, dev, memory, bounce, charge, state, true)
}

/// Makes a small buffer for read() and write(), which no program sees. Called with the guard held.
///
/// # Errors
///
/// [`ENOMEM`], or EADDRNOTAVAIL if the card cannot reach it.
pub(crate) fn alloc_chunk(
    registry: &Arc<Registry>,
    dev: &device::Device<device::Bound>,
    length: u64,
    bounce: bool,
    charge: Charge,
) -> Result<BufferRef> {
    let pages = length >> PAGE_SHIFT;
    let memory = Memory::alloc(
        length,
        pages.checked_ilog2().unwrap_or(0),
        true,
        None,
        || Ok(()),
    )?;
    make(registry, dev, memory, bounce, charge, 0, false)
}

fn make(
    registry: &Arc<Registry>,
    dev: &device::Device<device::Bound>,
    memory: Memory,
    bounce: bool,
    charge: Charge,
    mut state: u32,
    mappable: bool,
) -> Result<BufferRef> {
    let mut segments = KVVec::new();
    let hold = if bounce {
        state |= uapi::USERDMA_BUF_BOUNCED;
        Hold::Bounced
    } else {
        // SAFETY: The registry drops the mapping at unbind at the latest, and before the memory:
        // `New` and `Entry` have them in this order. A transfer that uses it has a `BufferRef`.
        let mapping = unsafe { Mapping::new(dev, &memory, usize::MAX) };
        // Whatever else the DMA API says means that the card cannot reach the memory.
        let mapping = mapping.map_err(|error| match error {
            error if error == ENOMEM => error,
            _ => eaddrnotavail(),
        })?;
        let mut offset = 0;
        mapping.for_each_segment(|bus, length| {
            let segment = Segment {
                offset,
                bus,
                length,
            };
            segments.push(segment, GFP_KERNEL | __GFP_NOWARN)?;
            offset += length;
            Ok(())
        })?;
        Hold::Mapped { _mapping: mapping }
    };
    registry.add(New {
        kind: uapi::USERDMA_BUF_HUGE,
        state,
        length: memory.len(),
        page_size: memory.page_size(),
        node: memory.node(),
        segments,
        store: Store::Memory(memory),
        window: None,
        hold,
        charge,
        mappable,
    })
}

// SPDX-License-Identifier: GPL-2.0

//! Huge buffers: 2 MiB pages, ordinary memory to the program, few segments to the card.

use kernel::{
    dma::DataDirection,
    page::PAGE_SHIFT,
    prelude::*,
    sync::Arc, //
};

use super::{
    registry::{
        New,
        Place,
        Registry, //
    },
    streaming::Reach,
    BufferRef,
    Store, //
};
use crate::{
    ext::{
        folio::Memory,
        system, //
    },
    limits::Charge,
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
/// # Errors
///
/// [`ENOMEM`], or EADDRNOTAVAIL if the card cannot reach it.
pub(crate) fn alloc(
    registry: &Arc<Registry>,
    reach: Reach<'_>,
    memory: Memory,
    charge: Charge,
) -> Result<BufferRef> {
    let mut state = uapi::USERDMA_BUF_PINNABLE;
    if memory.page_size() < HUGE_PAGE {
        state |= uapi::USERDMA_BUF_FELL_BACK;
    }
    let place = Place::mappable(memory.len())?;
    make(registry, reach, place, memory, charge, state)
}

/// Makes a small buffer for read() and write(), which no program sees. Called with the guard held.
///
/// # Errors
///
/// [`ENOMEM`], or EADDRNOTAVAIL if the card cannot reach it.
pub(crate) fn alloc_chunk(
    registry: &Arc<Registry>,
    reach: Reach<'_>,
    length: u64,
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
    make(registry, reach, Place::hidden()?, memory, charge, 0)
}

fn make(
    registry: &Arc<Registry>,
    reach: Reach<'_>,
    place: Place,
    memory: Memory,
    charge: Charge,
    mut state: u32,
) -> Result<BufferRef> {
    if reach.bounce {
        state |= uapi::USERDMA_BUF_BOUNCED;
    }
    let (hold, segments) = reach.map(&memory, DataDirection::Bidirectional)?;
    registry.add(
        place,
        New {
            hold,
            kind: uapi::USERDMA_BUF_HUGE,
            state,
            length: memory.len(),
            page_size: memory.page_size(),
            node: memory.node(),
            segments,
            store: Store::Memory(memory),
            window: None,
            charge: Some(charge),
        },
    )
}

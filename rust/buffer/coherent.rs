// SPDX-License-Identifier: GPL-2.0

//! Coherent buffers: memory that card and program see alike at all times.

use kernel::{
    device,
    dma::{
        attrs::DMA_ATTR_NO_WARN,
        Coherent, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};

use super::{
    registry::{
        Hold,
        New,
        Place,
        Registry, //
    },
    BufferRef,
    Store, //
};
use crate::{
    ext::{
        dma,
        system, //
    },
    limits::Charge,
    pure::split::Segment,
    uapi, //
};

/// Allocates a coherent buffer of `length` bytes, a multiple of the page size.
///
/// Called with the guard held: takes as long as the DMA API needs to find and zero the memory.
///
/// # Errors
///
/// [`ENOMEM`]; [`EOPNOTSUPP`] where it cannot be mapped as ordinary memory.
pub(crate) fn alloc(
    registry: &Arc<Registry>,
    dev: &device::Device<device::Bound>,
    length: u64,
    charge: Charge,
) -> Result<BufferRef> {
    if !dma::maps_as_memory(dev) {
        // Mappings would need page protection that the DMA API does not tell modules.
        return Err(EOPNOTSUPP);
    }
    let memory: Coherent<[u8]> = Coherent::<u8>::zeroed_slice_with_attrs(
        dev,
        usize::try_from(length)?,
        GFP_KERNEL | __GFP_NOWARN,
        DMA_ATTR_NO_WARN,
    )?;
    let place = Place::mappable(length)?;
    let mut segments = KVVec::new();
    segments.push(
        Segment {
            offset: 0,
            bus: memory.dma_address(),
            length,
        },
        GFP_KERNEL,
    )?;
    registry.add(
        place,
        New {
            kind: uapi::USERDMA_BUF_COHERENT,
            state: 0,
            length,
            page_size: PAGE_SIZE as u64,
            node: system::numa_node(dev),
            segments,
            store: Store::Coherent,
            window: Some(dma::Frames::of(&memory)),
            hold: Hold::Coherent { _memory: memory },
            charge: Some(charge),
        },
    )
}

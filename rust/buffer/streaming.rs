// SPDX-License-Identifier: GPL-2.0

//! Streaming mappings: how the card reaches memory that the DMA API did not allocate.

use kernel::{
    device,
    dma::DataDirection,
    prelude::*, //
};

use super::registry::Hold;
use crate::{
    ext::{
        errno::eaddrnotavail,
        scatter::Scatter,
        sg::{
            Mapping,
            SyncBy, //
        }, //
    },
    pure::split::Segment, //
};

/// How a card is made to reach memory.
#[derive(Clone, Copy)]
pub(crate) struct Reach<'a> {
    pub(crate) dev: &'a device::Device<device::Bound>,
    /// The card reaches only part of the memory and no IOMMU helps: no mapping is tried then, since
    /// swiotlb could not hold it and would say so with a warning.
    pub(crate) bounce: bool,
    /// No segment crosses a multiple of this.
    pub(crate) boundary: u64,
}

impl Reach<'_> {
    /// Maps `memory`; returns what keeps it mapped, and the segments that the card sees.
    ///
    /// Called with the guard held: takes as long as the DMA API needs for so many segments.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], or EADDRNOTAVAIL if the card cannot reach it.
    pub(super) fn map(
        self,
        memory: &Scatter,
        direction: DataDirection,
    ) -> Result<(Hold, KVVec<Segment>)> {
        if self.bounce {
            return Ok((Hold::Bounced, KVVec::new()));
        }
        // SAFETY: The registry drops the mapping at unbind at the latest, and before the memory:
        // `New` and `Entry` have them in this order. A transfer that uses it has a `BufferRef`.
        let mapping = unsafe {
            Mapping::new(
                self.dev,
                memory,
                direction,
                SyncBy::Owner,
                u64::MAX,
                self.boundary,
            )
        };
        // Whatever else the DMA API says means that the card cannot reach the memory.
        let mapping = mapping.map_err(|error| match error {
            error if error == ENOMEM => error,
            _ => eaddrnotavail(),
        })?;
        let mut segments = KVVec::with_capacity(mapping.len(), GFP_KERNEL_ACCOUNT | __GFP_NOWARN)?;
        let mut offset = 0;
        mapping.for_each_segment(|bus, length| {
            let segment = Segment {
                offset,
                bus,
                length,
            };
            segments.push(segment, GFP_KERNEL_ACCOUNT | __GFP_NOWARN)?;
            offset += length;
            Ok(())
        })?;
        Ok((Hold::Mapped { _mapping: mapping }, segments))
    }
}

// SPDX-License-Identifier: GPL-2.0

//! A bound card: all that open files reach while it is there.

use kernel::{
    device,
    pci,
    prelude::*,
    sync::Arc, //
};

use crate::{
    buffer::{
        Reach,
        Registry,
        HUGE_PAGE, //
    },
    engine::Engine,
    ext::{
        dma,
        system, //
    },
    hw,
    module_parameters,
    service::Kick,
    stats,
    uapi, //
};

/// From how many bytes on it costs less to pin pages than to copy them. See measurements.rst.
const DIRECT_MIN: u64 = 64 << 10;

/// The longest that a card may take for a descriptor, in milliseconds.
const MAX_TIMEOUT_MS: u32 = 60_000;

/// Everything of a bound card but its node and its interrupt.
///
/// Dropped after both; closed before that, see [`Card::close`].
pub(crate) struct Card<'bound> {
    pub(crate) engine: Engine<'bound>,
    pub(crate) buffers: Arc<Registry>,
    pub(crate) stats: Arc<stats::Card>,
    pub(crate) kick: Arc<Kick>,
    pub(crate) pdev: &'bound pci::Device<device::Bound>,
    pub(crate) dma_mask: u64,
    translated: bool,
}

impl<'bound> Card<'bound> {
    /// Makes a card of registers that were mapped and reset. Its DMA mask is set.
    pub(crate) fn new(
        pdev: &'bound pci::Device<device::Bound>,
        hw: hw::Card<'bound>,
        dma_mask: u64,
        stats: Arc<stats::Card>,
    ) -> Result<Self> {
        let dev = pdev.as_ref();
        let translated = dma::translated(dev);
        // Without an IOMMU the DMA API would copy what the card cannot reach through swiotlb, whose
        // memory may itself be out of reach and which takes no large mappings. We copy ourselves.
        let bounce =
            (dma::max_mapping(dev) as u64) < HUGE_PAGE || (!translated && dma::limited(dev));
        let timeout = match *module_parameters::timeout_ms.value_ref() {
            0 => 2000,
            // A read() that was killed waits for the card for so long.
            ms => u64::from(ms.min(MAX_TIMEOUT_MS)),
        };
        let kick = Arc::pin_init(Kick::new(), GFP_KERNEL)?;
        let engine = Engine::new(
            pdev,
            hw,
            bounce,
            timeout * 1_000_000,
            kick.clone(),
            stats.clone(),
        )?;
        Ok(Self {
            engine,
            buffers: Registry::new(kick.clone(), stats.clone())?,
            stats,
            kick,
            pdev,
            dma_mask,
            translated,
        })
    }

    /// Ends all transfers, wakes everybody up, and takes the buffers away from the card.
    ///
    /// Called after [`Engine::stop`], when no interrupt runs any more. May sleep. Calling it again
    /// does nothing.
    pub(crate) fn close(&self) {
        self.engine.drain();
        self.buffers.close();
    }

    /// Returns how it reaches memory.
    pub(crate) fn reach(&self) -> Reach<'_> {
        Reach {
            dev: self.pdev.as_ref(),
            bounce: self.engine.bounce,
            boundary: self.engine.hw.traits().boundary,
        }
    }

    /// Returns the fewest bytes for which read() and write() move the program's own pages; 0 if none.
    pub(crate) fn direct_min(&self) -> u64 {
        match *module_parameters::direct_min_bytes.value_ref() {
            // They would be copied all the same.
            _ if self.engine.bounce => 0,
            0 => DIRECT_MIN,
            bytes => bytes,
        }
    }

    /// Returns whether the card moves from one buffer to another: it must reach both.
    pub(crate) fn host_to_host(&self) -> bool {
        self.engine.hw.traits().host_to_host && !self.engine.bounce
    }

    /// Returns the `USERDMA_CAP_*` of the card.
    pub(crate) fn capabilities(&self) -> u64 {
        let traits = self.engine.hw.traits();
        let mut capabilities = uapi::USERDMA_CAP_COHERENT
            | uapi::USERDMA_CAP_HUGE
            | uapi::USERDMA_CAP_TO_CARD
            | uapi::USERDMA_CAP_FROM_CARD
            | uapi::USERDMA_CAP_REGISTER
            | uapi::USERDMA_CAP_URING
            | uapi::USERDMA_CAP_URING_FIXED;
        for (has, capability) in [
            (self.translated, uapi::USERDMA_CAP_IOMMU),
            (self.engine.bounce, uapi::USERDMA_CAP_BOUNCE),
            (traits.abort, uapi::USERDMA_CAP_ABORT),
            (self.host_to_host(), uapi::USERDMA_CAP_HOST_TO_HOST),
        ] {
            if has {
                capabilities |= capability;
            }
        }
        u64::from(capabilities)
    }

    /// Returns the card's name on its bus.
    pub(crate) fn name(&self) -> &CStr {
        let dev: &device::Device = self.pdev.as_ref();
        dev.name()
    }

    /// Returns the longest the card may take for one descriptor.
    pub(crate) fn timeout_ns(&self) -> u64 {
        self.engine.timeout_ns
    }

    /// Returns the NUMA node that the card is attached to.
    pub(crate) fn node(&self) -> Option<u32> {
        system::numa_node(self.pdev.as_ref())
    }
}

impl Drop for Card<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

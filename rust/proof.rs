// SPDX-License-Identifier: GPL-2.0

//! Proof that a card can form the addresses that a module parameter claims it can.
//!
//! A card with fewer address lines than claimed writes somewhere else, silently. So a page beyond
//! what the backend promises is sent through the card to memory within it, and compared.

use kernel::{
    device,
    dma::{
        Coherent,
        DataDirection, //
    },
    io::poll::read_poll_timeout,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    pci,
    prelude::*,
    time::Delta, //
};

use crate::{
    ext::{
        dma,
        folio::Memory,
        sg::{
            Mapping,
            SyncBy, //
        }, //
    },
    hw::{
        Card,
        Channel,
        Descriptor,
        Direction,
        State, //
    }, //
};

/// What is sent. Each byte of the page is this, plus its offset.
const SENT: u8 = 0x5a;

/// Size of the memory that is looked through at once, in bytes; less where a mapping must be.
const BLOCK: u64 = 2 << 20;

/// How many blocks are looked through: somewhat more than the 256 MiB below a 28-bit mask.
const BLOCKS: usize = 160;

fn run(hw: &mut dyn Channel, direction: Direction, bus: u64, length: u64) -> Result {
    let descriptor = Descriptor {
        direction,
        bus,
        target: 0,
        length,
    };
    hw.push(&descriptor, false);
    hw.submit();
    let end = read_poll_timeout(
        || Ok(hw.pop()),
        |end| end.is_some(),
        Delta::from_millis(5),
        Delta::from_millis(1000),
    )?;
    match end {
        Some(end) if !end.failed && end.bytes == length => Ok(()),
        _ => Err(EIO),
    }
}

/// Returns the bus address of a segment of `mapping` that lies beyond `mask`.
fn find_beyond(mapping: &Mapping, mask: u64) -> Result<Option<u64>> {
    let mut found = None;
    mapping.for_each_segment(|bus, _| {
        if bus > mask {
            found = Some(bus);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Memory that a card with the old mask cannot reach, mapped for it. Dropped in this order.
pub(crate) struct Beyond {
    mapping: Mapping,
    _memory: Memory,
    bus: u64,
}

impl Beyond {
    /// Finds memory that is mapped beyond `old_mask` now that the mask is wider. May sleep.
    ///
    /// `None` if there is no memory out there, which could then not be corrupted either.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if there is some but none of it is free.
    pub(crate) fn find(pdev: &pci::Device<device::Bound>, old_mask: u64) -> Result<Option<Self>> {
        if dma::required_mask(pdev.as_ref()) <= old_mask {
            return Ok(None);
        }
        let most = (dma::max_mapping(pdev.as_ref()) as u64).min(BLOCK);
        // CAST: A small number.
        let order = most.checked_ilog2().unwrap_or(0).max(PAGE_SHIFT as u32) - PAGE_SHIFT as u32;
        let block = (PAGE_SIZE as u64) << order;
        let mut kept = KVec::new();
        for _ in 0..BLOCKS {
            let memory = Memory::alloc(block, order, true, None, || Ok(()))?;
            // Before it is mapped: swiotlb copies then. A segment begins where a folio does.
            dma::fill_folios(&memory, SENT)?;
            // SAFETY: Dropped before `memory` and in probe; the card is idle then, or both are
            // leaked.
            let mapping = unsafe {
                Mapping::new(
                    pdev.as_ref(),
                    &memory,
                    DataDirection::Bidirectional,
                    SyncBy::Mapping,
                    BLOCK,
                    BLOCK,
                )?
            };
            if let Some(bus) = find_beyond(&mapping, old_mask)? {
                return Ok(Some(Self {
                    mapping,
                    _memory: memory,
                    bus,
                }));
            }
            // Kept, so that the next one is another.
            kept.push((mapping, memory), GFP_KERNEL)?;
        }
        Err(ENOMEM)
    }

    /// Sends what is out there through the card into `low`, which the card reaches for certain.
    ///
    /// The card is idle and may reach memory; nobody else uses it yet. May sleep.
    ///
    /// # Errors
    ///
    /// [`EIO`] if it did not arrive.
    pub(crate) fn prove(self, hw: &Card<'_>, low: Coherent<[u8]>) -> Result {
        let length = hw
            .traits()
            .max_descriptor
            .min(hw.memory())
            .min(PAGE_SIZE as u64);
        // CAST: At most a page.
        let bytes = length as usize;
        let mut channel = hw.channel(0)?;
        channel.start(None);
        let result = run(&mut *channel, Direction::ToCard, self.bus, length).and_then(|()| {
            run(
                &mut *channel,
                Direction::FromCard,
                low.dma_address(),
                length,
            )
        });
        channel.abort();
        let stopped = read_poll_timeout(
            || Ok(channel.state()),
            |state| *state != State::Busy,
            Delta::from_millis(1),
            Delta::from_millis(100),
        );
        if stopped.is_err() {
            // Nobody can say what it will still do.
            channel.quarantine();
            core::mem::forget((self, low));
            return Err(EIO);
        }
        drop(self.mapping);
        result?;
        match dma::filled(&low, SENT, bytes) {
            true => Ok(()),
            false => Err(EIO),
        }
    }
}

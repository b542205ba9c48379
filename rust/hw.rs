// SPDX-License-Identifier: GPL-2.0

//! Cards: what a backend must do, and which there are.
//!
//! A new card needs a file below `hw/` and a few lines here: its module, its id in [`PCI_TABLE`],
//! and an arm in [`Kind`] and [`Card`]. See `Documentation/backend.rst`.

mod edu;

use kernel::{
    device,
    pci,
    prelude::*, //
};

use crate::{
    driver::Driver,
    ext::pci::VENDOR_QEMU, //
};

/// What a kind of card can do. Sizes and lengths are in bytes.
pub(crate) struct Traits {
    /// Name of the backend.
    pub(crate) name: &'static CStr,
    /// Size of the card's own memory.
    pub(crate) card_size: u64,
    /// The most that one descriptor may move.
    pub(crate) max_descriptor: u64,
    /// No descriptor may cross a multiple of this on the bus; a power of two, at least a page.
    pub(crate) boundary: u64,
    /// Of bus address, card offset and length; a power of two.
    pub(crate) alignment: u64,
    /// Channels, each of which works on one descriptor at a time; at most 32.
    pub(crate) channels: u16,
    /// Interrupt vectors that are of use.
    pub(crate) vectors: u32,
    /// Bits of a bus address.
    pub(crate) dma_bits: u32,
    /// Whether [`Backend::abort`] can stop a descriptor that has begun.
    pub(crate) abort: bool,
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToCard,
    FromCard,
}

/// What a card does in one go.
pub(crate) struct Descriptor {
    pub(crate) direction: Direction,
    /// Where the host's memory is on the bus.
    pub(crate) bus: u64,
    /// Where in the card's memory.
    pub(crate) card_offset: u64,
    /// At most [`Traits::max_descriptor`].
    pub(crate) length: u64,
}

/// What a channel is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Idle,
    Busy,
    /// The card answers all-ones: it is not there any more, and reaches no memory.
    Gone,
}

/// What an interrupt told. Bit N stands for channel N.
pub(crate) struct Ended {
    /// Channels whose descriptor has ended.
    pub(crate) channels: u32,
    /// Those of them that failed.
    pub(crate) failed: u32,
}

/// What the driver needs of a card.
///
/// All methods but [`Backend::reset`] may be called in any context and must not sleep. Calls for
/// one channel are never made at the same time, those of [`Backend::interrupt`] excepted.
pub(crate) trait Backend {
    /// Checks that this is the card it claims to be, alive and stopped.
    ///
    /// Called in probe, before the card may reach memory. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if it is not, [`ETIMEDOUT`] if it does not stop.
    fn reset(&self) -> Result;

    /// Starts a descriptor on an idle channel. `notify` asks for an interrupt at its end.
    ///
    /// # Errors
    ///
    /// The card was not started, and the transfer ends with this error.
    fn start(&self, channel: u16, descriptor: &Descriptor, notify: bool) -> Result;

    /// Tries to stop what the channel is doing.
    fn abort(&self, channel: u16);

    /// Returns what the channel is doing. Makes sure that earlier writes have reached the card.
    fn state(&self, channel: u16) -> State;

    /// Called in the interrupt handler: reads what the card has to tell, and acknowledges it.
    ///
    /// `None` if the interrupt is not this card's.
    fn interrupt(&self) -> Option<Ended>;
}

/// The kinds of cards there are.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Edu,
}

/// A card.
pub(crate) enum Card<'bound> {
    Edu(edu::Edu<'bound>),
}

kernel::pci_device_table!(
    PCI_TABLE,
    <Driver as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_id(VENDOR_QEMU, 0x11e8), Kind::Edu)]
);

/// The ids of all cards.
pub(crate) const IDS: pci::IdTable<Kind> = &PCI_TABLE;

impl<'bound> Card<'bound> {
    /// Maps the registers of a card. Does not touch them yet.
    pub(crate) fn new(kind: Kind, pdev: &'bound pci::Device<device::Bound>) -> Result<Self> {
        Ok(match kind {
            Kind::Edu => Self::Edu(edu::Edu::new(pdev)?),
        })
    }

    /// Returns what the card can do.
    pub(crate) fn traits(&self) -> &'static Traits {
        match self {
            Self::Edu(_) => &edu::TRAITS,
        }
    }
}

impl<'bound> core::ops::Deref for Card<'bound> {
    type Target = dyn Backend + 'bound;

    fn deref(&self) -> &(dyn Backend + 'bound) {
        match self {
            Self::Edu(card) => card,
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Cards: what a backend must do, and which there are.
//!
//! A new card needs a file below `hw/` and a few lines here: its module, its id in [`PCI_TABLE`],
//! and an arm in [`Kind`] and [`Card::new`]. See `Documentation/backend.rst`.

mod edu;
mod edu_daq;
mod template;

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
    /// The most that one descriptor may move.
    pub(crate) max_descriptor: u64,
    /// No descriptor may cross a multiple of this on the bus; a power of two, at least a page.
    pub(crate) boundary: u64,
    /// Of bus addresses, card offset and length; a power of two.
    pub(crate) alignment: u64,
    /// Channels, which work side by side; at most 32.
    pub(crate) channels: u16,
    /// The most chains that a channel is given at once; it works on them in order, one at a time.
    pub(crate) depth: usize,
    /// Interrupt vectors that are of use; at most [`MAX_VECTORS`].
    pub(crate) vectors: u32,
    /// Bits of a bus address.
    pub(crate) dma_bits: u32,
    /// Whether [`Channel::abort`] can stop a chain that has begun.
    pub(crate) abort: bool,
    /// Whether it moves from one place of the host's memory to another.
    pub(crate) host_to_host: bool,
}

/// The most interrupt vectors of a card: as many as MSI has.
pub(crate) const MAX_VECTORS: usize = 32;

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToCard,
    FromCard,
    /// If the card can: [`Traits::host_to_host`].
    HostToHost,
}

/// A part of a chain, contiguous on the bus.
#[derive(Clone)]
pub(crate) struct Descriptor {
    /// The same in all of a chain.
    pub(crate) direction: Direction,
    /// Where the host's memory is on the bus; of two places the one that is read.
    pub(crate) bus: u64,
    /// Where in the card's memory; or where on the bus it is written, from the host to the host.
    pub(crate) target: u64,
    /// At most [`Traits::max_descriptor`].
    pub(crate) length: u64,
}

/// How a chain has ended.
pub(crate) struct End {
    /// Bytes moved, from its beginning on. Of a card that says more than it was told, only so much counts.
    pub(crate) bytes: u64,
    pub(crate) failed: bool,
}

/// What a channel is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Idle,
    Busy,
    /// The card answers all-ones: it is not there any more, and reaches no memory.
    Gone,
}

/// What the driver needs of a card.
pub(crate) trait Backend<'bound>: Send + Sync {
    /// Checks that this is the card it claims to be, alive and stopped. Returns the size of its own memory.
    ///
    /// Called in probe, before the card may reach memory. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if it is not, [`ETIMEDOUT`] if it does not stop.
    fn reset(&self) -> Result<u64>;

    /// Makes channel `index`, which does not run yet, with the memory that it shares with the card. Called
    /// once for each channel, in probe, after the DMA mask was set. May sleep.
    fn channel(&self, index: u16) -> Result<KBox<dyn Channel + 'bound>>;

    /// Called in the interrupt handler: acknowledges what the card has to tell, if it wants that.
    ///
    /// `false` if the interrupt is not this card's: the line may be shared. What has ended is then asked of
    /// the channels.
    fn interrupt(&self) -> bool;
}

/// Asks a card to invert something: `answer` writes a value to the register for that, and reads it.
///
/// # Errors
///
/// [`ENODEV`] if it does not; all-ones, of a card that is not there, are no answer.
fn check_alive(pdev: &pci::Device<device::Bound>, answer: impl FnOnce(u32) -> u32) -> Result {
    const PROBE: u32 = 0x5a5a_1234;
    match answer(PROBE) {
        answer if answer == !PROBE => Ok(()),
        answer => {
            dev_err!(pdev, "card is not alive: {answer:#010x}\n");
            Err(ENODEV)
        }
    }
}

/// What the driver needs of a channel of a card.
///
/// A *chain* is one or more descriptors that the card moves as one, and tells the end of once. Everything
/// here may be called in any context and must not sleep.
pub(crate) trait Channel: Send {
    /// Lets the idle channel run, with nothing to do. Interrupts come by `vector`; without one, they do not.
    fn start(&mut self, vector: Option<u32>);

    /// Returns how many descriptors there is room for.
    fn room(&self) -> usize;

    /// Puts down a descriptor. The chain goes on with the next if there is `more`. There is room.
    fn push(&mut self, descriptor: &Descriptor, more: bool);

    /// Gives the card all that was put down: whole chains.
    fn submit(&mut self);

    /// Takes the oldest chain that the card was given, if it has ended. Then its memory, as far as it was
    /// written, is there for the CPU.
    fn pop(&mut self) -> Option<End>;

    /// Tries to stop the channel, for [`Channel::start`] to follow. If it is idle afterwards it has forgotten
    /// what it was given, but for chains that had ended: those can be taken still.
    fn abort(&mut self);

    /// Returns what the channel is doing. Makes sure that earlier writes have reached the card.
    fn state(&mut self) -> State;

    /// The card cannot be stopped: sees to it that memory that it may still write to is never freed.
    fn quarantine(&mut self);
}

/// A channel of a card that is let go.
pub(crate) struct Absent;

impl Channel for Absent {
    fn start(&mut self, _vector: Option<u32>) {}

    fn room(&self) -> usize {
        0
    }

    fn push(&mut self, _descriptor: &Descriptor, _more: bool) {}

    fn submit(&mut self) {}

    fn pop(&mut self) -> Option<End> {
        None
    }

    fn abort(&mut self) {}

    fn state(&mut self) -> State {
        State::Gone
    }

    fn quarantine(&mut self) {}
}

/// The kinds of cards there are.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Edu,
    EduDaq,
    Template,
}

/// A card.
pub(crate) struct Card<'bound> {
    traits: &'static Traits,
    memory: u64,
    backend: KBox<dyn Backend<'bound> + 'bound>,
}

kernel::pci_device_table!(
    PCI_TABLE,
    <Driver as pci::Driver>::IdInfo,
    [
        (pci::DeviceId::from_id(VENDOR_QEMU, 0x11e8), Kind::Edu),
        (pci::DeviceId::from_id(VENDOR_QEMU, 0x11e9), Kind::EduDaq),
        (pci::DeviceId::from_id(VENDOR_QEMU, 0x11ea), Kind::Template),
    ]
);

/// The ids of all cards.
pub(crate) const IDS: pci::IdTable<Kind> = &PCI_TABLE;

impl<'bound> Card<'bound> {
    /// Finds a card, alive and stopped. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Backend::reset`].
    pub(crate) fn new(kind: Kind, pdev: &'bound pci::Device<device::Bound>) -> Result<Self> {
        let (traits, backend): (_, KBox<dyn Backend<'bound> + 'bound>) = match kind {
            Kind::Edu => (&edu::TRAITS, KBox::new(edu::Edu::new(pdev)?, GFP_KERNEL)?),
            Kind::EduDaq => (
                &edu_daq::TRAITS,
                KBox::new(edu_daq::EduDaq::new(pdev)?, GFP_KERNEL)?,
            ),
            Kind::Template => (
                &template::TRAITS,
                KBox::new(template::Template::new(pdev)?, GFP_KERNEL)?,
            ),
        };
        Ok(Self {
            traits,
            memory: backend.reset()?,
            backend,
        })
    }

    /// Returns what the card can do.
    pub(crate) fn traits(&self) -> &'static Traits {
        self.traits
    }

    /// Returns the size of the card's own memory, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.memory
    }
}

impl<'bound> core::ops::Deref for Card<'bound> {
    type Target = dyn Backend<'bound> + 'bound;

    fn deref(&self) -> &Self::Target {
        &*self.backend
    }
}

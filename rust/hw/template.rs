// SPDX-License-Identifier: GPL-2.0

//! The laboratory's smallest card: one set of registers, one transfer at a time, 64 KiB of memory.
//!
//! What to copy for a card of your own; `Documentation/backend.rst` leads through it. The card's data sheet is
//! at the head of its model, `qemu/template/src/main.rs`.

use kernel::{
    device,
    io::Io,
    pci,
    prelude::*,
    sync::Arc, //
};

use super::{
    check_alive,
    Backend,
    Channel,
    Descriptor,
    Direction,
    End,
    State,
    Traits, //
};

// Every register once, with its offset and its fields; no other number of the kind anywhere.
mod regs {
    use kernel::io::register;

    register! {
        /// Identification.
        pub(super) ID(u32) @ 0x00 {
            31:0 value;
        }

        /// Answers what is written to it, inverted.
        pub(super) LIVENESS(u32) @ 0x04 {
            31:0 value;
        }

        /// Where the host's memory is.
        pub(super) HOST_LOW(u32) @ 0x10 {
            31:0 address;
        }

        /// The upper half.
        pub(super) HOST_HIGH(u32) @ 0x14 {
            31:0 address;
        }

        /// Where in the card's memory.
        pub(super) CARD(u32) @ 0x18 {
            31:0 offset;
        }

        /// How many bytes are moved.
        pub(super) LENGTH(u32) @ 0x1c {
            31:0 bytes;
        }

        /// What to do.
        pub(super) COMMAND(u32) @ 0x20 {
            /// Stop, and forget it.
            2:2 stop => bool;
            1:1 from_card => bool;
            0:0 to_card => bool;
        }

        /// What is done.
        pub(super) STATUS(u32) @ 0x24 {
            /// The last transfer failed.
            1:1 failed => bool;
            0:0 busy => bool;
        }
    }

    pub(super) const IDENTITY: u32 = 0x11ea_0001;
    pub(super) const END: usize = 0x28;
}

// What the engine must know to cut transfers into what the card can do.
pub(super) const TRAITS: Traits = Traits {
    name: c"template",
    max_descriptor: MEMORY,
    boundary: 1 << 32,
    alignment: 1,
    channels: 1,
    depth: 1,
    vectors: 1,
    dma_bits: 64,
    abort: true,
    host_to_host: false,
};

/// Size of the card's memory.
const MEMORY: u64 = 64 << 10;

type Bar<'bound> = pci::Bar<'bound, { regs::END }>;

/// The card. Shares its registers with its channel.
pub(super) struct Template<'bound> {
    pdev: &'bound pci::Device<device::Bound>,
    bar: Arc<Bar<'bound>>,
}

impl<'bound> Template<'bound> {
    pub(super) fn new(pdev: &'bound pci::Device<device::Bound>) -> Result<Self> {
        let bar = pdev.iomap_region_sized(0, c"userdma template")?;
        Ok(Self {
            pdev,
            bar: Arc::new(bar, GFP_KERNEL)?,
        })
    }
}

impl<'bound> Backend<'bound> for Template<'bound> {
    fn reset(&self) -> Result<u64> {
        let id = self.bar.read(regs::ID).into_raw();
        if id != regs::IDENTITY {
            dev_err!(self.pdev, "not a template card: id {id:#010x}\n");
            return Err(ENODEV);
        }
        check_alive(self.pdev, |probe| {
            self.bar
                .write_reg(regs::LIVENESS::zeroed().with_value(probe));
            self.bar.read(regs::LIVENESS).into_raw()
        })?;
        self.bar.write_reg(regs::COMMAND::zeroed().with_stop(true));
        Ok(MEMORY)
    }

    fn channel(&self, _index: u16) -> Result<KBox<dyn Channel + 'bound>> {
        let dma = Dma {
            bar: self.bar.clone(),
            next: None,
            given: None,
        };
        Ok(KBox::new(dma, GFP_KERNEL)?)
    }

    // Message-signalled, so never somebody else's, and with nothing to acknowledge.
    fn interrupt(&self) -> bool {
        true
    }
}

/// The only channel, with room for one descriptor.
struct Dma<'bound> {
    bar: Arc<Bar<'bound>>,
    next: Option<Descriptor>,
    /// The bytes that the card was told to move.
    given: Option<u64>,
}

impl Channel for Dma<'_> {
    fn start(&mut self, _vector: Option<u32>) {
        (self.next, self.given) = (None, None);
    }

    fn room(&self) -> usize {
        usize::from(self.next.is_none() && self.given.is_none())
    }

    fn push(&mut self, descriptor: &Descriptor, _more: bool) {
        self.next = Some(descriptor.clone());
    }

    fn submit(&mut self) {
        let Some(next) = self.next.take() else {
            return;
        };
        let to_card = next.direction == Direction::ToCard;
        // CAST: Halves of an address; offset and length are within the card's memory.
        let (low, high) = (next.bus as u32, (next.bus >> 32) as u32);
        let (offset, length) = (next.target as u32, next.length as u32);
        self.bar
            .write_reg(regs::HOST_LOW::zeroed().with_address(low));
        self.bar
            .write_reg(regs::HOST_HIGH::zeroed().with_address(high));
        self.bar.write_reg(regs::CARD::zeroed().with_offset(offset));
        self.bar
            .write_reg(regs::LENGTH::zeroed().with_bytes(length));
        // Last: it starts the card, and is ordered behind all earlier writes to memory.
        self.bar.write_reg(
            regs::COMMAND::zeroed()
                .with_to_card(to_card)
                .with_from_card(!to_card),
        );
        self.given = Some(next.length);
    }

    fn pop(&mut self) -> Option<End> {
        self.given?;
        let status = self.bar.read(regs::STATUS);
        if status.into_raw() == u32::MAX || status.busy() {
            return None;
        }
        let failed = status.failed();
        self.given.take().map(|length| End {
            bytes: if failed { 0 } else { length },
            failed,
        })
    }

    fn abort(&mut self) {
        self.bar.write_reg(regs::COMMAND::zeroed().with_stop(true));
    }

    fn state(&mut self) -> State {
        let status = self.bar.read(regs::STATUS);
        match status.into_raw() {
            u32::MAX => State::Gone,
            _ if status.busy() => State::Busy,
            _ => State::Idle,
        }
    }

    // It shares no memory of its own with the driver.
    fn quarantine(&mut self) {}
}

// SPDX-License-Identifier: GPL-2.0

//! QEMU's `edu` device: 4 KiB of memory, one transfer at a time, 100 ms each.
//!
//! Specification: QEMU's `docs/specs/edu.rst`.

use kernel::{
    device,
    io::{
        poll::read_poll_timeout,
        Io, //
    },
    pci,
    prelude::*,
    time::Delta, //
};

use super::{
    Backend,
    Descriptor,
    Direction,
    Ended,
    State,
    Traits, //
};

mod regs {
    use kernel::io::register;

    register! {
        /// Identification.
        pub(super) ID(u32) @ 0x00 {
            /// Major version.
            31:24 major;
            /// Minor version.
            23:16 minor;
            /// Always 0xed.
            7:0 magic;
        }

        /// Answers what is written to it, inverted.
        pub(super) LIVENESS(u32) @ 0x04 {
            31:0 value;
        }

        /// What interrupts have been raised and not acknowledged.
        pub(super) IRQ_STATUS(u32) @ 0x24 {
            31:0 bits;
        }

        /// Acknowledges the interrupts whose bits are written.
        pub(super) IRQ_ACK(u32) @ 0x64 {
            31:0 bits;
        }

        /// Where a transfer reads.
        pub(super) DMA_SOURCE(u64) @ 0x80 {
            63:0 address;
        }

        /// Where a transfer writes.
        pub(super) DMA_DESTINATION(u64) @ 0x88 {
            63:0 address;
        }

        /// How many bytes it moves.
        pub(super) DMA_COUNT(u64) @ 0x90 {
            63:0 bytes;
        }

        /// Starts a transfer, and tells whether one is running.
        pub(super) DMA_COMMAND(u64) @ 0x98 {
            /// Raise an interrupt at the end.
            2:2 notify => bool;
            /// From the card to the host's memory.
            1:1 from_card => bool;
            /// Start; reads as busy.
            0:0 run => bool;
        }
    }

    /// The interrupt of a transfer that has ended.
    pub(super) const IRQ_DMA: u32 = 0x100;

    /// Where the card's memory begins in its own addresses.
    pub(super) const MEMORY: u64 = 0x40000;

    /// The end of the registers.
    pub(super) const END: usize = 0xa0;
}

pub(super) const TRAITS: Traits = Traits {
    name: c"edu",
    card_size: 4096,
    max_descriptor: 4096,
    boundary: 1 << 32,
    alignment: 1,
    channels: 1,
    vectors: 1,
    dma_bits: 28,
    abort: false,
};

/// Longer than any transfer takes.
const STOP: Delta = Delta::from_millis(1000);

/// An `edu` card.
pub(crate) struct Edu<'bound> {
    pdev: &'bound pci::Device<device::Bound>,
    bar: pci::Bar<'bound, { regs::END }>,
}

impl<'bound> Edu<'bound> {
    pub(super) fn new(pdev: &'bound pci::Device<device::Bound>) -> Result<Self> {
        Ok(Self {
            pdev,
            bar: pdev.iomap_region_sized(0, c"userdma edu")?,
        })
    }
}

impl Backend for Edu<'_> {
    fn reset(&self) -> Result {
        let id = self.bar.read(regs::ID);
        if u32::from(id.magic()) != 0xed || id.into_raw() == u32::MAX {
            dev_err!(self.pdev, "not an edu card: id {:#010x}\n", id.into_raw());
            return Err(ENODEV);
        }
        let probe = 0x5a5a_1234u32;
        self.bar
            .write_reg(regs::LIVENESS::zeroed().with_value(probe));
        let answer = self.bar.read(regs::LIVENESS).into_raw();
        if answer != !probe {
            dev_err!(self.pdev, "card is not alive: {answer:#010x}\n");
            return Err(ENODEV);
        }
        // A transfer that somebody else began cannot be stopped, but it ends.
        read_poll_timeout(
            || Ok(self.state(0)),
            |state| *state != State::Busy,
            Delta::from_millis(5),
            STOP,
        )
        .inspect_err(|_| dev_err!(self.pdev, "card does not stop\n"))?;
        // What it had to tell is nobody's concern any more.
        let _ = self.interrupt();
        Ok(())
    }

    fn start(&self, _channel: u16, descriptor: &Descriptor, notify: bool) -> Result {
        let card = regs::MEMORY + descriptor.card_offset;
        let (source, destination) = match descriptor.direction {
            Direction::ToCard => (descriptor.bus, card),
            Direction::FromCard => (card, descriptor.bus),
        };
        let from_card = descriptor.direction == Direction::FromCard;
        // 64-bit registers are checked at run time: the kernel crate takes it that a BAR is aligned
        // to 4 bytes only.
        self.bar
            .try_write_reg(regs::DMA_SOURCE::zeroed().with_address(source))?;
        self.bar
            .try_write_reg(regs::DMA_DESTINATION::zeroed().with_address(destination))?;
        self.bar
            .try_write_reg(regs::DMA_COUNT::zeroed().with_bytes(descriptor.length))?;
        // The last write starts the transfer. It is ordered behind all earlier writes to memory,
        // and may stay posted: nothing here depends on when it arrives.
        self.bar.try_write_reg(
            regs::DMA_COMMAND::zeroed()
                .with_run(true)
                .with_from_card(from_card)
                .with_notify(notify),
        )
    }

    fn abort(&self, _channel: u16) {}

    fn state(&self, _channel: u16) -> State {
        let Ok(command) = self.bar.try_read(regs::DMA_COMMAND) else {
            return State::Gone;
        };
        match command.into_raw() {
            u64::MAX => State::Gone,
            _ if command.run() => State::Busy,
            _ => State::Idle,
        }
    }

    fn interrupt(&self) -> Option<Ended> {
        let status = self.bar.read(regs::IRQ_STATUS).into_raw();
        if status == 0 || status == u32::MAX {
            return None;
        }
        self.bar
            .write_reg(regs::IRQ_ACK::zeroed().with_bits(status));
        // Flushes the acknowledgement: else a line interrupt would still be asserted on return.
        let _ = self.bar.read(regs::IRQ_STATUS);
        Some(Ended {
            channels: u32::from(status & regs::IRQ_DMA != 0),
            failed: 0,
        })
    }
}

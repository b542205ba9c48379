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
    sync::Arc,
    time::Delta, //
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

    /// Where the card's memory begins in its own addresses.
    pub(super) const MEMORY: u64 = 0x40000;

    /// And how many bytes it has.
    pub(super) const MEMORY_SIZE: u64 = 4096;

    /// The end of the registers.
    pub(super) const END: usize = 0xa0;
}

pub(super) const TRAITS: Traits = Traits {
    name: c"edu",
    max_descriptor: 4096,
    boundary: 1 << 32,
    alignment: 1,
    channels: 1,
    depth: 1,
    vectors: 1,
    dma_bits: 28,
    abort: false,
    host_to_host: false,
};

/// Longer than any transfer takes.
const STOP: Delta = Delta::from_millis(1000);

type Bar<'bound> = pci::Bar<'bound, { regs::END }>;

/// An `edu` card.
pub(super) struct Edu<'bound> {
    pdev: &'bound pci::Device<device::Bound>,
    bar: Arc<Bar<'bound>>,
}

impl<'bound> Edu<'bound> {
    pub(super) fn new(pdev: &'bound pci::Device<device::Bound>) -> Result<Self> {
        let bar = pdev.iomap_region_sized(0, c"userdma edu")?;
        Ok(Self {
            pdev,
            bar: Arc::new(bar, GFP_KERNEL)?,
        })
    }
}

fn state(bar: &Bar<'_>) -> State {
    // 64-bit registers are checked at run time: the kernel crate takes it that a BAR is aligned to 4
    // bytes only.
    let Ok(command) = bar.try_read(regs::DMA_COMMAND) else {
        return State::Gone;
    };
    match command.into_raw() {
        u64::MAX => State::Gone,
        _ if command.run() => State::Busy,
        _ => State::Idle,
    }
}

impl<'bound> Backend<'bound> for Edu<'bound> {
    fn reset(&self) -> Result<u64> {
        let id = self.bar.read(regs::ID);
        if u32::from(id.magic()) != 0xed || id.into_raw() == u32::MAX {
            dev_err!(self.pdev, "not an edu card: id {:#010x}\n", id.into_raw());
            return Err(ENODEV);
        }
        check_alive(self.pdev, |probe| {
            self.bar
                .write_reg(regs::LIVENESS::zeroed().with_value(probe));
            self.bar.read(regs::LIVENESS).into_raw()
        })?;
        // A transfer that somebody else began cannot be stopped, but it ends.
        read_poll_timeout(
            || Ok(state(&self.bar)),
            |state| *state != State::Busy,
            Delta::from_millis(5),
            STOP,
        )
        .inspect_err(|_| dev_err!(self.pdev, "card does not stop\n"))?;
        // What it had to tell is nobody's concern any more.
        let _ = self.interrupt();
        Ok(regs::MEMORY_SIZE)
    }

    fn channel(&self, _index: u16) -> Result<KBox<dyn Channel + 'bound>> {
        let channel = Dma {
            bar: self.bar.clone(),
            notify: false,
            next: None,
            given: None,
        };
        Ok(KBox::new(channel, GFP_KERNEL)?)
    }

    fn interrupt(&self) -> bool {
        let status = self.bar.read(regs::IRQ_STATUS).into_raw();
        if status == 0 || status == u32::MAX {
            return false;
        }
        self.bar
            .write_reg(regs::IRQ_ACK::zeroed().with_bits(status));
        // Flushes the acknowledgement: else a line interrupt would still be asserted on return.
        let _ = self.bar.read(regs::IRQ_STATUS);
        true
    }
}

/// What the registers of a transfer are to hold.
struct Program {
    source: u64,
    destination: u64,
    length: u64,
    from_card: bool,
}

/// The only channel, with room for one descriptor.
struct Dma<'bound> {
    bar: Arc<Bar<'bound>>,
    notify: bool,
    next: Option<Program>,
    /// How many bytes the card was told to move.
    given: Option<u64>,
}

impl Dma<'_> {
    fn program(&self, program: &Program) -> Result {
        self.bar
            .try_write_reg(regs::DMA_SOURCE::zeroed().with_address(program.source))?;
        self.bar
            .try_write_reg(regs::DMA_DESTINATION::zeroed().with_address(program.destination))?;
        self.bar
            .try_write_reg(regs::DMA_COUNT::zeroed().with_bytes(program.length))?;
        // The last write starts the transfer. It is ordered behind all earlier writes to memory,
        // and may stay posted: nothing here depends on when it arrives.
        self.bar.try_write_reg(
            regs::DMA_COMMAND::zeroed()
                .with_run(true)
                .with_from_card(program.from_card)
                .with_notify(self.notify),
        )
    }
}

impl Channel for Dma<'_> {
    fn start(&mut self, vector: Option<u32>) {
        self.notify = vector.is_some();
        (self.next, self.given) = (None, None);
    }

    fn room(&self) -> usize {
        usize::from(self.next.is_none() && self.given.is_none())
    }

    fn push(&mut self, descriptor: &Descriptor, _more: bool) {
        let card = regs::MEMORY + descriptor.target;
        let from_card = descriptor.direction == Direction::FromCard;
        let (source, destination) = match from_card {
            false => (descriptor.bus, card),
            true => (card, descriptor.bus),
        };
        self.next = Some(Program {
            source,
            destination,
            length: descriptor.length,
            from_card,
        });
    }

    fn submit(&mut self) {
        if let Some(program) = self.next.take() {
            // If a register cannot be written the card stays idle, and has moved nothing.
            let written = self.program(&program);
            self.given = Some(written.map_or(0, |()| program.length));
        }
    }

    fn pop(&mut self) -> Option<End> {
        if self.given.is_none() || state(&self.bar) != State::Idle {
            return None;
        }
        self.given.take().map(|bytes| End {
            bytes,
            failed: bytes == 0,
        })
    }

    fn abort(&mut self) {}

    fn state(&mut self) -> State {
        state(&self.bar)
    }

    fn quarantine(&mut self) {}
}

// SPDX-License-Identifier: GPL-2.0

//! Runs transfers on a card: piece by piece, with time limits, until it is told to stop.
//!
//! Locks: a channel's lock is outermost, then that of a port, then that of [`Kick`]. All are taken
//! in interrupts. Unbind's order is [`Engine::stop`], then [`Engine::drain`]; `driver.rs` keeps it.

mod memory;
mod overdue;
mod stop;

use kernel::{
    device,
    dma::{
        attrs::DMA_ATTR_NO_WARN,
        Coherent, //
    },
    irq::IrqReturn,
    new_spinlock_irq,
    pci,
    prelude::*,
    sync::{
        atomic::{
            ordering::Acquire,
            Atomic, //
        },
        Arc,
        SpinLockIrq, //
    }, //
};

use crate::{
    completion::Port,
    hw::{
        self,
        Descriptor,
        Direction,
        State, //
    },
    pure::split::Piece,
    queue::{
        Lane,
        Lanes,
        Transfer,
        Work, //
    },
    service::{
        now,
        Kick, //
    },
    stats, //
};

/// Files that may be open on one card at once: each interrupt looks at all of them.
const MAX_FILES: usize = 1024;

/// The most that is copied in an interrupt.
const MAX_BOUNCE: u64 = 64 << 10;

/// The transfer that a channel works on.
struct Running {
    transfer: KBox<Transfer>,
    /// `None` if its file was closed.
    lane: Option<usize>,
    piece: Piece,
    /// When the card must have ended the piece.
    deadline: u64,
}

/// A descriptor that was given up but not stopped: its buffer must stay.
struct Draining {
    work: Option<Work>,
    since: u64,
}

struct Channel {
    lanes: Lanes,
    running: Option<Running>,
    draining: Option<Draining>,
    /// Unbind has begun: nothing is started any more.
    stopped: bool,
    /// The card does not answer: nothing is accepted until it does.
    dead: bool,
    /// Where data passes through, if the card cannot reach all memory.
    bounce: Option<Coherent<[u8]>>,
}

#[pin_data]
struct Slot {
    index: u16,
    #[pin]
    channel: SpinLockIrq<Channel>,
}

/// See the module's documentation.
pub(crate) struct Engine<'bound> {
    /// Channels that were given up while the card worked on them. While there are any the card is
    /// cut off from memory, and no channel starts anything.
    cut_off: Atomic<u32>,
    stopped: Atomic<bool>,
    slots: KVec<Pin<KBox<Slot>>>,
    /// Data passes through a bounce buffer: the card reaches only part of the memory.
    pub(crate) bounce: bool,
    pub(crate) timeout_ns: u64,
    kick: Arc<Kick>,
    stats: Arc<stats::Card>,
    pub(crate) hw: hw::Card<'bound>,
    pdev: &'bound pci::Device<device::Bound>,
}

impl<'bound> Engine<'bound> {
    /// Makes the engine of a card that is stopped.
    pub(crate) fn new(
        pdev: &'bound pci::Device<device::Bound>,
        hw: hw::Card<'bound>,
        bounce: bool,
        timeout_ns: u64,
        kick: Arc<Kick>,
        stats: Arc<stats::Card>,
    ) -> Result<Self> {
        let traits = hw.traits();
        let mut slots = KVec::with_capacity(usize::from(traits.channels), GFP_KERNEL)?;
        for index in 0..traits.channels {
            let bounce = match bounce {
                true => Some(Coherent::<u8>::zeroed_slice_with_attrs(
                    pdev.as_ref(),
                    usize::try_from(traits.max_descriptor.min(MAX_BOUNCE))?,
                    GFP_KERNEL,
                    DMA_ATTR_NO_WARN,
                )?),
                false => None,
            };
            let slot = KBox::pin_init(
                pin_init!(Slot {
                    index,
                    channel <- new_spinlock_irq!(Channel {
                        lanes: Lanes::new(),
                        running: None,
                        draining: None,
                        stopped: false,
                        dead: false,
                        bounce,
                    }),
                }),
                GFP_KERNEL,
            )?;
            slots.push(slot, GFP_KERNEL)?;
        }
        Ok(Self {
            cut_off: Atomic::new(0),
            stopped: Atomic::new(false),
            slots,
            bounce,
            timeout_ns,
            kick,
            stats,
            hw,
            pdev,
        })
    }

    /// Gives an open file a lane on each channel; returns their indices. May sleep.
    pub(crate) fn attach(&self, port: &Arc<Port>) -> Result<KVec<usize>> {
        let mut indices = KVec::with_capacity(self.slots.len(), GFP_KERNEL)?;
        for slot in &self.slots {
            match Self::attach_one(slot, port) {
                Ok(index) => indices.push(index, GFP_KERNEL)?,
                Err(error) => {
                    self.detach(&indices);
                    return Err(error);
                }
            }
        }
        Ok(indices)
    }

    fn attach_one(slot: &Slot, port: &Arc<Port>) -> Result<usize> {
        let mut lane = Lane::new(port.clone())?;
        let mut spare = KVec::new();
        loop {
            match slot.channel.lock().lanes.add(lane, &mut spare) {
                Ok(index) => return Ok(index),
                Err(back) => lane = back,
            }
            // Allocate without the lock, and look again: others may open files meanwhile.
            let needed = slot.channel.lock().lanes.needed();
            if needed > MAX_FILES {
                return Err(ENFILE);
            }
            spare = KVec::with_capacity((needed + 1).next_power_of_two(), GFP_KERNEL)?;
        }
    }

    /// Takes a closed file's lanes away. What it has queued is dropped; what the card works on goes
    /// on and tells nobody. May sleep.
    pub(crate) fn detach(&self, indices: &[usize]) {
        for (slot, index) in self.slots.iter().zip(indices) {
            let mut channel = slot.channel.lock();
            let lane = channel.lanes.take(*index);
            if let Some(running) = &mut channel.running {
                if running.lane == Some(*index) {
                    running.lane = None;
                }
            }
            drop(channel);
            drop(lane);
        }
    }

    /// Queues a transfer, and starts it if the channel is idle.
    ///
    /// # Errors
    ///
    /// The transfer, and [`ENODEV`] after unbind has begun, [`EIO`] while the card is dead.
    pub(crate) fn submit(
        &self,
        channel: u16,
        lane: usize,
        transfer: KBox<Transfer>,
    ) -> Result<(), (KBox<Transfer>, Error)> {
        let Some(slot) = self.slots.get(usize::from(channel)) else {
            return Err((transfer, EINVAL));
        };
        let mut channel = slot.channel.lock();
        if channel.stopped {
            return Err((transfer, ENODEV));
        }
        if channel.dead {
            return Err((transfer, EIO));
        }
        if let Err(transfer) = channel.lanes.push(lane, transfer) {
            return Err((transfer, ENODEV));
        }
        self.stats.submitted.add(1);
        self.start_next(slot, &mut channel);
        Ok(())
    }

    /// Withdraws the request of a read() or write() that was interrupted. Once the card works on
    /// it, it goes on and tells nobody.
    pub(crate) fn abandon_direct(&self, channel: u16, lane: usize) {
        let Some(slot) = self.slots.get(usize::from(channel)) else {
            return;
        };
        let mut channel = slot.channel.lock();
        let queued = channel.lanes.withdraw_direct(lane);
        if let Some(running) = &mut channel.running {
            if running.transfer.direct && running.lane == Some(lane) {
                running.lane = None;
            }
        }
        drop(channel);
        // Frees its buffer, perhaps, which may sleep.
        drop(queued);
    }

    /// Called by the interrupt handler.
    pub(crate) fn interrupt(&self) -> IrqReturn {
        let Some(ended) = self.hw.interrupt() else {
            return IrqReturn::None;
        };
        self.stats.interrupts.add(1);
        for slot in &self.slots {
            let bit = 1u32.checked_shl(u32::from(slot.index)).unwrap_or(0);
            if ended.channels & bit != 0 {
                let mut channel = slot.channel.lock();
                self.ended(slot, &mut channel, ended.failed & bit != 0);
            }
        }
        if ended.channels == 0 {
            self.stats.spurious_interrupts.add(1);
        }
        IrqReturn::Handled
    }

    /// Starts what goes next, if the channel is free.
    fn start_next(&self, slot: &Slot, channel: &mut Channel) {
        while channel.running.is_none()
            && channel.draining.is_none()
            && !channel.stopped
            && self.cut_off.load(Acquire) == 0
        {
            let Some((lane, mut transfer)) = channel.lanes.next() else {
                return;
            };
            transfer.start_ns = now();
            self.start_piece(slot, channel, Some(lane), transfer);
        }
    }

    /// Gives the card the next piece of a transfer, or ends the transfer if that cannot be.
    fn start_piece(
        &self,
        slot: &Slot,
        channel: &mut Channel,
        lane: Option<usize>,
        transfer: KBox<Transfer>,
    ) {
        let Some(work) = &transfer.work else {
            return self.finish(channel, lane, transfer, Err(EIO));
        };
        let piece = match self.prepare(channel.bounce.as_ref(), work, transfer.bytes) {
            Ok(piece) => piece,
            Err(error) => return self.finish(channel, lane, transfer, Err(error)),
        };
        let now = now();
        let mut deadline = now.saturating_add(self.timeout_ns);
        if work.timeout_ns != 0 {
            deadline = deadline.min(transfer.start_ns.saturating_add(work.timeout_ns));
        }
        let descriptor = Descriptor {
            direction: work.direction,
            bus: piece.bus,
            // Cannot wrap: the range was checked against the card's memory.
            card_offset: work.card_offset + transfer.bytes,
            length: piece.length,
        };
        if let Err(error) = self.hw.start(slot.index, &descriptor, true) {
            return self.finish(channel, lane, transfer, Err(error));
        }
        self.stats.descriptors.add(1);
        channel.running = Some(Running {
            transfer,
            lane,
            piece,
            deadline,
        });
        self.kick.watch(deadline);
    }

    /// Called when the card says that a channel's piece has ended.
    fn ended(&self, slot: &Slot, channel: &mut Channel, failed: bool) {
        if self.hw.state(slot.index) != State::Idle {
            // Late news of a piece that was given up, or a card that has gone: `tick()` sees to it.
            self.stats.spurious_interrupts.add(1);
            return;
        }
        if channel.draining.is_some() {
            return self.resume(slot, channel);
        }
        let Some(Running {
            mut transfer,
            lane,
            piece,
            ..
        }) = channel.running.take()
        else {
            self.stats.spurious_interrupts.add(1);
            return;
        };
        // What ended while the card was cut off did not move anything.
        let failed = failed || self.cut_off.load(Acquire) != 0;
        let result = match (&transfer.work, failed) {
            (Some(work), false) => self
                .retire(channel.bounce.as_ref(), work, transfer.bytes, piece)
                .map(|()| (work.direction, transfer.bytes + piece.length == work.length)),
            _ => Err(EIO),
        };
        match result {
            Err(error) => self.finish(channel, lane, transfer, Err(error)),
            Ok((direction, whole)) => {
                transfer.bytes += piece.length;
                match direction {
                    Direction::ToCard => self.stats.bytes_to_card.add(piece.length),
                    Direction::FromCard => self.stats.bytes_from_card.add(piece.length),
                }
                if whole {
                    self.finish(channel, lane, transfer, Ok(()));
                } else if channel.stopped {
                    self.finish(channel, lane, transfer, Err(ENODEV));
                } else {
                    self.start_piece(slot, channel, lane, transfer);
                }
            }
        }
        self.start_next(slot, channel);
    }

    /// Ends a transfer.
    fn finish(
        &self,
        channel: &mut Channel,
        lane: Option<usize>,
        mut transfer: KBox<Transfer>,
        result: Result,
    ) {
        transfer.end_ns = now();
        transfer.result = result.err().map_or(0, |error| error.to_errno());
        match transfer.result {
            0 => self.stats.completed.add(1),
            _ => self.stats.failed.add(1),
        }
        // The card is done with the buffer.
        if let Some(work) = transfer.work.take() {
            work.buffer.put_atomic();
        }
        drop(channel.lanes.complete(lane, transfer));
    }
}

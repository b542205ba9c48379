// SPDX-License-Identifier: GPL-2.0

//! Runs transfers on a card: piece by piece, with time limits, until it is told to stop.
//!
//! Locks: a channel's lock is outermost, then that of a port, then that of [`Kick`]. All are taken
//! in interrupts. Unbind's order is [`Engine::stop`], then [`Engine::drain`]; `driver.rs` keeps it.

mod memory;
mod overdue;
mod run;
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
        atomic::Atomic,
        Arc,
        SpinLockIrq, //
    }, //
};

use crate::{
    completion::Port,
    hw,
    pure::split::Piece,
    queue::{
        Lane,
        Lanes,
        Transfer,
        Work, //
    },
    service::Kick,
    stats, //
};

/// Files that may be open on one card at once: each interrupt looks at all of them.
const MAX_FILES: usize = 1024;

/// The most that is copied in an interrupt.
const MAX_BOUNCE: u64 = 64 << 10;

/// The transfer that a channel works on.
struct Running {
    transfer: KBox<Transfer>,
    /// `None` if nobody waits for it any more.
    lane: Option<usize>,
    piece: Piece,
    /// When the card must have ended the piece.
    deadline: u64,
    /// It ends with this piece: nobody wants the rest.
    last: bool,
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
                    for (channel, index) in indices.iter().enumerate() {
                        // Nothing is queued yet.
                        drop(self.detach(channel, *index));
                    }
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

    /// Takes a closed file's lane of a channel away. What the card works on ends with the piece that it
    /// works on, and tells nobody.
    ///
    /// Returns what was queued. To drop it gives memory of programs back, which may wait for a lock of
    /// theirs: not with the guard held.
    pub(crate) fn detach(&self, channel: usize, index: usize) -> Option<Lane> {
        let mut channel = self.slots.get(channel)?.channel.lock();
        let lane = channel.lanes.take(index);
        if let Some(running) = &mut channel.running {
            if running.lane == Some(index) {
                running.lane = None;
                running.last = true;
            }
        }
        lane
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

    /// Withdraws the request of a read() or write() that was interrupted. Once the card works on it, it
    /// ends with the piece that the card works on.
    ///
    /// Returns whether it will tell its file how it ended, which it does only if that is `wanted`.
    pub(crate) fn withdraw_direct(&self, channel: u16, lane: usize, wanted: bool) -> bool {
        let Some(slot) = self.slots.get(usize::from(channel)) else {
            return false;
        };
        let mut channel = slot.channel.lock();
        let queued = channel.lanes.withdraw_direct(lane);
        if let Some(running) = &mut channel.running {
            if running.transfer.direct && running.lane == Some(lane) {
                running.last = true;
                if !wanted {
                    running.lane = None;
                }
            }
        }
        drop(channel);
        // Drops the transfer, when this returns. Not its buffer: the caller has another reference.
        wanted && queued.is_none()
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
}

// SPDX-License-Identifier: GPL-2.0

//! Runs transfers on a card: chain by chain, with time limits, until it is told to stop.
//!
//! A channel is *given* the next chains of the transfers that go next, as many as it takes, and works on
//! them in order. A transfer that is too long for one chain gets the next when that has ended; until its last
//! was given, nothing is given behind it, so that a file's transfers stay in order.
//!
//! Locks: a channel's lock is outermost, then that of a port, then that of [`Kick`]. All are taken
//! in interrupts. Unbind's order is [`Engine::stop`], then [`Engine::drain`]; `driver.rs` keeps it.

mod memory;
mod overdue;
mod run;
mod stop;
mod submit;

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
            ordering::{
                Acquire,
                Relaxed,
                Release, //
            },
            Atomic, //
        },
        Arc,
        SpinLockIrq, //
    }, //
};

use crate::{
    buffer::BufferRef,
    completion::{
        fifo,
        Fifo,
        Port, //
    },
    hw,
    pure::ahead::Ahead,
    queue::{
        Lane,
        Lanes,
        Transfer, //
    },
    service::{
        self,
        Kick, //
    },
    stats, //
};

/// Files that may be open on one card at once: each interrupt looks at all of them.
const MAX_FILES: usize = 1024;

/// The most that is copied in an interrupt.
const MAX_BOUNCE: u64 = 64 << 10;

/// The most bytes of one chain: its time limit is for all of it.
const MOST_CHAIN: u64 = 64 << 20;

/// A chain that a channel was given, and the transfer that it belongs to.
struct Given {
    transfer: KBox<Transfer>,
    /// `None` if nobody waits for it any more.
    lane: Option<usize>,
    /// Bytes of the chain.
    length: u64,
    /// The transfer ends with this chain: nobody wants the rest.
    last: bool,
    /// [`Engine::cuts`] when it was given.
    cuts: u32,
}

/// The card was told to stop a channel, and has not.
struct Draining {
    since: u64,
    /// The card was cut off from memory for it.
    cut: bool,
}

struct Channel<'bound> {
    index: u16,
    lanes: Lanes,
    hw: KBox<dyn hw::Channel + 'bound>,
    /// Oldest first.
    given: Fifo<Given>,
    /// The bytes of all of them.
    bytes: u64,
    /// How much it is given before it has moved some.
    ahead: Ahead,
    /// When the card must have ended the oldest.
    deadline: u64,
    /// What was given has been forgotten by the card, and must be given again before anything else.
    again: bool,
    draining: Option<Draining>,
    /// Buffers of transfers that were given up, but that the card may still use.
    held: Fifo<BufferRef>,
    /// Unbind has begun: nothing is started any more.
    stopped: bool,
    /// The card does not answer here.
    dead: bool,
    /// Its bit in [`Engine::busy`].
    busy: bool,
    /// The card was given something and has not been told.
    untold: bool,
    /// Where data passes through, if the card cannot reach all memory. Then one chain at a time is given.
    bounce: Option<Coherent<[u8]>>,
}

/// When the card is told of what it was given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Now,
    /// By [`Engine::tell`], or when something else happens on the channel.
    Later,
}

/// Returns a channel's bit.
fn bit(channel: u16) -> u64 {
    1 << (channel & 63)
}

/// See the module's documentation.
pub(crate) struct Engine<'bound> {
    /// Channels for whose sake the card is cut off from memory. While there are any, no channel starts anything.
    cut_off: Atomic<u32>,
    /// How often the card was cut off: what ran while it was did not move anything, whatever the card says.
    cuts: Atomic<u32>,
    /// Channels that are dead, and for whose sake the card stays cut off: nothing is accepted on any.
    lost: Atomic<u32>,
    stopped: Atomic<bool>,
    /// Some file wants to know of interrupts, or did.
    watched: Atomic<bool>,
    /// Interrupts that channels are spread over; 0 until they run.
    vectors: Atomic<u32>,
    /// A bit for each channel that waits for the card. Changed under the channel's lock.
    busy: Atomic<u64>,
    channels: KVec<Pin<KBox<SpinLockIrq<Channel<'bound>>>>>,
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
        let mut channels = KVec::with_capacity(usize::from(traits.channels), GFP_KERNEL)?;
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
            let (hw, given) = (hw.channel(index)?, fifo(traits.depth)?);
            // A transfer has two at most.
            let held = fifo(2 * traits.depth)?;
            let channel = KBox::pin_init(
                new_spinlock_irq!(Channel {
                    index,
                    lanes: Lanes::new(),
                    hw,
                    given,
                    bytes: 0,
                    ahead: Ahead::new(),
                    deadline: service::NEVER,
                    again: false,
                    draining: None,
                    held,
                    stopped: false,
                    dead: false,
                    busy: false,
                    untold: false,
                    bounce,
                }),
                GFP_KERNEL,
            )?;
            channels.push(channel, GFP_KERNEL)?;
        }
        Ok(Self {
            cut_off: Atomic::new(0),
            cuts: Atomic::new(0),
            lost: Atomic::new(0),
            stopped: Atomic::new(false),
            watched: Atomic::new(false),
            vectors: Atomic::new(0),
            busy: Atomic::new(0),
            channels,
            bounce,
            timeout_ns,
            kick,
            stats,
            hw,
            pdev,
        })
    }

    /// Lets the channels run. Their interrupts are spread over `vectors`, at least one.
    ///
    /// Called once, when the card may reach memory and handlers are there.
    pub(crate) fn start(&self, vectors: u32) {
        self.vectors.store(vectors.max(1), Release);
        for channel in &self.channels {
            let mut channel = channel.lock();
            let vector = self.vector(channel.index);
            channel.hw.start(vector);
        }
    }

    /// Returns the interrupt that tells of a channel, once they run.
    fn vector(&self, channel: u16) -> Option<u32> {
        u32::from(channel).checked_rem(self.vectors.load(Acquire))
    }

    /// Gives an open file a lane on each channel; returns their indices. May sleep.
    pub(crate) fn attach(&self, port: &Arc<Port>) -> Result<KVec<usize>> {
        let mut indices = KVec::with_capacity(self.channels.len(), GFP_KERNEL)?;
        for channel in &self.channels {
            match Self::attach_one(channel, port) {
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

    fn attach_one(channel: &SpinLockIrq<Channel<'_>>, port: &Arc<Port>) -> Result<usize> {
        let mut lane = Lane::new(port.clone())?;
        let mut spare = KVec::new();
        loop {
            match channel.lock().lanes.add(lane, &mut spare) {
                Ok(index) => return Ok(index),
                Err(back) => lane = back,
            }
            // Allocate without the lock, and look again: others may open files meanwhile.
            let needed = channel.lock().lanes.needed();
            if needed > MAX_FILES {
                return Err(ENFILE);
            }
            spare = KVec::with_capacity((needed + 1).next_power_of_two(), GFP_KERNEL)?;
        }
    }

    /// Takes a closed file's lane of a channel away. What the card was given ends with its chain, and tells
    /// nobody.
    ///
    /// Returns what was queued. To drop it gives memory of programs back, which may wait for a lock of
    /// theirs: not with the guard held.
    pub(crate) fn detach(&self, channel: usize, index: usize) -> Option<Lane> {
        let mut channel = self.channels.get(channel)?.lock();
        let lane = channel.lanes.take(index);
        for given in channel.given.iter_mut() {
            if given.lane == Some(index) {
                (given.lane, given.last) = (None, true);
            }
        }
        lane
    }

    /// Withdraws the request of a read() or write() that was interrupted. Once the card was given it, it
    /// ends with its chain.
    ///
    /// Returns whether it will tell its file how it ended, which it does only if that is `wanted`.
    pub(crate) fn withdraw_direct(&self, channel: u16, lane: usize, wanted: bool) -> bool {
        let Some(channel) = self.channels.get(usize::from(channel)) else {
            return false;
        };
        let mut channel = channel.lock();
        let queued = channel.lanes.withdraw(lane, |transfer| transfer.direct);
        for given in channel.given.iter_mut() {
            if given.transfer.direct && given.lane == Some(lane) {
                given.last = true;
                if !wanted {
                    given.lane = None;
                }
            }
        }
        drop(channel);
        // Drops the transfer, when this returns. Not its buffer: the caller has another reference.
        wanted && queued.is_none()
    }

    /// Tells the ports of all interrupts from now on.
    pub(crate) fn watch_interrupts(&self) {
        self.watched.store(true, Release);
    }

    /// Called by the handler of interrupt `vector`.
    pub(crate) fn interrupt(&self, vector: u32) -> IrqReturn {
        if !self.hw.interrupt() {
            return IrqReturn::None;
        }
        self.stats.interrupts.add(1);
        let mut news = false;
        // What a channel waits for was given before the card could tell of its end.
        let busy = self.busy.load(Relaxed);
        for (index, channel) in (0..).zip(&self.channels) {
            // Without the locks of the others.
            if busy & bit(index) != 0 && self.vector(index) == Some(vector) {
                news |= self.collect(&mut channel.lock());
            }
        }
        if !news {
            self.stats.spurious_interrupts.add(1);
        }
        if self.watched.load(Acquire) {
            // Each file has a lane on each channel.
            if let Some(channel) = self.channels.first() {
                let channel = channel.lock();
                channel.lanes.for_each_port(|port| port.interrupted(vector));
            }
        }
        IrqReturn::Handled
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A ring for one thread at a time. `state` is what it tells of itself.

mod state;

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use io_uring::cqueue::Entry32;
use io_uring::opcode::UringCmd80;
use io_uring::squeue::Entry128;
use io_uring::types::Fixed;
use io_uring::types::SubmitArgs;
use io_uring::types::Timespec;
use io_uring::IoUring;
use rustix::io::Errno;
use slab::Slab;
use zerocopy::FromZeros as _;
use zerocopy::IntoBytes as _;

use super::completion::ended;
use super::completion::failed;
use super::Completion;
use super::RingBuilder;
use crate::completion;
use crate::explain;
use crate::sys;
use crate::wait;
use crate::Device;
use crate::Error;
use crate::Result;
use crate::Transfer;
use crate::Wait;

/// Where the device is in the ring's table of files.
const DEVICE: Fixed = Fixed(0);

/// Bytes of an entry that are the driver's.
const PAYLOAD: usize = 80;

/// A ring of io_uring's for the transfers of one open device.
///
/// [`push`](Self::push) puts transfers down, [`submit`](Self::submit) or
/// [`wait`](Self::wait) hands all of them to the kernel with one system call. Its file
/// can be read ([`AsFd`]) when a completion is there, for event loops. When it is dropped,
/// what the card was not given is withdrawn and the rest ends by itself.
///
/// # Examples
///
/// ```no_run
/// use userdma::{uring::Ring, Device, Transfer, Wait};
///
/// let card = Device::first()?;
/// let buffer = card.huge(2 << 20).allocate()?;
/// let mut ring = Ring::new(&card)?;
/// for number in 0..8 {
///     let place = number * 4096;
///     ring.push(&Transfer::from_card(&buffer, place..place + 4096, 0).user_data(number))?;
/// }
/// for completion in ring.wait(&Wait::new().min(8))? {
///     println!("{} ended", completion.user_data());
///     completion.result()?;
/// }
/// # Ok::<(), userdma::Error>(())
/// ```
pub struct Ring {
    ring: IoUring<Entry128, Entry32>,
    device: Device,
    /// What was put down and has not ended, by the name that the kernel gives back.
    flights: Slab<Flight>,
    transfers: usize,
    ready: VecDeque<Completion>,
    calls: u64,
}

/// What was put down.
enum Flight {
    Transfer(Transfer),
    /// To withdraw others, which tells by how they end.
    Withdrawal,
}

impl Ring {
    /// Makes a ring with room for as many transfers as the file has slots.
    ///
    /// # Errors
    ///
    /// As [`RingBuilder::build`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let ring = userdma::uring::Ring::new(&card)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn new(device: &Device) -> Result<Self> {
        Self::builder(device).build()
    }

    /// Begins to say how to make a ring.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let ring = userdma::uring::Ring::builder(&card).entries(16).build()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn builder(device: &Device) -> RingBuilder<'_> {
        RingBuilder::new(device)
    }

    pub(super) fn with(ring: IoUring<Entry128, Entry32>, device: &Device) -> Self {
        Self {
            ring,
            device: device.clone(),
            flights: Slab::new(),
            transfers: 0,
            ready: VecDeque::new(),
            calls: 0,
        }
    }

    /// Puts a transfer down; [`submit`](Self::submit) or [`wait`](Self::wait) hands it
    /// over. Those of one channel run in this order. Does not sleep.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`](crate::ErrorKind)s `WouldBlock` (there is no [`room`](Self::room): take
    /// completions first), and those of [`submit`](Self::submit). Whether the driver
    /// takes it is told by its completion.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::{uring::Ring, Transfer};
    /// # let card = userdma::Device::first()?;
    /// # let buffer = card.coherent(4096).allocate()?;
    /// let mut ring = Ring::new(&card)?;
    /// ring.push(&Transfer::to_card(&buffer, 0..4096, 0).user_data(1))?;
    /// ring.submit()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn push(&mut self, transfer: &Transfer) -> Result<()> {
        if self.room() == 0 {
            return Err(Error::Ring {
                errno: Errno::AGAIN,
                explanation: Box::new(explain::ring_full(self.transfers)),
            });
        }
        let payload = transfer.as_bytes();
        let flight = Flight::Transfer(*transfer);
        self.put(sys::USERDMA_URING_TRANSFER, payload, flight)?;
        self.transfers += 1;
        Ok(())
    }

    /// Puts down that transfers of a channel with this name are to be withdrawn:
    /// those that the card was not given yet. Each ends once, with
    /// [`ErrorKind::Canceled`](crate::ErrorKind::Canceled) or as if nobody had asked. Reaches transfers of
    /// [`Device::submit`] on the same open file, too.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let mut ring = userdma::uring::Ring::new(&userdma::Device::first()?)?;
    /// ring.cancel(0, 7)?;
    /// ring.submit()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn cancel(&mut self, channel: u16, user_data: u64) -> Result<()> {
        let mut cancel = sys::userdma_cancel::new_zeroed();
        cancel.size = sys::size_of::<sys::userdma_cancel>();
        cancel.channel = channel.into();
        cancel.user_data = user_data;
        let op = sys::USERDMA_URING_CANCEL;
        self.put(op, cancel.as_bytes(), Flight::Withdrawal)
    }

    fn put(&mut self, op: u32, payload: &[u8], flight: Flight) -> Result<()> {
        // Completions beyond their ring's size would cost the kernel memory.
        let most = usize::try_from(self.ring.params().cq_entries()).unwrap_or(usize::MAX);
        while self.flights.len() >= most {
            self.reap();
            if self.flights.len() >= most {
                self.enter(1, None)?;
            }
        }
        if self.ring.submission().is_full() {
            self.submit()?;
        }
        if self.ring.submission().is_full() {
            // A thread of the kernel's takes them, and has not come to it yet.
            let waited = self.ring.submitter().squeue_wait();
            waited.map_err(|error| failed(&error))?;
        }
        let mut bytes = [0; PAYLOAD];
        bytes[..payload.len()].copy_from_slice(payload);
        let entry = UringCmd80::new(DEVICE, op).cmd(bytes).build();
        let name = self.flights.insert(flight);
        let entry = entry.user_data(u64::try_from(name).unwrap_or(u64::MAX));
        // SAFETY: the entry has no pointer in it, so nothing must outlive it: the driver
        // reaches only buffers that it knows by handle, and keeps their memory.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.map_err(|_| {
            self.flights.remove(name);
            completion::error(Errno::BUSY)
        })
    }

    /// Hands over what was put down, with one system call; a
    /// [polled](RingBuilder::polled) ring makes none unless its thread
    /// sleeps. Does not wait for transfers to end, nor for slots: a transfer for which the file
    /// has none waits in a thread of the kernel's.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`](crate::ErrorKind)s `Interrupted`, `WouldBlock` (the kernel is short of memory); what
    /// was put down stays so, and the next call hands it over.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let mut ring = userdma::uring::Ring::new(&userdma::Device::first()?)?;
    /// ring.submit()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn submit(&mut self) -> Result<()> {
        let entries = self.ring.submission();
        if entries.is_empty() {
            return Ok(());
        }
        let asleep = entries.need_wakeup();
        drop(entries);
        // As the crate decides it: a thread that is awake is not called.
        if asleep || !self.ring.params().is_setup_sqpoll() {
            self.calls += 1;
        }
        match self.ring.submit() {
            Ok(_) => Ok(()),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Hands over what was put down, waits for transfers to end, and gives their
    /// completions. With nothing in flight it gives none at once. What is not taken from the iterator
    /// is given by the next call.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`](crate::ErrorKind)s `TimedOut`, `Interrupted`, `WouldBlock`; none of them loses a
    /// completion.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use userdma::{uring::Ring, Wait};
    /// # let mut ring = Ring::new(&userdma::Device::first()?)?;
    /// for completion in ring.wait(&Wait::new().min(4).timeout(Duration::from_secs(1)))? {
    ///     completion.result()?;
    /// }
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn wait(&mut self, wait: &Wait) -> Result<impl Iterator<Item = Completion> + '_> {
        let deadline = wait.deadline();
        self.reap();
        if self.ready.len() >= wait.min {
            self.submit()?;
        }
        // What is taken already, and what is still to come.
        while self.ready.len() < wait.min.min(self.ready.len() + self.transfers) {
            let left = wait::left(deadline);
            let missing = (wait.min - self.ready.len()).min(self.transfers);
            let entered = self.enter(missing, left);
            self.reap();
            match entered {
                // With one taken the call succeeds, as that of the device does.
                Err(_) if !self.ready.is_empty() => break,
                other => other?,
            }
        }
        let mut left = self.ready.len().min(wait.max);
        // One by one: what is not asked for stays.
        Ok(std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            self.ready.pop_front()
        }))
    }

    /// Sleeps until so many entries have ended.
    fn enter(&mut self, count: usize, limit: Option<Duration>) -> Result<()> {
        self.calls += 1;
        let submitter = self.ring.submitter();
        let entered = match limit {
            None => submitter.submit_and_wait(count),
            Some(limit) => {
                let limit = Timespec::new()
                    .sec(limit.as_secs())
                    .nsec(limit.subsec_nanos());
                submitter.submit_with_args(count, &SubmitArgs::new().timespec(&limit))
            }
        };
        entered.map(drop).map_err(|error| failed(&error))
    }

    /// Takes what is there.
    pub(super) fn reap(&mut self) {
        let Self {
            ring,
            device,
            flights,
            transfers,
            ready,
            ..
        } = self;
        for entry in ring.completion() {
            let name = usize::try_from(entry.user_data()).ok();
            let flight = name.and_then(|name| flights.try_remove(name));
            if let Some(Flight::Transfer(transfer)) = flight {
                *transfers -= 1;
                ready.push_back(ended(device, &transfer, &entry));
            }
        }
    }

    /// Gives one that was taken.
    pub(super) fn taken(&mut self) -> Option<Completion> {
        self.ready.pop_front()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("device", &self.device)
            .field("in_flight", &self.transfers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_goes_to_other_threads() {
        fn needs<T: Send + Sync>() {}
        needs::<Ring>();
    }
}

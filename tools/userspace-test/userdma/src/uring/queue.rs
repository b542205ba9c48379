// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Transfers that are awaited, with any executor.

use std::fmt;
use std::sync::Arc;

use super::owner::Owner;
use super::Ring;
use super::Running;
use crate::Device;
use crate::Result;
use crate::Transfer;

/// Transfers of one open device that are awaited: [`run`](Self::run) gives a future. Works with
/// any executor; needs no runtime, but has a thread of its own that sleeps until transfers
/// end.
///
/// A clone is the same queue. All methods take `&self` and may be called by several threads
/// at once. What is in flight when the last clone and the last future are gone ends by
/// itself; the thread, and the files of ring and card with it, go soon after.
///
/// # Examples
///
/// ```no_run
/// use userdma::{uring::Queue, Device, Transfer};
///
/// # async fn example() -> userdma::Result<()> {
/// let card = Device::first()?;
/// let queue = Queue::new(&card)?;
/// let buffer = card.huge(2 << 20).allocate()?;
/// // Both are under way before the first is awaited; those of one channel run in order.
/// let there = queue.run(Transfer::to_card(&buffer, 0..4096, 0));
/// let back = queue.run(Transfer::from_card(&buffer, 8192..12288, 0));
/// assert_eq!(there.await?, 4096);
/// assert_eq!(back.await?, 4096);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Queue {
    pub(super) owner: Arc<Owner>,
}

impl Queue {
    /// Makes a queue with a ring of its own.
    ///
    /// # Errors
    ///
    /// As [`RingBuilder::build`](super::RingBuilder::build), or
    /// [`Error::System`] if there can be no thread or no file.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let queue = userdma::uring::Queue::new(&card)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn new(device: &Device) -> Result<Self> {
        Self::with(Ring::new(device)?)
    }

    /// Makes a queue of a ring, for one that is [polled](super::RingBuilder::polled). What is in
    /// flight in it goes on, and nobody is told how it ends.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if there can be no thread or no file.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use userdma::uring::{Queue, Ring};
    /// # let card = userdma::Device::first()?;
    /// let queue = Queue::with(Ring::builder(&card).polled(Duration::from_secs(1)).build()?)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn with(ring: Ring) -> Result<Self> {
        let owner = Arc::new(Owner::new(ring)?);
        Ok(Self { owner })
    }

    /// Gives the device whose transfers it takes.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let queue = userdma::uring::Queue::new(&userdma::Device::first()?)?;
    /// println!("{}", queue.device().path().display());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn device(&self) -> &Device {
        self.owner.device()
    }

    /// Hands a transfer over at once, with one system call, and gives the future
    /// of its end: the bytes moved, or why it was refused or failed. Those of one channel run in the
    /// order of these calls. Does not sleep: what the ring has no room for follows when others
    /// have ended. The name of the transfer comes back in errors only.
    ///
    /// A future that is dropped withdraws its transfer, if the card was not given it
    /// yet. The memory of a transfer stays until the card is done with it, in any case.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::{uring::Queue, Transfer};
    /// # async fn example(queue: Queue, buffer: userdma::Buffer) -> userdma::Result<()> {
    /// let bytes = queue.run(Transfer::from_card(&buffer, 0..4096, 0)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn run(&self, transfer: Transfer) -> Running {
        let id = self.owner.begin(&[transfer]).start;
        Running::new(self.clone(), id, &transfer)
    }

    /// The same for several transfers, with one system call for all of them.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::{uring::Queue, Transfer};
    /// # async fn example(queue: Queue, buffer: userdma::Buffer) -> userdma::Result<()> {
    /// let pieces = (0..8).map(|piece| piece * 4096);
    /// let all = pieces.map(|at| Transfer::from_card(&buffer, at..at + 4096, 0));
    /// for running in queue.run_all(all) {
    ///     running.await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn run_all(&self, transfers: impl IntoIterator<Item = Transfer>) -> Vec<Running> {
        // Before the lock is taken: the iterator is the caller's.
        let transfers: Vec<_> = transfers.into_iter().collect();
        let ids = self.owner.begin(&transfers);
        ids.zip(&transfers)
            .map(|(id, transfer)| Running::new(self.clone(), id, transfer))
            .collect()
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("device", self.device())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_and_futures_go_to_other_threads() {
        fn needs<T: Send + Sync>() {}
        needs::<Queue>();
        needs::<Running>();
    }
}

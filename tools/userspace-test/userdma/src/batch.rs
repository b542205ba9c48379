// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Several transfers for one system call, and their completions one by one.

use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::ops::Range;
use std::time::Duration;

use crate::Buffer;
use crate::Completion;
use crate::Device;
use crate::Result;
use crate::Transfer;
use crate::Wait;

/// Transfers that are queued together, with one system call.
///
/// Each gets its place in the batch as its name
/// ([`Completion::user_data`]), unless it is [pushed](Self::push) with one of its own. The channel and the
/// timeout are those that were set last.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
/// use userdma::{Batch, Device};
///
/// let card = Device::first()?;
/// let buffer = card.huge(4 << 20).allocate()?;
/// let mut batch = Batch::new(&card);
/// batch.to_card(&buffer, 0..4096, 0).from_card(&buffer, 8192..12288, 0);
/// for completion in batch.run(Some(Duration::from_secs(5)))? {
///     println!("{} moved {} bytes", completion.user_data(), completion.result()?);
/// }
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing moves until it is submitted"]
pub struct Batch<'a> {
    device: &'a Device,
    transfers: Vec<Transfer>,
    channel: u16,
    timeout: Option<Duration>,
    next: u64,
}

impl<'a> Batch<'a> {
    /// Begins an empty batch.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let batch = userdma::Batch::new(&card);
    /// assert!(batch.is_empty());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn new(device: &'a Device) -> Self {
        Self {
            device,
            transfers: Vec::new(),
            channel: 0,
            timeout: None,
            next: 0,
        }
    }

    /// Puts what is added from now on on this channel of the card; 0 at first.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// # let buffer = card.coherent(8192).allocate()?;
    /// let mut batch = userdma::Batch::new(&card);
    /// batch.channel(1).to_card(&buffer, 0..4096, 0);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn channel(&mut self, channel: u16) -> &mut Self {
        self.channel = channel;
        self
    }

    /// Limits the time that each transfer added from now on may take on the
    /// card.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let mut batch = userdma::Batch::new(&card);
    /// batch.timeout(std::time::Duration::from_millis(500));
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn timeout(&mut self, timeout: Duration) -> &mut Self {
        self.timeout = Some(timeout);
        self
    }

    /// Adds a transfer of a range of `buffer` to the card, as
    /// [`Transfer::to_card`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// # let buffer = card.coherent(8192).allocate()?;
    /// let mut batch = userdma::Batch::new(&card);
    /// batch.to_card(&buffer, 0..4096, 0).to_card(&buffer, 4096..8192, 0);
    /// assert_eq!(batch.len(), 2);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn to_card(&mut self, buffer: &Buffer, range: Range<u64>, card_offset: u64) -> &mut Self {
        self.add(Transfer::to_card(buffer, range, card_offset))
    }

    /// Adds a transfer from the card to a range of `buffer`, as
    /// [`Transfer::from_card`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// # let buffer = card.coherent(8192).allocate()?;
    /// let mut batch = userdma::Batch::new(&card);
    /// batch.from_card(&buffer, 0..4096, 0);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn from_card(&mut self, buffer: &Buffer, range: Range<u64>, card_offset: u64) -> &mut Self {
        self.add(Transfer::from_card(buffer, range, card_offset))
    }

    /// Adds a transfer as it is, with the name, channel and timeout that it has.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Transfer;
    /// # let card = userdma::Device::first()?;
    /// # let buffer = card.coherent(8192).allocate()?;
    /// let mut batch = userdma::Batch::new(&card);
    /// batch.push(Transfer::to_card(&buffer, 0..4096, 0).user_data(77).barrier());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn push(&mut self, transfer: Transfer) -> &mut Self {
        self.transfers.push(transfer);
        self.next += 1;
        self
    }

    fn add(&mut self, transfer: Transfer) -> &mut Self {
        let transfer = transfer.channel(self.channel).user_data(self.next);
        self.push(match self.timeout {
            Some(timeout) => transfer.timeout(timeout),
            None => transfer,
        })
    }

    /// Gives how many transfers were not submitted yet.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// assert_eq!(userdma::Batch::new(&card).len(), 0);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.transfers.len()
    }

    /// Whether all were submitted.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// assert!(userdma::Batch::new(&card).is_empty());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.transfers.is_empty()
    }

    /// Queues the transfers with one system call and gives how many were
    /// accepted: all, or those before the first that is refused, or for which no slot
    /// was left ([`Info::depth`](crate::Info::depth)). What was accepted is no longer
    /// in the batch; call it again for the rest.
    ///
    /// Sleeps while no slot is free, so take completions in between.
    ///
    /// # Errors
    ///
    /// As [`Device::submit`]; the batch is then as it was.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// # let buffer = card.coherent(8192).allocate()?;
    /// let mut batch = userdma::Batch::new(&card);
    /// batch.to_card(&buffer, 0..4096, 0);
    /// while !batch.is_empty() {
    ///     batch.submit()?;
    ///     for completion in card.completions(None) {
    ///         completion?.result()?;
    ///     }
    /// }
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn submit(&mut self) -> Result<usize> {
        let accepted = self.device.submit(&self.transfers)?;
        self.transfers.drain(..accepted);
        Ok(accepted)
    }

    /// Queues the transfers, however many, and waits until all have ended, as
    /// [`Device::run`], with its errors.
    ///
    /// # Errors
    ///
    /// As [`Device::run`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// # let buffer = card.coherent(8192).allocate()?;
    /// let mut batch = userdma::Batch::new(&card);
    /// batch.to_card(&buffer, 0..4096, 0);
    /// assert_eq!(batch.run(None)?.len(), 1);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn run(&self, timeout: Option<Duration>) -> Result<Vec<Completion>> {
        self.device.run(&self.transfers, timeout)
    }
}

impl Device {
    /// Gives completions one by one, of whatever is in flight on this open file,
    /// and sleeps for them: until nothing is in flight, or `timeout`, for all of
    /// them, is over (`None`: never). Takes as many as there are with one system call.
    ///
    /// An error ends it, and loses no completion; [`ErrorKind`](crate::ErrorKind)s
    /// `TimedOut`, `WouldBlock`, `Gone`. A signal does not. Those that it took and did not give out are lost with it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let mut moved = 0;
    /// for completion in card.completions(Some(std::time::Duration::from_secs(5))) {
    ///     moved += completion?.result()?;
    /// }
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn completions(&self, timeout: Option<Duration>) -> Outstanding<'_> {
        Outstanding {
            device: self,
            wait: Wait::until(timeout),
            taken: VecDeque::new(),
            over: false,
        }
    }
}

/// The completions of what is in flight, as they come. See
/// [`Device::completions`].
///
/// # Examples
///
/// ```no_run
/// # let card = userdma::Device::first()?;
/// let count = card.completions(None).count();
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "it waits when it is asked for the next one"]
pub struct Outstanding<'a> {
    device: &'a Device,
    wait: Wait,
    taken: VecDeque<Completion>,
    over: bool,
}

impl Iterator for Outstanding<'_> {
    type Item = Result<Completion>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.taken.is_empty() && !self.over {
            match self.device.wait(&self.wait) {
                Ok(completions) => {
                    self.taken.extend(completions);
                    // With something in flight it would have waited.
                    self.over = self.taken.is_empty();
                }
                Err(error) if error.kind() == crate::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
        self.taken.pop_front().map(Ok)
    }
}

impl FusedIterator for Outstanding<'_> {}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Asking the card to move data.

use std::fmt;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::io::Errno;
use zerocopy::FromBytes as _;
use zerocopy::IntoBytes as _;

use crate::explain;
use crate::ioctl;
use crate::sys;
use crate::Buffer;
use crate::Completion;
use crate::Device;
use crate::Error;
use crate::ErrorKind;
use crate::Readiness;
use crate::Result;
use crate::Wait;

/// What a transfer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// From a buffer to the card's memory.
    ToCard,
    /// From the card's memory to a buffer.
    FromCard,
    /// From one buffer to another.
    HostToHost,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ToCard => "to card",
            Self::FromCard => "from card",
            Self::HostToHost => "buffer to buffer",
        })
    }
}

/// One transfer. It names its buffers by handle and does not keep them: one
/// that is freed while a transfer is in flight stays until that has ended.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
/// use userdma::Transfer;
///
/// # let card = userdma::Device::first()?;
/// let buffer = card.huge(2 << 20).allocate()?;
/// let transfer = Transfer::from_card(&buffer, 0..4096, 0)
///     .user_data(7)
///     .timeout(Duration::from_secs(1));
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Clone, Copy, Debug, zerocopy::IntoBytes, zerocopy::Immutable)]
#[repr(transparent)]
#[must_use = "nothing moves until it is submitted"]
pub struct Transfer(sys::userdma_transfer);

impl Transfer {
    /// Moves a range of `buffer` to the card's memory from `card_offset` on.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Transfer;
    /// # let buffer = userdma::Device::first()?.coherent(4096).allocate()?;
    /// let transfer = Transfer::to_card(&buffer, 0..4096, 0);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn to_card(buffer: &Buffer, range: Range<u64>, card_offset: u64) -> Self {
        Self::new(sys::USERDMA_OP_TO_CARD, buffer, range, 0, card_offset)
    }

    /// Fills a range of `buffer` from the card's memory from `card_offset` on.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Transfer;
    /// # let buffer = userdma::Device::first()?.coherent(4096).allocate()?;
    /// let transfer = Transfer::from_card(&buffer, 0..4096, 0);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn from_card(buffer: &Buffer, range: Range<u64>, card_offset: u64) -> Self {
        Self::new(sys::USERDMA_OP_FROM_CARD, buffer, range, 0, card_offset)
    }

    /// Copies a range of `from` to `to`, from `to_offset` on, if the card can
    /// ([`Capabilities::host_to_host`](crate::Capabilities::host_to_host)) and the
    /// device is open for reading and writing. Both may be one buffer where the two
    /// ranges do not overlap.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Transfer;
    /// # let card = userdma::Device::first()?;
    /// let (from, to) = (card.coherent(4096).allocate()?, card.coherent(4096).allocate()?);
    /// let transfer = Transfer::host_to_host(&from, 0..4096, &to, 0);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn host_to_host(from: &Buffer, range: Range<u64>, to: &Buffer, to_offset: u64) -> Self {
        Self::new(
            sys::USERDMA_OP_HOST_TO_HOST,
            from,
            range,
            to.handle(),
            to_offset,
        )
    }

    fn new(op: u32, buffer: &Buffer, range: Range<u64>, buffer2: u32, card_offset: u64) -> Self {
        Self(sys::userdma_transfer {
            // The operations fit; one that did not would be refused as unknown.
            op: u16::try_from(op).unwrap_or(u16::MAX),
            buffer: buffer.handle(),
            buffer2,
            buffer_offset: range.start,
            length: range.end.saturating_sub(range.start),
            card_offset,
            ..ioctl::zeroed()
        })
    }

    /// Gives it a name that its completion will carry.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Transfer;
    /// # let buffer = userdma::Device::first()?.coherent(4096).allocate()?;
    /// let transfer = Transfer::to_card(&buffer, 0..4096, 0).user_data(7);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn user_data(mut self, user_data: u64) -> Self {
        self.0.user_data = user_data;
        self
    }

    /// Puts it on this channel of the card; 0 unless told otherwise.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Transfer;
    /// # let buffer = userdma::Device::first()?.coherent(4096).allocate()?;
    /// let transfer = Transfer::to_card(&buffer, 0..4096, 0).channel(1);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn channel(mut self, channel: u16) -> Self {
        self.0.channel = channel;
        self
    }

    /// Lets it begin only when all earlier transfers of the file have ended.
    /// (On one channel they run in order anyway.)
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Transfer;
    /// # let buffer = userdma::Device::first()?.coherent(4096).allocate()?;
    /// let last = Transfer::to_card(&buffer, 0..4096, 0).barrier();
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn barrier(mut self) -> Self {
        self.0.flags |= sys::USERDMA_TRANSFER_BARRIER;
        self
    }

    /// Limits the time that it may take on the card.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Transfer;
    /// # let buffer = userdma::Device::first()?.coherent(4096).allocate()?;
    /// let transfer = Transfer::to_card(&buffer, 0..4096, 0)
    ///     .timeout(std::time::Duration::from_millis(500));
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        // 0 would mean the driver's own limit.
        self.0.timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX).max(1);
        self
    }

    /// The program's name for it.
    pub(crate) fn name(&self) -> u64 {
        self.0.user_data
    }

    /// The channel that it is for.
    pub(crate) fn on(&self) -> u16 {
        self.0.channel
    }

    fn operation(&self) -> Operation {
        match u32::from(self.0.op) {
            sys::USERDMA_OP_TO_CARD => Operation::ToCard,
            sys::USERDMA_OP_FROM_CARD => Operation::FromCard,
            _ => Operation::HostToHost,
        }
    }
}

impl Device {
    /// Queues transfers and gives how many were accepted: those before the
    /// first that the driver refuses. Those of one channel run in order.
    ///
    /// Each accepted one holds one of [`Info::depth`](crate::Info::depth)
    /// slots until its completion is taken with [`wait`](Self::wait). With no
    /// slot free this sleeps, so a program that never waits sleeps for ever.
    ///
    /// # Errors
    ///
    /// Why the first one was refused: [`ErrorKind`]s `InvalidInput`,
    /// `OutOfRange`, `NotFound`, `BadAccess`, `NotSupported`, `WouldBlock`,
    /// `Interrupted`, `Gone`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::{Transfer, Wait};
    /// # let card = userdma::Device::first()?;
    /// # let buffer = card.coherent(8192).allocate()?;
    /// let accepted = card.submit(&[
    ///     Transfer::to_card(&buffer, 0..4096, 0).user_data(1),
    ///     Transfer::from_card(&buffer, 4096..8192, 0).user_data(2),
    /// ])?;
    /// for completion in card.wait(&Wait::new().min(accepted))? {
    ///     println!("{} moved {} bytes", completion.user_data(), completion.result()?);
    /// }
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn submit(&self, transfers: &[Transfer]) -> Result<usize> {
        if transfers.is_empty() {
            return Ok(0);
        }
        let accepted = self
            .submit_raw(transfers)
            .map_err(|errno| self.refused(0, &transfers[0], errno))?;
        // CAST: lossless, as usize has at least 32 bits on Linux.
        Ok(accepted as usize)
    }

    fn submit_raw(&self, transfers: &[Transfer]) -> Result<u32, Errno> {
        let raw = <[sys::userdma_transfer]>::ref_from_bytes(transfers.as_bytes());
        // Both types have the same layout, so this never fails.
        ioctl::submit(self.as_fd(), raw.map_err(|_| Errno::INVAL)?)
    }

    pub(crate) fn refused(&self, index: usize, transfer: &Transfer, errno: Errno) -> Error {
        let raw = &transfer.0;
        let refused = explain::Refused {
            operation: transfer.operation(),
            channel: raw.channel,
            buffer_offset: raw.buffer_offset,
            length: raw.length,
            card_offset: raw.card_offset,
            buffer_length: self
                .buffer_info(raw.buffer)
                .ok()
                .map(|info| info.out_length),
        };
        Error::Submit {
            index,
            operation: refused.operation,
            length: raw.length,
            errno,
            explanation: Box::new(explain::submit(&refused, errno, self.info())),
        }
    }

    /// Queues transfers, however many, and waits until all have ended. Gives
    /// their completions in the order in which they ended.
    ///
    /// For programs that have nothing else in flight on this open file: it
    /// takes every completion that comes. Goes on after signals, as
    /// [`std::io::Read::read_exact`] does.
    ///
    /// # Errors
    ///
    /// Why a transfer was refused (those before it have then ended), or
    /// [`ErrorKind::TimedOut`] (what is outstanding stays so). How each one
    /// ended is told by its completion.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Transfer;
    /// # let card = userdma::Device::first()?;
    /// # let buffer = card.coherent(4096).allocate()?;
    /// let second = std::time::Duration::from_secs(1);
    /// for completion in card.run(&[Transfer::to_card(&buffer, 0..4096, 0)], Some(second))? {
    ///     completion.result()?;
    /// }
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn run(
        &self,
        transfers: &[Transfer],
        timeout: Option<Duration>,
    ) -> Result<Vec<Completion>> {
        let wait = Wait::until(timeout);
        let depth = usize::try_from(self.info().depth).unwrap_or(usize::MAX);
        let mut done = Vec::with_capacity(transfers.len());
        let mut sent = 0;
        let mut refused = None;
        loop {
            let outstanding = sent - done.len();
            let all_sent = sent == transfers.len() || refused.is_some();
            if !all_sent && outstanding < depth {
                let batch = &transfers[sent..transfers.len().min(sent + depth - outstanding)];
                match self.submit_raw(batch) {
                    Ok(accepted) => sent += accepted as usize,
                    Err(Errno::INTR) => {}
                    // Another thread holds slots: let ours end first.
                    Err(Errno::AGAIN) if outstanding == 0 => {
                        self.ready(Readiness::SLOT, &wait)?;
                    }
                    Err(Errno::AGAIN) => self.collect(&wait, 1, &mut done)?,
                    Err(errno) => refused = Some(self.refused(sent, &transfers[sent], errno)),
                }
            } else if outstanding > 0 {
                self.collect(&wait, if all_sent { outstanding } else { 1 }, &mut done)?;
            } else {
                return match refused {
                    Some(error) => Err(error),
                    None => Ok(done),
                };
            }
        }
    }

    fn collect(&self, wait: &Wait, count: usize, done: &mut Vec<Completion>) -> Result<()> {
        match self.wait(&wait.clone().min(count).max(count.max(64))) {
            Ok(completions) => done.extend(completions),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.ready(Readiness::COMPLETION, wait)?
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Sleeps on a non-blocking file.
    fn ready(&self, interest: Readiness, wait: &Wait) -> Result<()> {
        match self.poll(interest, wait.remaining()) {
            Ok(ready) if ready.is_empty() => Err(crate::completion::error(Errno::TIMEDOUT)),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}

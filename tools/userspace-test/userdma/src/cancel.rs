// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Taking back what was submitted.

use std::os::fd::AsFd as _;

use crate::explain;
use crate::ioctl;
use crate::sys;
use crate::Device;
use crate::Error;
use crate::Result;

impl Device {
    /// Withdraws the transfers with this [`user_data`](crate::Transfer::user_data)
    /// that the card was not given yet, on whichever channel they are, and gives
    /// how many. None is no error.
    ///
    /// Each that was withdrawn completes at once with
    /// [`ErrorKind::Canceled`](crate::ErrorKind::Canceled) and no byte moved. What the card was
    /// given runs on, and completes as if nobody had asked; if the card moves it
    /// in several parts it ends with `Canceled` after the part that it has. So a
    /// transfer has exactly one completion in any case, and the memory is the
    /// program's again when that has come, not when this returns.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`](crate::ErrorKind)s `Gone`; `NotSupported` if the driver is older than this
    /// command (ABI version 3).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use userdma::{ErrorKind, Transfer, Wait};
    ///
    /// # let card = userdma::Device::first()?;
    /// # let buffer = card.coherent(8192).allocate()?;
    /// card.submit(&[
    ///     Transfer::to_card(&buffer, 0..4096, 0).user_data(1),
    ///     Transfer::to_card(&buffer, 4096..8192, 0).user_data(2),
    /// ])?;
    /// card.cancel(2)?;
    /// for completion in card.wait(&Wait::new().min(2))? {
    ///     match completion.result() {
    ///         Err(error) if error.kind() == ErrorKind::Canceled => println!("not moved"),
    ///         other => println!("moved {} bytes", other?),
    ///     }
    /// }
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn cancel(&self, user_data: u64) -> Result<usize> {
        let mut count = 0;
        for channel in 0..self.info().channels {
            count += self.cancel_on(channel, user_data, 0)?;
        }
        Ok(count)
    }

    /// The same of all transfers of this open file on one channel. Those of other open
    /// files stay, and so do reads and writes of the card's memory.
    ///
    /// # Errors
    ///
    /// As [`cancel`](Self::cancel); `InvalidInput` if the card has no such
    /// channel.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Wait;
    /// # let card = userdma::Device::first()?;
    /// let withdrawn = card.cancel_all(0)?;
    /// // All have completed when what the card has is done.
    /// while card.wait(&Wait::new())?.len() > 0 {}
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn cancel_all(&self, channel: u32) -> Result<usize> {
        self.cancel_on(channel, 0, sys::USERDMA_CANCEL_ALL)
    }

    fn cancel_on(&self, channel: u32, user_data: u64, flags: u32) -> Result<usize> {
        let count = ioctl::cancel(self.as_fd(), channel, user_data, flags).map_err(|errno| {
            Error::Cancel {
                channel,
                errno,
                explanation: Box::new(explain::cancel(channel, errno, self.info())),
            }
        })?;
        // CAST: lossless, as usize has at least 32 bits on Linux.
        Ok(count as usize)
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Handing memory over between the program and a card that works on it by
//! itself.

use std::ops::Range;
use std::os::fd::AsFd as _;

use super::Buffer;
use crate::explain;
use crate::ioctl;
use crate::sys;
use crate::Error;
use crate::Result;

impl Buffer {
    /// Tells the card's side that the program has written to a range.
    ///
    /// Transfers do this by themselves. Only a program that lets the card work
    /// on the buffer by other means needs it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`](crate::ErrorKind)s `OutOfRange`, `InvalidInput` for an empty range, `Gone`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
    /// buffer.sync_for_device(0..4096)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn sync_for_device(&self, range: Range<u64>) -> Result<()> {
        self.sync(range, sys::USERDMA_SYNC_FOR_DEVICE)
    }

    /// Makes what the card has written to a range visible to the program.
    ///
    /// Transfers do this by themselves. Only a program that lets the card work
    /// on the buffer by other means needs it.
    ///
    /// # Errors
    ///
    /// As [`sync_for_device`](Self::sync_for_device), and `BadAccess` for what was registered as a
    /// source.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
    /// buffer.sync_for_cpu(0..4096)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn sync_for_cpu(&self, range: Range<u64>) -> Result<()> {
        self.sync(range, sys::USERDMA_SYNC_FOR_CPU)
    }

    fn sync(&self, range: Range<u64>, flags: u32) -> Result<()> {
        let mut raw = sys::userdma_buf_sync {
            flags,
            handle: self.handle,
            offset: range.start,
            length: range.end.saturating_sub(range.start),
            ..ioctl::zeroed()
        };
        ioctl::buf_sync(self.device.as_fd(), &mut raw).map_err(|errno| Error::Buffer {
            action: "synchronise",
            handle: self.handle,
            errno,
            explanation: Box::new(explain::sync(raw.length, errno, self.length)),
        })
    }
}

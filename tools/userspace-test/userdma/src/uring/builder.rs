// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How to make a ring.

use std::os::fd::AsRawFd as _;
use std::time::Duration;

use io_uring::cqueue::Entry32;
use io_uring::squeue::Entry128;
use io_uring::IoUring;
use rustix::io::Errno;

use super::Ring;
use crate::explain;
use crate::Device;
use crate::Error;
use crate::Result;

/// Most entries of a ring that the kernel makes.
const MOST: u32 = 32768;

/// How to make a [`Ring`]; begun by [`Ring::builder`].
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
/// use userdma::uring::Ring;
///
/// # let card = userdma::Device::first()?;
/// let ring = Ring::builder(&card).entries(256).polled(Duration::from_secs(1)).build()?;
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it makes nothing until it is built"]
pub struct RingBuilder<'a> {
    device: &'a Device,
    entries: u32,
    polled: Option<Duration>,
}

impl<'a> RingBuilder<'a> {
    pub(super) fn new(device: &'a Device) -> Self {
        Self {
            device,
            entries: device.info().depth,
            polled: None,
        }
    }

    /// Sets how many transfers it has room for; the kernel rounds up to a power of
    /// two. As many as the file has slots, unless told otherwise; more is of
    /// no use.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::uring::Ring;
    /// # let card = userdma::Device::first()?;
    /// let ring = Ring::builder(&card).entries(8).build()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn entries(mut self, entries: u32) -> Self {
        self.entries = entries;
        self
    }

    /// Lets a thread of the kernel's take the entries, so that to submit takes no
    /// system call (SQPOLL). The thread sleeps when nothing has come for `idle`
    /// (counted in milliseconds, at least one); the next submission then wakes
    /// it. It uses a processor meanwhile.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::uring::Ring;
    /// # let card = userdma::Device::first()?;
    /// let ring = Ring::builder(&card).polled(std::time::Duration::from_millis(500)).build()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn polled(mut self, idle: Duration) -> Self {
        self.polled = Some(idle);
        self
    }

    /// Makes the ring. Does not sleep for the card.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`](crate::ErrorKind)s `NotSupported` (the driver, or a kernel without
    /// io_uring), `Permission` (the system forbids io_uring), `NoMemory`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::uring::Ring;
    /// # let card = userdma::Device::first()?;
    /// match Ring::builder(&card).build() {
    ///     Ok(ring) => println!("room for {}", ring.room()),
    ///     Err(error) => eprintln!("{}", error.report()),
    /// }
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn build(self) -> Result<Ring> {
        let error = |errno| Error::Ring {
            errno,
            explanation: Box::new(explain::uring(errno)),
        };
        if !self.device.info().capabilities.uring {
            return Err(error(Errno::OPNOTSUPP));
        }
        let failed = |io: std::io::Error| error(Errno::from_io_error(&io).unwrap_or(Errno::IO));
        let mut builder = IoUring::<Entry128, Entry32>::builder();
        builder.dontfork();
        if let Some(idle) = self.polled {
            let idle = u32::try_from(idle.as_millis()).unwrap_or(u32::MAX);
            builder.setup_sqpoll(idle.max(1));
        }
        let entries = self.entries.clamp(1, MOST);
        let ring = builder.build(entries).map_err(failed)?;
        // Known by its place in the ring's own table: no look-up for each transfer. The ring keeps the file.
        let files = [self.device.as_raw_fd()];
        ring.submitter().register_files(&files).map_err(failed)?;
        Ok(Ring::with(ring, self.device))
    }
}

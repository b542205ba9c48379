// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How a transfer of a ring ended.

use io_uring::cqueue::Entry32;
use rustix::io::Errno;

use crate::completion::error as wait_error;
use crate::explain;
use crate::Device;
use crate::Error;
use crate::Result;
use crate::Transfer;

/// How a transfer of a [`Ring`](super::Ring) ended.
///
/// # Examples
///
/// ```no_run
/// # use userdma::{uring::Ring, Wait};
/// # let card = userdma::Device::first()?;
/// # let mut ring = Ring::new(&card)?;
/// for completion in ring.wait(&Wait::new())? {
///     match completion.error() {
///         None => println!("{}: {} bytes", completion.user_data(), completion.bytes()),
///         Some(error) => eprintln!("{}", error.report()),
///     }
/// }
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Debug)]
pub struct Completion {
    pub(super) user_data: u64,
    pub(super) channel: u16,
    pub(super) bytes: u64,
    pub(super) error: Option<Box<Error>>,
}

impl Completion {
    /// Gives the name that the program gave to the transfer.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::{uring::Ring, Wait};
    /// # let mut ring = Ring::new(&userdma::Device::first()?)?;
    /// let names: Vec<u64> = ring.wait(&Wait::new())?.map(|it| it.user_data()).collect();
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn user_data(&self) -> u64 {
        self.user_data
    }

    /// Gives the channel that it was for.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::{uring::Ring, Wait};
    /// # let mut ring = Ring::new(&userdma::Device::first()?)?;
    /// let on_0 = ring.wait(&Wait::new())?.filter(|it| it.channel() == 0).count();
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn channel(&self) -> u16 {
        self.channel
    }

    /// Gives the bytes that were moved, also if it failed.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::{uring::Ring, Wait};
    /// # let mut ring = Ring::new(&userdma::Device::first()?)?;
    /// let bytes: u64 = ring.wait(&Wait::new())?.map(|it| it.bytes()).sum();
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives why it was refused or failed, `None` if it went well.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::{uring::Ring, Wait};
    /// # let mut ring = Ring::new(&userdma::Device::first()?)?;
    /// assert!(ring.wait(&Wait::new())?.all(|it| it.error().is_none()));
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        self.error.as_deref()
    }

    /// Gives the bytes that were moved, or why it was refused or failed.
    ///
    /// # Errors
    ///
    /// Those of [`Device::submit`](crate::Device::submit), and
    /// [`ErrorKind`](crate::ErrorKind)s `CardError`, `TimedOut`, `Canceled`, `Gone`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::{uring::Ring, Wait};
    /// # let mut ring = Ring::new(&userdma::Device::first()?)?;
    /// for completion in ring.wait(&Wait::new())? {
    ///     completion.result()?;
    /// }
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn result(self) -> Result<u64> {
        match self.error {
            None => Ok(self.bytes),
            Some(error) => Err(*error),
        }
    }
}

/// What the kernel says of a transfer.
pub(super) fn ended(device: &Device, transfer: &Transfer, entry: &Entry32) -> Completion {
    let bytes = entry.big_cqe()[0];
    let user_data = transfer.name();
    let error = (entry.result() < 0).then(|| {
        let errno = Errno::from_raw_os_error(entry.result().saturating_neg());
        Box::new(match errno {
            // It was accepted, and did not end well.
            Errno::IO | Errno::TIMEDOUT | Errno::CANCELED | Errno::NODEV => Error::Transfer {
                user_data,
                bytes,
                errno,
                explanation: Box::new(explain::completion(errno)),
            },
            _ => device.refused(0, transfer, errno),
        })
    });
    Completion {
        user_data,
        channel: transfer.on(),
        bytes,
        error,
    }
}

/// Why the kernel did not take entries, or nothing ended.
pub(super) fn failed(error: &std::io::Error) -> Error {
    match Errno::from_io_error(error) {
        Some(Errno::TIME) => wait_error(Errno::TIMEDOUT),
        Some(errno @ Errno::INTR) => wait_error(errno),
        errno => {
            let errno = errno.unwrap_or(Errno::IO);
            Error::Ring {
                errno,
                explanation: Box::new(explain::uring(errno)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn errors_of_the_ring_have_kinds() {
        let kind = |errno: Errno| failed(&errno.into()).kind();
        assert_eq!(kind(Errno::TIME), ErrorKind::TimedOut);
        assert_eq!(kind(Errno::INTR), ErrorKind::Interrupted);
        assert_eq!(kind(Errno::AGAIN), ErrorKind::WouldBlock);
        assert_eq!(kind(Errno::BUSY), ErrorKind::WouldBlock);
    }
}

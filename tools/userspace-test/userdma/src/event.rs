// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Readiness, for event loops.

use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;

use crate::Device;
use crate::Error;
use crate::Result;

/// What a device is ready for.
///
/// # Examples
///
/// ```no_run
/// use userdma::Readiness;
///
/// # let card = userdma::Device::first()?;
/// if card.poll(Readiness::COMPLETION, None)?.completion {
///     println!("{} have ended", card.wait(&userdma::Wait::poll())?.len());
/// }
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// A completion can be taken with [`Device::wait`] (POLLIN).
    pub completion: bool,
    /// A transfer can be submitted without sleeping (POLLOUT).
    pub slot: bool,
    /// The device is gone (POLLHUP, POLLERR). Always told.
    pub gone: bool,
}

impl Readiness {
    /// Interest in completions.
    pub const COMPLETION: Self = Self {
        completion: true,
        slot: false,
        gone: false,
    };
    /// Interest in free slots.
    pub const SLOT: Self = Self {
        completion: false,
        slot: true,
        gone: false,
    };
    /// Interest in both.
    pub const ANY: Self = Self {
        completion: true,
        slot: true,
        gone: false,
    };

    /// Says whether it is ready for nothing, as after a timeout.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(userdma::Readiness::default().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Device {
    /// Sleeps until the device is ready for something of `interest`, is gone,
    /// or the time is over; then it is ready for nothing.
    ///
    /// Programs with an event loop give the device to that, as it is an
    /// [`AsFd`](std::os::fd::AsFd).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Readiness;
    /// # let card = userdma::Device::first()?;
    /// let ready = card.poll(Readiness::ANY, Some(std::time::Duration::from_millis(100)))?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn poll(&self, interest: Readiness, timeout: Option<Duration>) -> Result<Readiness> {
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, interest.completion);
        events.set(PollFlags::OUT, interest.slot);
        let mut fds = [PollFd::from_borrowed_fd(self.as_fd(), events)];
        // A time that the kernel cannot express is for ever.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        rustix::event::poll(&mut fds, timeout.as_ref())
            .map_err(|errno| Error::system("wait for the device to be ready", errno))?;
        let got = fds[0].revents();
        Ok(Readiness {
            completion: got.contains(PollFlags::IN),
            slot: got.contains(PollFlags::OUT),
            gone: got.intersects(PollFlags::HUP | PollFlags::ERR),
        })
    }
}

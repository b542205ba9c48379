// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Counters that the kernel adds to, for event loops.

use std::fmt;
use std::os::fd::AsFd as _;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::event::EventfdFlags;

use crate::explain;
use crate::ioctl;
use crate::Device;
use crate::Error;
use crate::Result;

/// What an eventfd is told of.
///
/// # Examples
///
/// ```
/// use userdma::Event;
///
/// assert_eq!(Event::Completion.to_string(), "completions");
/// assert_eq!(Event::Interrupt(2).to_string(), "interrupt 2");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// A transfer of this open file has ended: its completion can be taken with
    /// [`Device::wait`]. Counts each exactly once.
    Completion,
    /// The card has raised the interrupt of this vector, for whichever transfers
    /// and open files; below [`Info::vectors`](crate::Info::vectors).
    Interrupt(u32),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completion => f.write_str("completions"),
            Self::Interrupt(vector) => write!(f, "interrupt {vector}"),
        }
    }
}

impl Device {
    /// Makes an eventfd to which 1 is added for each event from now on. It takes
    /// the place of the one before.
    ///
    /// It is readable when something has happened, for any event loop; a read
    /// of 8 bytes gives how often since the last, and sleeps while that is 0. It
    /// may be dropped at any time; it may also outlive the device.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`](crate::ErrorKind)s `InvalidInput` (no such vector), `LimitReached` (too many
    /// files are open), `Gone`, `NotSupported` (the driver is older than ABI
    /// version 3).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::fs::File;
    /// use std::io::Read as _;
    /// use userdma::{Device, Event, Transfer, Wait};
    ///
    /// let card = Device::first()?;
    /// let buffer = card.coherent(4096).allocate()?;
    /// let mut ended = File::from(card.eventfd(Event::Completion)?);
    /// card.submit(&[Transfer::to_card(&buffer, 0..4096, 0)])?;
    ///
    /// let mut count = [0; 8];
    /// // Sleeps. An event loop would poll it, together with other files.
    /// ended.read_exact(&mut count).expect("an eventfd can be read");
    /// println!("{} have ended", u64::from_ne_bytes(count));
    /// for completion in card.wait(&Wait::poll())? {
    ///     completion.result()?;
    /// }
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn eventfd(&self, event: Event) -> Result<OwnedFd> {
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)
            .map_err(|errno| Error::system("make an eventfd", errno))?;
        self.set_eventfd(event, Some(eventfd.as_fd()))?;
        Ok(eventfd)
    }

    /// Adds 1 to an eventfd of the program's for each event from now on, or tells
    /// none any more. The kernel keeps it, so it may be closed; several devices
    /// and events may share one.
    ///
    /// # Errors
    ///
    /// As [`eventfd`](Self::eventfd); `InvalidInput` also if the file is no
    /// eventfd. The one before then stays.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::os::fd::AsFd as _;
    /// use userdma::{Device, Event};
    ///
    /// let (first, second) = (Device::open_index(0)?, Device::open_index(1)?);
    /// let ended = first.eventfd(Event::Completion)?;
    /// second.set_eventfd(Event::Completion, Some(ended.as_fd()))?;
    /// // ...
    /// first.set_eventfd(Event::Completion, None)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn set_eventfd(&self, event: Event, eventfd: Option<BorrowedFd<'_>>) -> Result<()> {
        let vector = match event {
            Event::Completion => None,
            Event::Interrupt(vector) => Some(vector),
        };
        ioctl::eventfd(self.as_fd(), eventfd, vector).map_err(|errno| Error::Eventfd {
            event,
            errno,
            explanation: Box::new(explain::eventfd(event, errno, self.info())),
        })
    }
}

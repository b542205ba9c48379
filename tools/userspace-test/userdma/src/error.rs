// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What can go wrong, told for programs ([`Error::kind`]) and for people
//! ([`Error::report`]).

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::explain;
use crate::Bytes;
use crate::ErrorKind;
use crate::Event;
use crate::Explanation;
use crate::Kind;
use crate::Operation;
use crate::Pages;
use crate::Place;

/// The result of this library's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed: what was tried, the kernel's answer, and what it means.
///
/// New variants may come; match on [`Error::kind`], whose values keep their
/// meaning.
///
/// # Examples
///
/// ```no_run
/// use userdma::{Device, ErrorKind};
///
/// let card = Device::first()?;
/// let buffer = match card.huge(64 << 20).allocate() {
///     Err(error) if error.kind() == ErrorKind::Fragmented => {
///         eprintln!("{}", error.report());
///         card.huge(64 << 20).fallback(true).allocate()?
///     }
///     other => other?,
/// };
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no device to open.
    #[error("no userdma device found: {explanation}")]
    NoDevice {
        /// Why not.
        explanation: Box<Explanation>,
    },
    /// The node could not be opened.
    #[error("cannot open {}: {explanation}", path.display())]
    Open {
        /// The node.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
        /// What it means.
        explanation: Box<Explanation>,
    },
    /// The device could not be asked what it is.
    #[error("cannot ask {} what it is: {explanation}", path.display())]
    Info {
        /// The node.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
        /// What it means.
        explanation: Box<Explanation>,
    },
    /// A buffer could not be allocated.
    #[error("cannot allocate a {kind} buffer of {}: {explanation}", Bytes(*length))]
    Allocate {
        /// Of which kind.
        kind: Kind,
        /// Of how many bytes.
        length: u64,
        /// The kernel's answer.
        errno: Errno,
        /// What it means.
        explanation: Box<Explanation>,
    },
    /// Memory could not be registered.
    #[error("cannot register {} {place}: {explanation}", Bytes(*length))]
    Register {
        /// Where it is.
        place: Place,
        /// Of how many bytes.
        length: u64,
        /// The kernel's answer.
        errno: Errno,
        /// What it means.
        explanation: Box<Explanation>,
    },
    /// Memory could not be had.
    #[error("cannot get {} of memory in {pages}: {explanation}", Bytes(*length))]
    Memory {
        /// In which pages.
        pages: Pages,
        /// How many bytes.
        length: u64,
        /// The kernel's answer.
        errno: Errno,
        /// What it means.
        explanation: Box<Explanation>,
    },
    /// A buffer could not be asked about, synchronised or freed.
    #[error("cannot {action} buffer {handle}: {explanation}")]
    Buffer {
        /// What was tried.
        action: &'static str,
        /// The buffer.
        handle: u32,
        /// The kernel's answer.
        errno: Errno,
        /// What it means.
        explanation: Box<Explanation>,
    },
    /// A buffer could not be mapped.
    #[error("cannot map {} at offset {offset} of buffer {handle}: {explanation}", Bytes(*length))]
    Map {
        /// The buffer.
        handle: u32,
        /// Of the first byte wanted.
        offset: u64,
        /// How many bytes were wanted.
        length: u64,
        /// The kernel's answer.
        errno: Errno,
        /// What it means.
        explanation: Box<Explanation>,
    },
    /// A transfer was not accepted.
    #[error("transfer {index} ({operation}, {}) was not accepted: {explanation}", Bytes(*length))]
    Submit {
        /// Its place in the batch; those before it were accepted.
        index: usize,
        /// Its operation.
        operation: Operation,
        /// Its length in bytes.
        length: u64,
        /// The kernel's answer.
        errno: Errno,
        /// What it means.
        explanation: Box<Explanation>,
    },
    /// Waiting for completions ended without one.
    #[error("no transfer ended: {explanation}")]
    Wait {
        /// The kernel's answer.
        errno: Errno,
        /// What it means.
        explanation: Box<Explanation>,
    },
    /// A transfer was accepted and then failed.
    #[error("transfer {user_data} failed after {}: {explanation}", Bytes(*bytes))]
    Transfer {
        /// The program's name for it.
        user_data: u64,
        /// How many bytes were moved.
        bytes: u64,
        /// How it ended.
        errno: Errno,
        /// What it means.
        explanation: Box<Explanation>,
    },
    /// Transfers could not be withdrawn.
    #[error("cannot cancel transfers of channel {channel}: {explanation}")]
    Cancel {
        /// The channel.
        channel: u32,
        /// The kernel's answer.
        errno: Errno,
        /// What it means.
        explanation: Box<Explanation>,
    },
    /// An eventfd could not be told of events.
    #[error("cannot tell an eventfd of {event}: {explanation}")]
    Eventfd {
        /// Of which.
        event: Event,
        /// The kernel's answer.
        errno: Errno,
        /// What it means.
        explanation: Box<Explanation>,
    },
    /// The card's memory could not be read or written.
    #[error("cannot {action} {} at {position} of the card's memory: {explanation}", Bytes(*length))]
    Card {
        /// What was tried.
        action: &'static str,
        /// Where.
        position: u64,
        /// How many bytes.
        length: u64,
        /// The kernel's answer.
        errno: Errno,
        /// What it means.
        explanation: Box<Explanation>,
    },
    /// Part of a mapping was used that does not exist, or may not be used so.
    #[error("cannot {action} {} at offset {offset} of a mapping: {explanation}", Bytes(*length))]
    Mapping {
        /// What was tried.
        action: &'static str,
        /// Where.
        offset: u64,
        /// How many bytes.
        length: u64,
        /// What it means.
        explanation: Box<Explanation>,
    },
    /// A ring of io_uring could not be had, or did not take what it was given.
    #[error("cannot use io_uring: {explanation}")]
    Ring {
        /// The kernel's answer.
        errno: Errno,
        /// What it means.
        explanation: Box<Explanation>,
    },
    /// Something of the system failed that has nothing to do with a card.
    #[error("cannot {action}: {explanation}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        errno: Errno,
        /// What it means.
        explanation: Box<Explanation>,
    },
}

impl Error {
    /// Gives the kind of thing that went wrong, for programs to match on.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::{Device, ErrorKind};
    /// let error = Device::open("/dev/userdma77").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NoDevice);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.explanation().kind
    }

    /// Gives the kernel's answer, if the kernel was asked.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::{Device, Errno};
    /// let error = Device::open("/dev/userdma77").unwrap_err();
    /// assert_eq!(error.errno(), Some(Errno::NOENT));
    /// ```
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::NoDevice { .. } | Self::Mapping { .. } => None,
            Self::Open { errno, .. }
            | Self::Info { errno, .. }
            | Self::Allocate { errno, .. }
            | Self::Register { errno, .. }
            | Self::Memory { errno, .. }
            | Self::Buffer { errno, .. }
            | Self::Map { errno, .. }
            | Self::Submit { errno, .. }
            | Self::Wait { errno, .. }
            | Self::Transfer { errno, .. }
            | Self::Cancel { errno, .. }
            | Self::Eventfd { errno, .. }
            | Self::Card { errno, .. }
            | Self::Ring { errno, .. }
            | Self::System { errno, .. } => Some(*errno),
        }
    }

    /// Gives the reason, the limit and the way out.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Device;
    /// let error = Device::open("/dev/userdma77").unwrap_err();
    /// println!("{}", error.explanation().reason());
    /// ```
    #[must_use]
    pub fn explanation(&self) -> &Explanation {
        match self {
            Self::NoDevice { explanation }
            | Self::Open { explanation, .. }
            | Self::Info { explanation, .. }
            | Self::Allocate { explanation, .. }
            | Self::Register { explanation, .. }
            | Self::Memory { explanation, .. }
            | Self::Buffer { explanation, .. }
            | Self::Map { explanation, .. }
            | Self::Submit { explanation, .. }
            | Self::Wait { explanation, .. }
            | Self::Transfer { explanation, .. }
            | Self::Cancel { explanation, .. }
            | Self::Eventfd { explanation, .. }
            | Self::Card { explanation, .. }
            | Self::Mapping { explanation, .. }
            | Self::Ring { explanation, .. }
            | Self::System { explanation, .. } => explanation,
        }
    }

    /// Gives the error in several lines: what failed and why, the limit that
    /// was met, what to try.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Device;
    /// if let Err(error) = Device::first() {
    ///     eprintln!("error: {}", error.report());
    /// }
    /// ```
    #[must_use]
    pub fn report(&self) -> String {
        let explanation = self.explanation();
        let mut text = self.to_string();
        if let Some(limit) = &explanation.limit {
            text.push_str("\n  limit: ");
            text.push_str(limit);
        }
        for advice in &explanation.advice {
            text.push_str("\n  try: ");
            text.push_str(advice);
        }
        text
    }

    /// Makes an error of something that has nothing to do with a card.
    pub(crate) fn system(action: &'static str, errno: Errno) -> Self {
        Self::System {
            action,
            errno,
            explanation: Box::new(explain::general(errno)),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = error
            .errno()
            .map_or(io::ErrorKind::Other, |errno| Self::from(errno).kind());
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Error {
        Error::Allocate {
            kind: Kind::Huge,
            length: 64 << 20,
            errno: Errno::NOMEM,
            explanation: Box::new(
                Explanation::new(ErrorKind::Fragmented, "too few huge pages")
                    .limit("3 of 32")
                    .advise("compact")
                    .advise("less"),
            ),
        }
    }

    #[test]
    fn report_tells_reason_limit_and_way_out() {
        assert_eq!(
            example().report(),
            "cannot allocate a huge buffer of 64 MiB: too few huge pages\n  \
             limit: 3 of 32\n  try: compact\n  try: less"
        );
    }

    #[test]
    fn an_io_error_keeps_the_kind_and_the_text() {
        let error = io::Error::from(example());
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert!(error.to_string().contains("64 MiB"));
    }

    #[test]
    fn results_stay_small() {
        assert!(size_of::<Error>() <= 64, "{}", size_of::<Error>());
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The kinds of errors, and what one means to a person.

use std::fmt;

/// What kind of thing went wrong. The values keep their meaning.
///
/// # Examples
///
/// ```no_run
/// # use userdma::{Device, ErrorKind};
/// match Device::first() {
///     Err(error) if error.kind() == ErrorKind::NoDevice => println!("nothing to do"),
///     other => drop(other?),
/// }
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No such node, no card, or the module is not loaded.
    NoDevice,
    /// The program may not do this.
    Permission,
    /// The file was not opened for this: read-only or write-only.
    BadAccess,
    /// The device was unbound or unplugged.
    Gone,
    /// The card, or this version of the driver, cannot do this.
    NotSupported,
    /// A value that makes no sense.
    InvalidInput,
    /// Outside the buffer, the mapping or the card's memory.
    OutOfRange,
    /// No such buffer in this open file.
    NotFound,
    /// Too little memory is free, or none is set aside.
    OutOfMemory,
    /// Enough memory is free, but not in large enough pieces.
    Fragmented,
    /// A limit of the driver.
    LimitReached,
    /// The memory lies where the card cannot reach it.
    Unreachable,
    /// The call would sleep and the file is non-blocking.
    WouldBlock,
    /// A signal came first.
    Interrupted,
    /// The time was over.
    TimedOut,
    /// The card reported an error.
    CardError,
    /// The transfer was withdrawn.
    Canceled,
    /// Anything else; see [`Error::errno`](crate::Error::errno).
    Other,
}

/// What an error means to a person. Shows as the reason, in one line.
///
/// # Examples
///
/// ```no_run
/// # let error = userdma::Device::first().unwrap_err();
/// for advice in error.explanation().advice() {
///     println!("try: {advice}");
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub(crate) kind: ErrorKind,
    pub(crate) why: String,
    pub(crate) limit: Option<String>,
    pub(crate) advice: Vec<String>,
}

impl Explanation {
    pub(crate) fn new(kind: ErrorKind, why: impl Into<String>) -> Self {
        Self {
            kind,
            why: why.into(),
            limit: None,
            advice: Vec::new(),
        }
    }

    pub(crate) fn limit(mut self, limit: impl Into<String>) -> Self {
        self.limit = Some(limit.into());
        self
    }

    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice.push(advice.into());
        self
    }

    /// Gives the reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.why
    }

    /// Gives the limit that was met, if it is one.
    #[must_use]
    pub fn met_limit(&self) -> Option<&str> {
        self.limit.as_deref()
    }

    /// Gives what to try, the most promising first.
    #[must_use]
    pub fn advice(&self) -> &[String] {
        &self.advice
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How a test ends, and the assertions.
//!
//! A test returns [`Outcome`]; an assertion that does not hold returns early
//! with the place and the values. So does `?` on any error. Unlike a panic this
//! works alike in threads and in forked children.

use std::panic::Location;

/// Why a test stopped before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Something was not as it must be.
    Fail(String),
    /// This machine cannot run the test; the reason.
    Skip(String),
}

/// What a test gives.
pub(crate) type Outcome<T = ()> = Result<T, Stop>;

impl Stop {
    /// A failure at the caller's place.
    #[track_caller]
    pub(crate) fn fail(message: impl AsRef<str>) -> Self {
        Self::at(Location::caller(), message.as_ref())
    }

    fn at(place: &Location<'_>, message: &str) -> Self {
        let file = place.file().rsplit("src/").next().unwrap_or_default();
        Self::Fail(format!("{file}:{}: {message}", place.line()))
    }

    /// The same, with what was being tried in front.
    pub(crate) fn context(self, what: &str) -> Self {
        match self {
            Self::Fail(message) => Self::Fail(format!("{message} [{what}]")),
            skip @ Self::Skip(_) => skip,
        }
    }
}

impl<E: std::error::Error> From<E> for Stop {
    #[track_caller]
    fn from(error: E) -> Self {
        Self::at(Location::caller(), &format!("unexpected error: {error}"))
    }
}

/// Adds to a failure what was being tried.
pub(crate) trait Context {
    /// `what` is made only if it is needed.
    fn context(self, what: impl FnOnce() -> String) -> Self;
}

impl<T> Context for Outcome<T> {
    fn context(self, what: impl FnOnce() -> String) -> Self {
        self.map_err(|stop| stop.context(&what()))
    }
}

/// Ends the test as failed.
macro_rules! fail {
    ($($message:tt)+) => {
        return Err($crate::outcome::Stop::fail(format!($($message)+)))
    };
}

/// Ends the test as not runnable here.
macro_rules! skip {
    ($($message:tt)+) => {
        return Err($crate::outcome::Stop::Skip(format!($($message)+)))
    };
}

/// Requires a condition.
macro_rules! check {
    ($condition:expr $(,)?) => {
        if !$condition {
            fail!("not true: {}", stringify!($condition));
        }
    };
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            fail!("not true: {}: {}", stringify!($condition), format!($($message)+));
        }
    };
}

/// Requires two values to be equal.
macro_rules! check_eq {
    ($left:expr, $right:expr $(,)?) => {
        match (&$left, &$right) {
            (left, right) => if *left != *right {
                fail!("{} is {left:?}, want {right:?}", stringify!($left));
            }
        }
    };
    ($left:expr, $right:expr, $($message:tt)+) => {
        match (&$left, &$right) {
            (left, right) => if *left != *right {
                fail!("{} is {left:?}, want {right:?}: {}", stringify!($left), format!($($message)+));
            }
        }
    };
}

/// Requires a system call to fail with one errno.
macro_rules! check_err {
    ($call:expr, $errno:ident $(,)?) => {
        check_err!($call, $errno, "{}", stringify!($call))
    };
    ($call:expr, $errno:ident, $($message:tt)+) => {
        match $call {
            Err(nix::errno::Errno::$errno) => {}
            Err(other) => fail!(
                "{other:?}, want {}: {}", stringify!($errno), format!($($message)+)),
            Ok(_) => fail!(
                "succeeded, want {}: {}", stringify!($errno), format!($($message)+)),
        }
    };
}

/// Requires two byte strings to be equal; names the first place that differs.
#[track_caller]
pub(crate) fn same_bytes(got: &[u8], want: &[u8], what: &str) -> Outcome {
    if got == want {
        return Ok(());
    }
    if got.len() != want.len() {
        return Err(Stop::fail(format!(
            "{what}: {} bytes, want {}",
            got.len(),
            want.len()
        )));
    }
    let pairs = || got.iter().zip(want).enumerate();
    let wrong = pairs().filter(|(_, (a, b))| a != b).count();
    let (first, (a, b)) = pairs().find(|(_, (a, b))| a != b).unwrap_or((0, (&0, &0)));
    Err(Stop::fail(format!(
        "{what}: {wrong} of {} bytes differ, the first at {first}: {a:#04x}, want {b:#04x}",
        got.len()
    )))
}

/// Requires every byte to be one value.
#[track_caller]
pub(crate) fn all_bytes(got: &[u8], want: u8, what: &str) -> Outcome {
    match got.iter().position(|byte| *byte != want) {
        None => Ok(()),
        Some(first) => Err(Stop::fail(format!(
            "{what}: byte {first} of {} is {:#04x}, want {want:#04x}",
            got.len(),
            got[first]
        ))),
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How to wait.

use std::time::Duration;

use rustix::time::ClockId;

use crate::sys;

/// How many completions to wait for, and how long.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
/// use userdma::Wait;
///
/// # let card = userdma::Device::first()?;
/// for completion in card.wait(&Wait::new().min(8).timeout(Duration::from_secs(2)))? {
///     println!("{} ended", completion.user_data());
/// }
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Wait {
    pub(crate) min: usize,
    pub(crate) max: usize,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Never,
    In(Duration),
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    At(u64),
}

impl Default for Wait {
    fn default() -> Self {
        Self::new()
    }
}

impl Wait {
    /// Begins with: at least one, at most 64, however long it takes.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let completions = card.wait(&userdma::Wait::new())?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self {
            min: 1,
            max: 64,
            end: End::Never,
        }
    }

    /// Takes what is there and does not wait.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// println!("{} have ended", card.wait(&userdma::Wait::poll())?.len());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn poll() -> Self {
        Self {
            min: 0,
            max: 64,
            end: End::At(sys::USERDMA_WAIT_POLL),
        }
    }

    /// Sets how many to wait for; the driver waits for no more than are
    /// outstanding. Raises the most that are taken if need be.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let completions = card.wait(&userdma::Wait::new().min(4))?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn min(mut self, min: usize) -> Self {
        self.min = min;
        self.max = self.max.max(min);
        self
    }

    /// Sets how many to take at most. Lowers the fewest that are waited for
    /// if need be.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let one = card.wait(&userdma::Wait::new().max(1))?.next();
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn max(mut self, max: usize) -> Self {
        self.max = max.max(1);
        self.min = self.min.min(self.max);
        self
    }

    /// Waits no longer than this, counted from each call.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let wait = userdma::Wait::new().timeout(std::time::Duration::from_millis(500));
    /// let completions = card.wait(&wait)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.end = End::In(timeout);
        self
    }

    /// Makes a wait whose end stays when the wait is repeated.
    pub(crate) fn until(timeout: Option<Duration>) -> Self {
        let wait = Self::new();
        match timeout {
            Some(timeout) => Self {
                end: End::At(nanoseconds(now().saturating_add(timeout))),
                ..wait
            },
            None => wait,
        }
    }

    /// Gives the time that is left; `None` is for ever.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        match self.end {
            End::Never => None,
            End::In(timeout) => Some(timeout),
            End::At(end) => left(end),
        }
    }

    pub(crate) fn deadline(&self) -> u64 {
        match self.end {
            End::Never => sys::USERDMA_WAIT_FOREVER,
            End::At(end) => end,
            End::In(timeout) => nanoseconds(now().saturating_add(timeout)),
        }
    }
}

/// Gives the time until a deadline; `None` is for ever.
pub(crate) fn left(deadline: u64) -> Option<Duration> {
    match deadline {
        sys::USERDMA_WAIT_FOREVER => None,
        at => Some(Duration::from_nanos(at).saturating_sub(now())),
    }
}

/// The time of `CLOCK_MONOTONIC`, by which completions are stamped.
fn now() -> Duration {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    // The clock is never negative.
    Duration::try_from(now).unwrap_or_default()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(sys::USERDMA_WAIT_FOREVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn min_and_max_keep_their_order() {
        let wait = Wait::new().min(100);
        assert_eq!((wait.min, wait.max), (100, 100));
        let wait = Wait::new().min(8).max(4);
        assert_eq!((wait.min, wait.max), (4, 4));
        let wait = Wait::new().max(0);
        assert_eq!((wait.min, wait.max), (1, 1));
    }

    #[test]
    fn deadlines() {
        assert_eq!(Wait::new().deadline(), u64::MAX);
        assert_eq!(Wait::poll().deadline(), 0);
        assert_eq!(Wait::new().timeout(Duration::MAX).deadline(), u64::MAX);
        let before = nanoseconds(now());
        let second = Wait::until(Some(Duration::from_secs(1)));
        assert!(second.deadline() >= before + 1_000_000_000);
        assert_eq!(second.deadline(), second.deadline());
        assert!(second
            .remaining()
            .is_some_and(|left| left <= Duration::from_secs(1)));
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Learning that transfers have ended.

use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::io::Errno;

use crate::explain;
use crate::ioctl;
use crate::sys;
use crate::Device;
use crate::Error;
use crate::Result;
use crate::Wait;

/// The completions that a wait gave.
///
/// # Examples
///
/// ```no_run
/// # let card = userdma::Device::first()?;
/// let bytes: u64 = card.wait(&userdma::Wait::new())?.map(|completion| completion.bytes()).sum();
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Completions(std::vec::IntoIter<sys::userdma_completion>);

impl Iterator for Completions {
    type Item = Completion;

    fn next(&mut self) -> Option<Completion> {
        self.0.next().map(Completion)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Completions {}

/// How a transfer ended.
///
/// # Examples
///
/// ```no_run
/// # let card = userdma::Device::first()?;
/// for completion in card.wait(&userdma::Wait::new())? {
///     match completion.result() {
///         Ok(bytes) => println!("{bytes} bytes in {:?}", completion.duration()),
///         Err(error) => eprintln!("{}", error.report()),
///     }
/// }
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Completion(sys::userdma_completion);

impl Completion {
    /// Gives the name that the program gave to the transfer.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let names: Vec<u64> = card.wait(&userdma::Wait::new())?.map(|it| it.user_data()).collect();
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn user_data(&self) -> u64 {
        self.0.user_data
    }

    /// Gives the bytes that were moved, also if it failed.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let bytes: u64 = card.wait(&userdma::Wait::new())?.map(|it| it.bytes()).sum();
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// Gives the channel that it ran on.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// assert!(card.wait(&userdma::Wait::new())?.all(|it| it.channel() < card.info().channels));
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn channel(&self) -> u32 {
        self.0.channel
    }

    /// Gives the kernel's answer, `None` if it went well.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// assert!(card.wait(&userdma::Wait::new())?.all(|it| it.errno().is_none()));
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        (self.0.result != 0).then(|| Errno::from_raw_os_error(self.0.result.saturating_neg()))
    }

    /// Gives the bytes that were moved, or why it failed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`](crate::ErrorKind)s `CardError`, `TimedOut`, `Canceled`,
    /// `Gone`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// for completion in card.wait(&userdma::Wait::new())? {
    ///     completion.result()?;
    /// }
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn result(&self) -> Result<u64> {
        match self.errno() {
            None => Ok(self.0.bytes),
            Some(errno) => Err(Error::Transfer {
                user_data: self.0.user_data,
                bytes: self.0.bytes,
                errno,
                explanation: Box::new(explain::completion(errno)),
            }),
        }
    }

    /// Gives when it was accepted, on `CLOCK_MONOTONIC`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// for it in card.wait(&userdma::Wait::new())? {
    ///     println!("{:?} from submit to end", it.ended().saturating_sub(it.submitted()));
    /// }
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn submitted(&self) -> Duration {
        Duration::from_nanos(self.0.submit_ns)
    }

    /// Gives when the card began, `None` if it never did.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let begun = card.wait(&userdma::Wait::new())?.filter(|it| it.started().is_some()).count();
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn started(&self) -> Option<Duration> {
        (self.0.start_ns != 0).then(|| Duration::from_nanos(self.0.start_ns))
    }

    /// Gives when it ended, on `CLOCK_MONOTONIC`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let last = card.wait(&userdma::Wait::new())?.map(|it| it.ended()).max();
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn ended(&self) -> Duration {
        Duration::from_nanos(self.0.end_ns)
    }

    /// Gives how long the card took, zero if it never began.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let longest = card.wait(&userdma::Wait::new())?.map(|it| it.duration()).max();
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.started().map_or(Duration::ZERO, |started| {
            self.ended().saturating_sub(started)
        })
    }
}

impl Device {
    /// Waits for transfers to end and takes their completions. With nothing
    /// outstanding it gives none at once. Any thread may wait; each completion
    /// goes to one of them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`](crate::ErrorKind)s `TimedOut`, `Interrupted`,
    /// `WouldBlock`, `Gone`; none of them loses a completion.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// for completion in card.wait(&userdma::Wait::new())? {
    ///     println!("{} ended", completion.user_data());
    /// }
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn wait(&self, wait: &Wait) -> Result<Completions> {
        // No more can be outstanding than there are slots.
        let depth = usize::try_from(self.info().depth)
            .unwrap_or(usize::MAX)
            .max(1);
        let mut room = vec![ioctl::zeroed(); wait.max.min(depth)];
        let min = u32::try_from(wait.min.min(room.len())).unwrap_or(u32::MAX);
        let count = ioctl::wait(self.as_fd(), &mut room, min, wait.deadline()).map_err(error)?;
        room.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(Completions(room.into_iter()))
    }
}

pub(crate) fn error(errno: Errno) -> Error {
    Error::Wait {
        errno,
        explanation: Box::new(explain::wait(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_failed_transfer_keeps_its_bytes() {
        let completion = Completion(sys::userdma_completion {
            user_data: 7,
            bytes: 512,
            result: -Errno::TIMEDOUT.raw_os_error(),
            ..ioctl::zeroed()
        });
        let error = completion.result().expect_err("it failed");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(
            error
                .to_string()
                .starts_with("transfer 7 failed after 512 bytes"),
            "{error}"
        );
        assert_eq!(completion.started(), None);
        assert_eq!(completion.duration(), Duration::ZERO);
    }
}

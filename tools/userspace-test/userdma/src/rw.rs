// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Reading and writing the card's own memory as a file.

use std::os::fd::AsFd as _;

use rustix::io::Errno;

use crate::explain;
use crate::Device;
use crate::Error;
use crate::ErrorKind;
use crate::Explanation;
use crate::Result;

impl Device {
    /// Reads from the card's memory at `position` and gives how many bytes it
    /// were: fewer than asked for at the end, none behind it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`](crate::ErrorKind)s `BadAccess`, `InvalidInput`,
    /// `CardError`, `TimedOut`, `Interrupted`, `WouldBlock`, `Gone`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let mut samples = [0; 1024];
    /// let count = card.read_at(&mut samples, 0)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn read_at(&self, to: &mut [u8], position: u64) -> Result<usize> {
        let length = to.len();
        rustix::io::pread(self.as_fd(), to, position)
            .map_err(|errno| self.card_error("read", position, length, errno))
    }

    /// Writes to the card's memory at `position` and gives how many bytes it
    /// were: fewer than given at the end.
    ///
    /// # Errors
    ///
    /// As [`read_at`](Self::read_at), and `OutOfRange` at the end.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let count = card.write_at(b"program", 0)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn write_at(&self, from: &[u8], position: u64) -> Result<usize> {
        rustix::io::pwrite(self.as_fd(), from, position)
            .map_err(|errno| self.card_error("write", position, from.len(), errno))
    }

    /// Fills `to` from the card's memory at `position`. Goes on after short
    /// reads and signals.
    ///
    /// # Errors
    ///
    /// As [`read_at`](Self::read_at), and `OutOfRange` (`ERANGE`) if the
    /// card's memory ends before.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let mut samples = [0; 1024];
    /// card.read_exact_at(&mut samples, 0)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn read_exact_at(&self, to: &mut [u8], position: u64) -> Result<()> {
        let length = to.len();
        let mut done = 0;
        while done < length {
            match self.read_at(&mut to[done..], behind(position, done)) {
                Ok(0) => {
                    let explanation =
                        Explanation::new(ErrorKind::OutOfRange, "the card's memory ends before")
                            .limit(format!(
                                "the card has {} bytes of memory",
                                self.info().card_size
                            ));
                    return Err(Error::Card {
                        action: "read",
                        position,
                        length: behind(0, length),
                        errno: Errno::RANGE,
                        explanation: Box::new(explanation),
                    });
                }
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `from` to the card's memory at `position`. Goes on after
    /// short writes and signals.
    ///
    /// # Errors
    ///
    /// As [`write_at`](Self::write_at); what fits is then written.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// card.write_all_at(&[0; 1024], 0)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn write_all_at(&self, from: &[u8], position: u64) -> Result<()> {
        let mut done = 0;
        while done < from.len() {
            match self.write_at(&from[done..], behind(position, done)) {
                // A driver that accepts nothing must not keep us here.
                Ok(0) => {
                    return Err(self.card_error(
                        "write",
                        behind(position, done),
                        from.len() - done,
                        Errno::NOSPC,
                    ))
                }
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn card_error(
        &self,
        action: &'static str,
        position: u64,
        length: usize,
        errno: Errno,
    ) -> Error {
        let length = behind(0, length);
        let explanation = explain::card_memory(position, length, errno, self.info());
        Error::Card {
            action,
            position,
            length,
            errno,
            explanation: Box::new(explanation),
        }
    }
}

/// A position that overflows is refused by the kernel.
fn behind(position: u64, count: usize) -> u64 {
    position.saturating_add(u64::try_from(count).unwrap_or(u64::MAX))
}

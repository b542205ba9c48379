// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a ring tells of itself.

use super::Ring;
use crate::Device;

impl Ring {
    /// Gives the device whose transfers it takes.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let ring = userdma::uring::Ring::new(&userdma::Device::first()?)?;
    /// println!("{}", ring.device().path().display());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Gives how many transfers were put down and have not ended yet.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let ring = userdma::uring::Ring::new(&userdma::Device::first()?)?;
    /// assert_eq!(ring.in_flight(), 0);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.transfers
    }

    /// Gives how many transfers may still be put down: the ring has so many
    /// entries, and the file so many slots.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let ring = userdma::uring::Ring::new(&userdma::Device::first()?)?;
    /// println!("{} more", ring.room());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn room(&self) -> usize {
        let entries = self.ring.params().sq_entries();
        let places = entries.min(self.device.info().depth);
        usize::try_from(places)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.transfers)
    }

    /// Gives how many system calls were made so far to hand transfers over and to wait.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let ring = userdma::uring::Ring::new(&userdma::Device::first()?)?;
    /// assert_eq!(ring.calls(), 0);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The kernel's interface as it is, generated from `include/uapi/linux/userdma.h`.
//!
//! For programs that want what the rest of this crate does not offer, and for
//! tests that must say wrong things. What each field means is in the header.
//!
//! # Examples
//!
//! ```
//! use userdma::sys;
//! use zerocopy::{FromZeros as _, IntoBytes as _};
//!
//! let mut info = sys::userdma_info::new_zeroed();
//! info.size = sys::size_of::<sys::userdma_info>();
//! assert_eq!(info.as_bytes().len(), info.size as usize);
//! ```
#![allow(
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    clippy::all,
    clippy::pedantic
)]

include!(concat!(env!("OUT_DIR"), "/sys.rs"));

/// `userdma_wait.deadline_ns`: take what is there, do not wait.
pub const USERDMA_WAIT_POLL: u64 = 0;
/// `userdma_wait.deadline_ns`: wait until there is something.
pub const USERDMA_WAIT_FOREVER: u64 = u64::MAX;

/// Gives the size of `T` as the ABI's `size` and `entry_size` fields want it.
///
/// # Examples
///
/// ```
/// use userdma::sys;
///
/// assert_eq!(sys::size_of::<sys::userdma_transfer>(), 64);
/// ```
#[must_use]
pub const fn size_of<T>() -> u32 {
    const {
        assert!(
            core::mem::size_of::<T>() <= 4096,
            "the ABI's structures fit a page"
        );
        // CAST: it was just compared.
        core::mem::size_of::<T>() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_this_version() {
        assert_eq!(size_of::<userdma_info>(), 208);
        assert_eq!(size_of::<userdma_buf_alloc>(), 64);
        assert_eq!(size_of::<userdma_buf_info>(), 56);
        assert_eq!(size_of::<userdma_buf_free>(), 16);
        assert_eq!(size_of::<userdma_buf_register>(), 56);
        assert_eq!(size_of::<userdma_buf_sync>(), 32);
        assert_eq!(size_of::<userdma_transfer>(), 64);
        assert_eq!(size_of::<userdma_submit>(), 32);
        assert_eq!(size_of::<userdma_completion>(), 64);
        assert_eq!(size_of::<userdma_wait>(), 40);
        assert_eq!(size_of::<userdma_cancel>(), 32);
        assert_eq!(size_of::<userdma_eventfd>(), 16);
    }
}

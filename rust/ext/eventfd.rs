// SPDX-License-Identifier: GPL-2.0

//! Counters of programs that the kernel adds to.
//!
//! C header: [`include/linux/eventfd.h`](srctree/include/linux/eventfd.h)

use core::ptr::NonNull;

use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

use super::shim;

/// A program's eventfd. Dropping it lets go of it, in any context.
///
/// # Invariants
///
/// Owns a reference to the `struct eventfd_ctx`.
pub(crate) struct EventFd(NonNull<c_void>);

// SAFETY: The context has its own lock and count; it belongs to no thread.
unsafe impl Send for EventFd {}
// SAFETY: As above.
unsafe impl Sync for EventFd {}

impl EventFd {
    /// Finds the eventfd with the number `fd` in the calling process.
    ///
    /// # Errors
    ///
    /// [`EBADF`] if there is no such file, [`EINVAL`] if it is no eventfd.
    pub(crate) fn get(fd: i32) -> Result<Self> {
        // SAFETY: May be called with any number.
        let context = from_err_ptr(unsafe { shim::userdma_eventfd_get(fd) })?;
        // INVARIANT: The reference that we got is ours.
        NonNull::new(context).map(Self).ok_or(EBADF)
    }

    /// Adds 1. Callable in any context; a counter that is full stays as it is.
    pub(crate) fn signal(&self) {
        // SAFETY: By the type invariant the context is there.
        unsafe { shim::userdma_eventfd_signal(self.0.as_ptr()) };
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours.
        unsafe { shim::userdma_eventfd_put(self.0.as_ptr()) };
    }
}

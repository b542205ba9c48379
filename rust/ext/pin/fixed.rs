// SPDX-License-Identifier: GPL-2.0

//! Memory that is registered with a ring of io_uring's: the ring has pinned it, until the command that
//! names it completes. References of ours keep it from being freed longer than that.

use kernel::{
    bindings,
    prelude::*, //
};

use super::{
    super::shim,
    folio_at,
    Kind,
    Pinned, //
};

impl Pinned {
    /// Refers to all that `iter` is over.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] for memory without references; [`ENOMEM`].
    ///
    /// # Safety
    ///
    /// `iter` must be valid and over `bio_vec`s, whose pages live as long as this call.
    pub(in crate::ext) unsafe fn fixed(iter: &mut bindings::iov_iter) -> Result<Self> {
        let mut this = Self::new(4, Kind::Referred)?;
        loop {
            let (mut page, mut inside) = (core::ptr::null_mut(), 0);
            // SAFETY: Promised by the caller.
            let bytes = unsafe { shim::userdma_bvec_next(iter, &mut page, &mut inside) };
            if bytes == 0 {
                return Ok(this);
            }
            let length = u64::try_from(bytes).map_err(|_| EINVAL)?;
            // It has a reference now.
            let (size, _) = folio_at(page);
            this.smallest = this.smallest.min(size as u64);
            if let Err(error) = this.scatter.push(page, inside, length, 1) {
                this.kind.give_back(page, 1);
                return Err(error);
            }
        }
    }
}

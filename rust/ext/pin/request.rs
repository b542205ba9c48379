// SPDX-License-Identifier: GPL-2.0

//! Pinning for as long as a request of read() or write() takes.

use kernel::{
    bindings,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};

use super::{
    super::shim,
    array,
    Kind,
    Pinned,
    BATCH, //
};

impl Pinned {
    /// Pins up to `most` bytes of what `iter` reads into, and advances it over them.
    ///
    /// For as long as a request takes. May sleep.
    ///
    /// # Errors
    ///
    /// [`EFAULT`], [`ENOMEM`]; the iterator is as before then.
    pub(crate) fn dest(iter: &mut IovIterDest<'_>, most: usize) -> Result<Self> {
        // SAFETY: The iterator is valid.
        unsafe { Self::iter(iter.as_raw(), most, true) }
    }

    /// As [`Pinned::dest`], of what `iter` writes from.
    pub(crate) fn source(iter: &mut IovIterSource<'_>, most: usize) -> Result<Self> {
        // SAFETY: The iterator is valid.
        unsafe { Self::iter(iter.as_raw(), most, false) }
    }

    /// # Safety
    ///
    /// `iter` must be valid.
    unsafe fn iter(iter: *mut bindings::iov_iter, most: usize, write: bool) -> Result<Self> {
        // SAFETY: Promised by the caller.
        if !unsafe { shim::userdma_iter_user_backed(iter) } {
            return Err(EFAULT);
        }
        let mut this = Self::new(4, Kind::Pinned { written: write })?;
        let mut pages = array::<bindings::page>(most.div_ceil(PAGE_SIZE) + 1)?;
        let mut extracted = 0;
        while extracted < most {
            let mut array = pages.as_mut_ptr();
            let mut inside = 0;
            // SAFETY: The iterator is valid, and there is room for so many pointers.
            let bytes = unsafe {
                bindings::iov_iter_extract_pages(
                    iter,
                    &mut array,
                    most - extracted,
                    // CAST: At most `BATCH`.
                    pages.capacity().min(BATCH) as c_uint,
                    0,
                    &mut inside,
                )
            };
            if bytes <= 0 {
                break;
            }
            let bytes = bytes as usize;
            extracted += bytes;
            // SAFETY: The kernel has filled in as many as the bytes touch.
            unsafe { pages.inc_len((inside + bytes).div_ceil(PAGE_SIZE)) };
            if let Err(error) = this.push_pages(&mut pages, inside, bytes, false) {
                // SAFETY: So many bytes were taken from it.
                unsafe { bindings::iov_iter_revert(iter, extracted) };
                return Err(error);
            }
        }
        match extracted {
            0 => Err(EFAULT),
            _ => Ok(this),
        }
    }
}

/// Takes `iter` back over the last `length` bytes that [`Pinned::dest`] advanced it over.
pub(crate) fn take_back_dest(iter: &mut IovIterDest<'_>, length: u64) {
    // CAST: It was a length in memory.
    // SAFETY: The iterator is valid, and behind so many bytes.
    unsafe { bindings::iov_iter_revert(iter.as_raw(), length as usize) };
}

/// As [`take_back_dest`], for [`Pinned::source`].
pub(crate) fn take_back_source(iter: &mut IovIterSource<'_>, length: u64) {
    // CAST: It was a length in memory.
    // SAFETY: The iterator is valid, and behind so many bytes.
    unsafe { bindings::iov_iter_revert(iter.as_raw(), length as usize) };
}

/// Returns the bits of all addresses and lengths in `iter`.
pub(crate) fn dest_alignment(iter: &mut IovIterDest<'_>) -> u64 {
    // SAFETY: The iterator is valid.
    unsafe { bindings::iov_iter_alignment(iter.as_raw()) as u64 }
}

/// Returns the bits of all addresses and lengths in `iter`.
pub(crate) fn source_alignment(iter: &mut IovIterSource<'_>) -> u64 {
    // SAFETY: The iterator is valid.
    unsafe { bindings::iov_iter_alignment(iter.as_raw()) as u64 }
}

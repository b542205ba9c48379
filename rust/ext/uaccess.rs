// SPDX-License-Identifier: GPL-2.0

//! Small structures from and to a program, each in one go.
//!
//! C header: [`include/linux/uaccess.h`](srctree/include/linux/uaccess.h)

use core::mem::MaybeUninit;

use zerocopy::Immutable;

use kernel::prelude::*;

use super::shim;

/// Where words may be written, whatever a `T` itself asks for.
#[repr(align(8))]
struct Aligned<T>(MaybeUninit<T>);

/// Returns how many words a `T` has: it consists of nothing else.
pub(super) const fn words<T>() -> usize {
    const { assert!(size_of::<T>() % size_of::<u64>() == 0) };
    size_of::<T>() / size_of::<u64>()
}

/// Does not build if a `T` may lie where no word may.
const fn check_aligned<T>() {
    const { assert!(align_of::<T>() >= align_of::<u64>()) };
}

/// Reads a value. May sleep.
///
/// # Errors
///
/// [`EFAULT`].
pub(crate) fn read<T: FromBytes>(at: usize) -> Result<T> {
    let mut value = Aligned::<T>(MaybeUninit::uninit());
    let to = value.0.as_mut_ptr().cast();
    // SAFETY: There are so many words at `to`; `at` is checked.
    if !unsafe { shim::userdma_read_words(to, at as *const u64, words::<T>()) } {
        return Err(EFAULT);
    }
    // SAFETY: All of it was written, and every pattern of bits is a `T`.
    Ok(unsafe { value.0.assume_init() })
}

/// Reads so many values that lie behind each other. May sleep.
///
/// # Errors
///
/// [`EFAULT`]; what `to` holds then is anything.
pub(crate) fn read_all<T: FromBytes>(at: usize, to: &mut [T]) -> Result {
    check_aligned::<T>();
    let count = words::<T>() * to.len();
    // SAFETY: There are so many words at `to`, and every pattern of bits is a `T`; `at` is checked.
    match unsafe { shim::userdma_read_words(to.as_mut_ptr().cast(), at as *const u64, count) } {
        true => Ok(()),
        false => Err(EFAULT),
    }
}

/// Writes a value. May sleep.
///
/// # Errors
///
/// [`EFAULT`]; a part may have been written.
pub(crate) fn write<T: IntoBytes + Immutable>(at: usize, value: &T) -> Result {
    check_aligned::<T>();
    let from = core::ptr::from_ref(value).cast();
    // SAFETY: There are so many words at `from`, all of them initialised; `at` is checked.
    match unsafe { shim::userdma_write_words(at as *mut u64, from, words::<T>()) } {
        true => Ok(()),
        false => Err(EFAULT),
    }
}

/// Writes a number. May sleep.
///
/// # Errors
///
/// [`EFAULT`].
pub(crate) fn write_u32(at: usize, value: u32) -> Result {
    // SAFETY: `at` is checked.
    match unsafe { shim::userdma_write_u32(at as *mut u32, value) } {
        true => Ok(()),
        false => Err(EFAULT),
    }
}

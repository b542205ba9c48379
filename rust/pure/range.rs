// SPDX-License-Identifier: GPL-2.0

//! Checks of `offset` and `length` that come from user space.

/// Why a range is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// `offset + length` does not fit in 64 bits.
    Wraps,
    /// The range ends behind the object.
    Outside,
    /// The range is empty.
    Empty,
    /// Offset or length is not a multiple of the alignment.
    Misaligned,
}

/// Checks that `offset..offset + length` is a non-empty, aligned part of `0..size`.
///
/// `align` is a power of two, in bytes like everything else here.
pub(crate) fn check(offset: u64, length: u64, size: u64, align: u64) -> Result<(), Error> {
    if length == 0 {
        return Err(Error::Empty);
    }
    if (offset | length) & (align - 1) != 0 {
        return Err(Error::Misaligned);
    }
    match offset.checked_add(length) {
        None => Err(Error::Wraps),
        Some(end) if end > size => Err(Error::Outside),
        Some(_) => Ok(()),
    }
}

/// Returns whether two ranges of `length` have no byte in common.
pub(crate) fn are_apart(one: u64, other: u64, length: u64) -> bool {
    one.abs_diff(other) >= length
}

/// Rounds `length` up to a multiple of `unit`, a power of two; `None` if that wraps.
pub(crate) fn round_up(length: u64, unit: u64) -> Option<u64> {
    Some(length.checked_add(unit - 1)? & !(unit - 1))
}

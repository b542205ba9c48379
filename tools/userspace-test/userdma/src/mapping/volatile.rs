// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Copying from and to memory that the card may use at the same time.

const WORD: usize = size_of::<u64>();

/// Copies from memory that others may write at any time: each byte is read
/// exactly once, in words where the source is aligned.
///
/// # Safety
///
/// `from` is valid for reads of `to.len()` bytes.
pub(super) unsafe fn copy_out(from: *const u8, to: &mut [u8]) {
    let head = from.align_offset(WORD).min(to.len());
    let (first, rest) = to.split_at_mut(head);
    let mut words = rest.chunks_exact_mut(WORD);
    let mut at = from;
    let bytes = |to: &mut [u8], mut at: *const u8| {
        for byte in to {
            // SAFETY: the caller's promise.
            *byte = unsafe { at.read_volatile() };
            at = at.wrapping_add(1);
        }
        at
    };
    at = bytes(first, at);
    for word in words.by_ref() {
        // SAFETY: the caller's promise, and `head` bytes aligned it.
        let value = unsafe { at.cast::<u64>().read_volatile() };
        word.copy_from_slice(&value.to_ne_bytes());
        at = at.wrapping_add(WORD);
    }
    bytes(words.into_remainder(), at);
}

/// Copies to memory that others may read at any time: each byte is written
/// exactly once, in words where the destination is aligned.
///
/// # Safety
///
/// `to` is valid for writes of `from.len()` bytes.
pub(super) unsafe fn copy_in(to: *mut u8, from: &[u8]) {
    let head = to.align_offset(WORD).min(from.len());
    let (first, rest) = from.split_at(head);
    let words = rest.chunks_exact(WORD);
    let last = words.remainder();
    let mut at = to;
    let bytes = |from: &[u8], mut at: *mut u8| {
        for byte in from {
            // SAFETY: the caller's promise.
            unsafe { at.write_volatile(*byte) };
            at = at.wrapping_add(1);
        }
        at
    };
    at = bytes(first, at);
    for word in words {
        let mut value = [0; WORD];
        value.copy_from_slice(word);
        // SAFETY: the caller's promise, and `head` bytes aligned it.
        unsafe { at.cast::<u64>().write_volatile(u64::from_ne_bytes(value)) };
        at = at.wrapping_add(WORD);
    }
    bytes(last, at);
}

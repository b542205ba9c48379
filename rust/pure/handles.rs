// SPDX-License-Identifier: GPL-2.0

//! Numbers for objects: handles, and offsets for `mmap`. Both are given out cyclically, so that a
//! stale one fails instead of naming something new.

/// Returns the next free handle after `last`; 0 is never one. `None` if all are taken.
pub(crate) fn next(last: u32, taken: impl Fn(u32) -> bool) -> Option<u32> {
    let mut handle = last;
    for _ in 0..u32::MAX {
        handle = handle.wrapping_add(1).max(1);
        if !taken(handle) {
            return Some(handle);
        }
    }
    None
}

/// The range that offsets for `mmap` are taken from, and their alignment, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) align: u64,
}

impl Window {
    /// Finds a free aligned place for `length` bytes, from `from` on and then from the start.
    ///
    /// `overlap(start, end)` returns the end of some object that lies in `start..end`, if any.
    pub(crate) fn place(
        &self,
        from: u64,
        length: u64,
        overlap: impl Fn(u64, u64) -> Option<u64>,
    ) -> Option<u64> {
        if length == 0 {
            return None;
        }
        let from = from.clamp(self.start, self.end);
        self.search(from, self.end, length, &overlap)
            .or_else(|| self.search(self.start, self.end, length, &overlap))
    }

    fn search(
        &self,
        from: u64,
        end: u64,
        length: u64,
        overlap: &impl Fn(u64, u64) -> Option<u64>,
    ) -> Option<u64> {
        let mut start = super::range::round_up(from, self.align)?;
        loop {
            let stop = start.checked_add(length)?;
            if stop > end {
                return None;
            }
            match overlap(start, stop) {
                None => return Some(start),
                // An object's end is behind `start`, hence this ends.
                Some(behind) => start = super::range::round_up(behind, self.align)?,
            }
        }
    }
}

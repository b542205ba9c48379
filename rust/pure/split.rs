// SPDX-License-Identifier: GPL-2.0

//! From a range of a buffer to the pieces that a card can move in one go.

/// A part of a buffer that is contiguous on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Where it begins in the buffer, in bytes.
    pub(crate) offset: u64,
    /// Where it begins on the bus.
    pub(crate) bus: u64,
    /// Bytes.
    pub(crate) length: u64,
}

/// What is moved next: a bus address and a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) bus: u64,
    pub(crate) length: u64,
}

/// Returns the first piece, of at most `max` bytes, of the range `offset..offset + length`. It does
/// not cross a multiple of `boundary` on the bus, a power of two, or 0 if there is none.
///
/// `segments` are sorted by offset and leave no gap. Returns `None` for an empty range and for an
/// offset that no segment holds.
pub(crate) fn first(
    segments: &[Segment],
    offset: u64,
    length: u64,
    max: u64,
    boundary: u64,
) -> Option<Piece> {
    let segment = match segments {
        [only] => only,
        _ => segments.get(
            segments
                .partition_point(|s| s.offset <= offset)
                .checked_sub(1)?,
        )?,
    };
    let inside = offset.checked_sub(segment.offset)?;
    let bus = segment.bus.checked_add(inside)?;
    let mut length = length.min(segment.length.checked_sub(inside)?).min(max);
    if let Some(below) = boundary.checked_sub(1) {
        length = length.min(boundary - (bus & below));
    }
    if length == 0 {
        return None;
    }
    Some(Piece { bus, length })
}

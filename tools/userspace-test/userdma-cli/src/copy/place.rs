// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From where to where: `card:OFFSET+LENGTH`, or a file.

use std::path::PathBuf;

use crate::number;

/// What stands for the card.
const CARD: &str = "card";

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A part of the card's own memory.
    Card(Part),
    /// A file, a pipe, a device; `-` is standard input or output.
    File(PathBuf),
}

/// A part of the card's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) offset: u64,
    /// To the end of what is copied, if it is not said.
    pub(crate) length: Option<u64>,
}

impl Place {
    /// Reads a place as people write it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let rest = match text.strip_prefix(CARD) {
            Some("") => "",
            Some(rest) if rest.starts_with(':') => &rest[1..],
            _ => return Ok(Self::File(PathBuf::from(text))),
        };
        let (offset, length) = match rest.split_once('+') {
            Some((offset, length)) => (offset, Some(number::size(length)?)),
            None => (rest, None),
        };
        let offset = match offset {
            "" => 0,
            text => number::size(text)?,
        };
        Ok(Self::Card(Part { offset, length }))
    }
}

impl Part {
    /// What it is called in messages.
    pub(crate) fn name(self) -> String {
        format!("{CARD}:{:#x}", self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let card = |offset, length| Ok(Place::Card(Part { offset, length }));
        let file = |name: &str| Ok(Place::File(PathBuf::from(name)));
        assert_eq!(Place::parse("card"), card(0, None));
        assert_eq!(Place::parse("card:"), card(0, None));
        assert_eq!(Place::parse("card:0x1000"), card(4096, None));
        assert_eq!(Place::parse("card:4k+1MiB"), card(4096, Some(1 << 20)));
        assert_eq!(Place::parse("card:+8"), card(0, Some(8)));
        for name in ["-", "cards", "./card", "card.bin", "/dev/card:0", ""] {
            assert_eq!(Place::parse(name), file(name));
        }
        for wrong in ["card:x", "card:4k+", "card:-1", "card:1+2+3"] {
            assert!(Place::parse(wrong).is_err(), "{wrong}");
        }
    }
}

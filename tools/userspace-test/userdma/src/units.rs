// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Sizes as people read them.

use std::fmt;

const UNITS: [(u64, &str); 4] = [
    (1 << 40, "TiB"),
    (1 << 30, "GiB"),
    (1 << 20, "MiB"),
    (1 << 10, "KiB"),
];

/// A number of bytes, shown exactly in the largest unit that takes at most five
/// digits to do so; a large number that no unit says so is shown to one decimal
/// place.
///
/// # Examples
///
/// ```
/// use userdma::Bytes;
///
/// assert_eq!(Bytes(32 << 20).to_string(), "32 MiB");
/// assert_eq!(Bytes((32 << 20) + 4096).to_string(), "32772 KiB");
/// assert_eq!(Bytes(4097).to_string(), "4097 bytes");
/// assert_eq!(Bytes((3 << 20) + (1 << 19) + 1).to_string(), "3.5 MiB");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |(unit, _): &&(u64, &str)| {
            self.0 >= *unit && self.0 % unit == 0 && self.0 / unit < 100_000
        };
        let text = match (
            UNITS.iter().find(exact),
            UNITS.iter().find(|(unit, _)| self.0 >= *unit),
        ) {
            (Some((unit, name)), _) => format!("{} {name}", self.0 / unit),
            // Small numbers stay exact: off by one must be seen.
            (None, Some((unit, name))) if *unit > 1 << 10 => {
                // In tenths, in integers: a float would not hold every u64.
                let tenths = u128::from(self.0) * 10 / u128::from(*unit);
                format!("{}.{} {name}", tenths / 10, tenths % 10)
            }
            _ if self.0 == 1 => "1 byte".to_owned(),
            _ => format!("{} bytes", self.0),
        };
        // Lets callers give a width.
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1025, "1025 bytes"),
            (1536 << 10, "1536 KiB"),
            (100_000 << 10, "97.6 MiB"),
            (99_999 << 10, "99999 KiB"),
            ((1 << 30) - 1, "1023.9 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!(format!("{:>8}", Bytes(1024)), "   1 KiB");
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Sizes and offsets as people write them, and speeds as they read them.

use std::time::Duration;

use parse_size::Config;
use userdma::Bytes;

/// Reads `4096`, `4k`, `32MiB`, `0x1000`. Suffixes are binary.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    if let Some(digits) = lower.strip_prefix("0x") {
        return u64::from_str_radix(&digits.replace('_', ""), 16)
            .map_err(|error| format!("not a hexadecimal number of bytes: {error}"));
    }
    Config::new()
        .with_binary()
        .parse_size(text)
        .map_err(|error| format!("{error}; give bytes, or as 4k, 32MiB, 0x1000"))
}

/// Bytes in a second.
pub(crate) fn rate(bytes: u64, time: Duration) -> String {
    let nanoseconds = time.as_nanos().max(1);
    let rate = u128::from(bytes) * 1_000_000_000 / nanoseconds;
    format!(
        "{} in a second",
        Bytes(u64::try_from(rate).unwrap_or(u64::MAX))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_a_second() {
        let half = Duration::from_millis(500);
        assert_eq!(rate(32 << 20, half), "64 MiB in a second");
        assert!(rate(1, Duration::ZERO).ends_with(" in a second"));
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4k", 4096),
            ("4K", 4096),
            ("32MiB", 32 << 20),
            ("32M", 32 << 20),
            ("32 MB", 32 << 20),
            ("1.5GiB", 3 << 29),
            ("0x1000", 4096),
            ("0Xffff_ffff_ffff_ffff", u64::MAX),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "-1",
            "4 elephants",
            "0x",
            "0xg",
            "18446744073709551616",
            "16EiB",
        ] {
            assert!(size(text).is_err(), "{text} gave {:?}", size(text));
        }
    }
}

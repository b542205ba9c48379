// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Sizes and offsets as people write them.

use parse_size::Config;

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

#[cfg(test)]
mod tests {
    use super::size;

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

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `range` against arithmetic in 128 bits, where nothing of 64 bits wraps.

use proptest::prelude::*;

use super::{config, hard, power_of_two};
use crate::pure::range::{are_apart, check, round_up, Error};

fn reference(offset: u64, length: u64, size: u64, align: u64) -> Result<(), Error> {
    let wide = |value: u64| u128::from(value);
    let end = wide(offset) + wide(length);
    if length == 0 {
        Err(Error::Empty)
    } else if offset % align != 0 || length % align != 0 {
        Err(Error::Misaligned)
    } else if end > wide(u64::MAX) {
        Err(Error::Wraps)
    } else if end > wide(size) {
        Err(Error::Outside)
    } else {
        Ok(())
    }
}

#[test]
fn the_edges() {
    assert_eq!(check(0, 1, 1, 1), Ok(()));
    assert_eq!(check(0, 4096, 4096, 1), Ok(()));
    assert_eq!(check(4095, 1, 4096, 1), Ok(()));
    assert_eq!(check(4096, 1, 4096, 1), Err(Error::Outside));
    assert_eq!(check(4095, 2, 4096, 1), Err(Error::Outside));
    assert_eq!(check(1, 4096, 4096, 1), Err(Error::Outside));
    assert_eq!(check(0, 1, 0, 1), Err(Error::Outside));
    assert_eq!(check(0, 0, 4096, 1), Err(Error::Empty));
    // At the very end of what 64 bits can name, and one further.
    assert_eq!(check(u64::MAX - 1, 1, u64::MAX, 1), Ok(()));
    assert_eq!(check(0, u64::MAX, u64::MAX, 1), Ok(()));
    assert_eq!(check(u64::MAX, 1, u64::MAX, 1), Err(Error::Wraps));
    assert_eq!(check(1, u64::MAX, u64::MAX, 1), Err(Error::Wraps));
    // What would come out inside if it were allowed to wrap.
    assert_eq!(check(u64::MAX - 4095, 8192, 1 << 20, 1), Err(Error::Wraps));
}

#[test]
fn alignment() {
    assert_eq!(check(4, 8, 64, 4), Ok(()));
    assert_eq!(check(2, 8, 64, 4), Err(Error::Misaligned));
    assert_eq!(check(4, 6, 64, 4), Err(Error::Misaligned));
    // It is the range that must be aligned, not the object.
    assert_eq!(check(60, 4, 67, 4), Ok(()));
    assert_eq!(check(64, 4, 67, 4), Err(Error::Outside));
}

/// The order of the errors: which one a program sees is part of the ABI.
#[test]
fn which_error_wins() {
    assert_eq!(check(u64::MAX, 0, 0, 4), Err(Error::Empty));
    assert_eq!(check(u64::MAX, 4, 0, 4), Err(Error::Misaligned));
    assert_eq!(check(u64::MAX - 3, 4, 0, 4), Err(Error::Wraps));
}

#[test]
fn rounding_up() {
    assert_eq!(round_up(0, 4096), Some(0));
    assert_eq!(round_up(1, 4096), Some(4096));
    assert_eq!(round_up(4096, 4096), Some(4096));
    assert_eq!(round_up(4097, 4096), Some(8192));
    assert_eq!(round_up(u64::MAX, 1), Some(u64::MAX));
    assert_eq!(round_up(u64::MAX - 4095, 4096), Some(u64::MAX - 4095));
    assert_eq!(round_up(u64::MAX - 4094, 4096), None);
    assert_eq!(round_up(u64::MAX, 2), None);
    assert_eq!(round_up(1, 1 << 63), Some(1 << 63));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn check_is_exact(
        offset in hard(),
        length in hard(),
        size in hard(),
        align in power_of_two(),
    ) {
        prop_assert_eq!(
            check(offset, length, size, align),
            reference(offset, length, size, align)
        );
    }

    /// As above, but most ranges end near the end of the object.
    #[test]
    fn check_is_exact_near_the_end(
        size in hard(),
        length in hard(),
        by in -3i64..=3,
        bits in 0u32..4,
    ) {
        let offset = size.wrapping_sub(length).wrapping_add_signed(by << bits);
        prop_assert_eq!(
            check(offset, length, size, 1 << bits),
            reference(offset, length, size, 1 << bits)
        );
    }

    /// What is let through lies inside, byte by byte.
    #[test]
    fn what_passes_is_inside(offset in 0u64..40, length in 0u64..40, size in 0u64..40) {
        let passes = check(offset, length, size, 1).is_ok();
        let inside = length > 0 && (offset..offset + length).all(|byte| byte < size);
        prop_assert_eq!(passes, inside);
    }

    #[test]
    fn apart_is_without_a_byte_in_common(one in 0u64..40, other in 0u64..40, length in 1u64..40) {
        let common = (one..one + length).any(|byte| (other..other + length).contains(&byte));
        prop_assert_eq!(are_apart(one, other, length), !common);
    }

    #[test]
    fn round_up_is_exact(length in hard(), unit in power_of_two()) {
        let exact = u128::from(length).div_ceil(u128::from(unit)) * u128::from(unit);
        prop_assert_eq!(round_up(length, unit), u64::try_from(exact).ok());
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the tests share.

mod ahead;
mod fair;
mod handles;
mod lap;
mod order;
mod range;
mod ring;
mod split;
mod users;
mod window;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

/// Gives the configuration of a property test, and says how to repeat it.
///
/// The output of a test is shown if it fails. Nothing is written to the tree.
fn config() -> Config {
    static SEED: OnceLock<u64> = OnceLock::new();
    let default = Config::default();
    let seed = match default.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => *SEED.get_or_init(|| RandomState::new().hash_one(())),
    };
    eprintln!("repeat with PROPTEST_RNG_SEED={seed}");
    Config {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..default
    }
}

/// Makes numbers as they hurt: small ones, powers of two, the end of 64 bits,
/// each give or take a little.
fn hard() -> impl Strategy<Value = u64> {
    let power = (0u32..64, -4i64..=4).prop_map(|(bits, by)| (1u64 << bits).wrapping_add_signed(by));
    prop_oneof![
        2 => 0u64..40,
        4 => power,
        2 => (0u64..8200).prop_map(|by| u64::MAX - by),
        1 => any::<u64>(),
    ]
}

/// Makes a power of two.
fn power_of_two() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(1),
        Just(4096),
        Just(2 << 20),
        (0u32..64).prop_map(|bits| 1 << bits)
    ]
}

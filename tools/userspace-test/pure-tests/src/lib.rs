// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Tests, on the host, of what the kernel module has without a kernel in it:
//! its pure logic (`rust/pure.rs` and the files below it) and the layout of
//! its ABI (`include/uapi/linux/userdma.h`).
//!
//! The module's own source files are compiled here, not copies of them. Unit
//! tests and property tests of them are in `src/tests`, because they need
//! items that are private to the crate; the ABI is in `tests/abi`.
//!
//! A property test that fails prints the seed; `PROPTEST_RNG_SEED=<seed>`
//! repeats it, and `PROPTEST_CASES=<n>` asks for more cases than 256.
//!
//! What several threads may enter at once is modelled with loom, in
//! `src/tests/users.rs`: `users`, and around it what the module does with it.
//! All else in `pure` runs under a lock of its caller: what changes something
//! takes `&mut self`.
#![cfg_attr(not(test), no_std)]

/// The module's crate, as far as it can be compiled here.
///
/// An inline module, because a path on `mod pure;` itself would make the
/// compiler look for `rust/fair.rs` instead of `rust/pure/fair.rs`.
#[path = "../../../../rust"]
mod module {
    // Without the tests nothing uses it; then it only shows that it is no_std.
    #[allow(dead_code)]
    pub(crate) mod pure;
}

// As in the module's crate: `crate::pure`.
#[cfg(test)]
use module::pure;

#[cfg(test)]
mod tests;

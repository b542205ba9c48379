// SPDX-License-Identifier: GPL-2.0

//! Error codes that the `kernel` crate has no name for.

use kernel::{
    bindings,
    error::Error, //
};

/// Returns the code for "cannot assign requested address".
pub(crate) fn eaddrnotavail() -> Error {
    // CAST: A small number.
    Error::from_errno(-(bindings::EADDRNOTAVAIL as i32))
}

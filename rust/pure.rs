// SPDX-License-Identifier: GPL-2.0

//! Logic without a kernel in it: `core` only, no allocation, no `unsafe`.
//!
//! Storage is the caller's. The same files are compiled, unit-tested and property-tested on the
//! host by `tools/userspace-test/pure-tests`.

#![forbid(unsafe_code)]

pub(crate) mod ahead;
pub(crate) mod fair;
pub(crate) mod handles;
pub(crate) mod lap;
pub(crate) mod order;
pub(crate) mod range;
pub(crate) mod ring;
pub(crate) mod split;
pub(crate) mod users;

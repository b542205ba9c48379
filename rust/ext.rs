// SPDX-License-Identifier: GPL-2.0

//! Abstractions that the 7.3 `kernel` crate does not have.
//!
//! All FFI `unsafe` of the module lives here, and `bindings::` appears nowhere else. Nothing here
//! knows what userdma is.

pub(crate) mod affinity;
pub(crate) mod chardev;
pub(crate) mod dma;
pub(crate) mod errno;
pub(crate) mod eventfd;
pub(crate) mod folio;
pub(crate) mod lent;
pub(crate) mod locked;
pub(crate) mod pci;
pub(crate) mod pin;
pub(crate) mod scatter;
pub(crate) mod sg;
mod shim;
pub(crate) mod system;
pub(crate) mod thread;
pub(crate) mod uaccess;
pub(crate) mod uring;
pub(crate) mod vm;
pub(crate) mod words;

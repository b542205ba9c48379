// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The layout of the ABI, as everybody sees it who looks at the header:
//! programs in C of 64 and of 32 bits, the library, the kernel module; and as
//! programs saw it that were compiled long ago.
//!
//! Each view is a list of lines, so that two are compared, and a version is
//! recorded, as text.

mod c;
mod header;
mod rules;
mod rust;
mod versions;
mod view;

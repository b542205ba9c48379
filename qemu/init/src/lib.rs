// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the laboratory and its guest say to each other.
//!
//! The runner on the host writes a [`job::Job`] into the guest's initramfs;
//! the guest's process 1 does it and answers in KTAP on its second serial port.

pub mod job;
pub mod lab;

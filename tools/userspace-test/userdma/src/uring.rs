// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Transfers through io_uring: many with one system call, with a polled ring without
//! any; and asynchronous, with any executor.
//!
//! | want | see |
//! |---|---|
//! | submit and wait yourself, in one thread | [`Ring`] |
//! | `.await` a transfer | [`Queue`] |
//! | no system call to submit | [`RingBuilder::polled`] |
//!
//! Needs a kernel with io_uring and a driver that takes its commands
//! ([`Capabilities::uring`](crate::Capabilities::uring)). A transfer of a ring
//! completes on its ring only: [`Device::wait`](crate::Device::wait),
//! [`Device::poll`](crate::Device::poll) and eventfds do not tell of it. It takes one of
//! the file's slots as any other.
//!
//! # Why it is sound
//!
//! An entry of the ring has the whole transfer in it and names its buffers by
//! handle, so the kernel is given no pointer into the program's memory. The driver
//! keeps the memory of a transfer from the moment that it has accepted it until the card
//! is done, whatever becomes of the handle, the [`Buffer`](crate::Buffer), the mapping, the registered
//! memory, the future or the ring: dropped or forgotten, the card never writes to memory
//! that became something else. And what it writes to is never a Rust object:
//! [`Mapping`](crate::Mapping) and [`Memory`](crate::Memory) are read and written by copying only.
//! A buffer that is freed *before* the driver has seen the entry (between [`Ring::push`] and
//! [`Ring::submit`], or while a kernel thread has not looked yet) makes the transfer fail
//! with [`ErrorKind::NotFound`](crate::ErrorKind::NotFound).

mod builder;
mod completion;
mod owner;
mod queue;
mod ring;
mod task;

pub use builder::RingBuilder;
pub use completion::Completion;
pub use queue::Queue;
pub use ring::Ring;
pub use task::Running;

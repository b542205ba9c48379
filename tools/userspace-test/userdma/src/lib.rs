// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Zero-copy access to the DMA buffers of a PCI device, through the `userdma`
//! kernel module.
//!
//! Open a card, allocate memory that it can reach, map it, start transfers,
//! sleep until the interrupt, read the result in place:
//!
//! ```no_run
//! use std::time::Duration;
//! use userdma::{Device, Transfer};
//!
//! fn main() -> userdma::Result<()> {
//!     let card = Device::first()?;
//!     let buffer = card.coherent(32 << 20).allocate()?;
//!     let mut memory = buffer.map()?;
//!
//!     memory.copy_from(0, b"hello, card")?;
//!     let transfers = [
//!         Transfer::to_card(&buffer, 0..11, 0),
//!         Transfer::from_card(&buffer, 4096..4107, 0),
//!     ];
//!     for completion in card.run(&transfers, Some(Duration::from_secs(5)))? {
//!         completion.result()?;
//!     }
//!
//!     let mut back = [0; 11];
//!     memory.copy_to(4096, &mut back)?;
//!     assert_eq!(&back, b"hello, card");
//!     Ok(())
//! }
//! ```
//!
//! | want | see |
//! |---|---|
//! | find and open a card | [`Device`], [`OpenOptions`], [`enumerate`] |
//! | know what it can do | [`Info`] |
//! | memory that it can reach | [`BufferBuilder`], [`Buffer`], [`Mapping`] |
//! | let it reach the program's own memory | [`Device::register`], [`Memory`], [`Registered`] |
//! | move data | [`Transfer`], [`Device::submit`], [`Device::wait`], [`Device::run`] |
//! | several transfers at once, completions one by one | [`Batch`], [`Device::completions`] |
//! | io_uring, and `.await` | [`uring`] |
//! | read and write the card's own memory | [`Device::read_at`], [`Device::write_at`] |
//! | take it back | [`Device::cancel`], [`Device::cancel_all`] |
//! | an event loop | [`Device::poll`], or any poller with [`AsFd`](std::os::fd::AsFd) |
//! | an eventfd that counts completions or interrupts | [`Device::eventfd`], [`Device::set_eventfd`] |
//! | know what went wrong | [`Error::kind`], [`Error::report`] |
//! | the kernel's interface as it is | [`sys`] |
//!
//! When the card goes away (unbound, unplugged), calls fail with
//! [`ErrorKind::Gone`] and a touched mapping of a buffer that the driver
//! allocated raises SIGBUS.
#![deny(missing_docs)]

mod batch;
mod buffer;
mod cancel;
mod completion;
mod device;
mod error;
mod event;
mod eventfd;
mod explain;
mod explanation;
mod info;
mod ioctl;
mod mapping;
mod memory;
mod open;
mod register;
mod rw;
pub mod sys;
mod transfer;
mod units;
pub mod uring;
mod wait;

pub use batch::Batch;
pub use batch::Outstanding;
pub use buffer::Buffer;
pub use buffer::BufferBuilder;
pub use buffer::BufferInfo;
pub use buffer::Kind;
pub use completion::Completion;
pub use completion::Completions;
pub use device::Device;
pub use error::Error;
pub use error::Result;
pub use event::Readiness;
pub use eventfd::Event;
pub use explanation::ErrorKind;
pub use explanation::Explanation;
pub use info::Capabilities;
pub use info::Info;
pub use info::Interrupt;
pub use info::Limits;
pub use info::Usage;
pub use mapping::Mapping;
pub use mapping::MappingBuilder;
pub use memory::Memory;
pub use memory::MemoryBuilder;
pub use memory::Pages;
pub use open::enumerate;
pub use open::Access;
pub use open::OpenOptions;
pub use register::Place;
pub use register::RegisterBuilder;
pub use register::Registered;
pub use transfer::Operation;
pub use transfer::Transfer;
pub use units::Bytes;
pub use wait::Wait;

/// The error numbers of the system, as [`Error::errno`] gives them.
pub use rustix::io::Errno;

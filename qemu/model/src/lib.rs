// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a model of a PCI card is made with. A model is a process of its own that
//! QEMU talks to by vfio-user (`-device vfio-user-pci`): QEMU passes on each
//! access to the card's registers, and shares the guest's memory, which the model
//! reads and writes itself.
//!
//! A card is a type that implements [`Model`]; [`serve()`] does the rest:
//!
//! ```no_run
//! use clap::Parser;
//! use userdma_model::{Bar, Host, Identity, Model, Options};
//!
//! struct Card(Host);
//!
//! impl Model for Card {
//!     fn identity() -> Identity {
//!         Identity {
//!             vendor: 0x1234,
//!             device: 0x11ff,
//!             revision: 0,
//!             class: 0xff0000,
//!             bars: vec![Bar::registers(0, 4096)],
//!             vectors: 1,
//!         }
//!     }
//!     fn read(&self, _bar: u8, offset: u64, _size: usize) -> u64 {
//!         offset
//!     }
//!     fn write(&self, _bar: u8, _offset: u64, _size: usize, _value: u64) {
//!         self.0.interrupt(0);
//!     }
//!     fn reset(&self) {}
//! }
//!
//! #[derive(Parser)]
//! struct Arguments {
//!     #[command(flatten)]
//!     options: Options,
//! }
//!
//! fn main() -> anyhow::Result<()> {
//!     Ok(userdma_model::serve(&Arguments::parse().options, |host| Ok(Card(host)))?)
//! }
//! ```
//!
//! The way of an access: [`serve()`] accepts a client and has a [`Model`] made for
//! it; `backend` translates the protocol's requests; registers are the model's;
//! `config` is the configuration space; `memory` knows which bus addresses the
//! guest (or its IOMMU) gives to the card; `interrupts` has an eventfd for each
//! vector; an [`Engine`] is a thread for what takes long. `control` is a second
//! socket, for tests: what a model found fault with ([`Violation`]), and what a
//! model itself understands there.
//!
//! Lock order: a model's own locks, then those of this library. No lock of the
//! library is held while a model is called, so a model may hold its own during
//! every call of a [`Host`].

mod backend;
mod config;
mod control;
mod death;
mod engine;
mod host;
mod identity;
mod interrupts;
mod memory;
mod report;
mod serve;
#[cfg(feature = "testing")]
pub mod testing;

use std::fmt::Display;
use std::io;
use std::io::Write;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use anyhow::bail;
use serde_json::Value;

pub use engine::Engine;
pub use engine::Stop;
pub use host::Host;
pub use identity::Bar;
pub use identity::Identity;
pub use identity::IdentityError;
pub use memory::DeviceMemory;
pub use memory::Place;
pub use memory::Refusal;
pub use memory::BLOCK;
pub use report::Violation;
pub use serve::serve;
pub use serve::Options;
pub use serve::ServeError;

/// A card.
///
/// All methods are called from any thread and must not block for long: the
/// processor of the guest that touches a register stands still meanwhile. What
/// takes longer than a few microseconds belongs to a thread, such as an [`Engine`],
/// that the card starts when it is made, and that `Drop` ends.
pub trait Model: Send + Sync + Sized + 'static {
    /// What the card says about itself. Always the same.
    fn identity() -> Identity;

    /// Reads `size` bytes at `offset` of a BAR. The access is one that the BAR has:
    /// all of it is inside, and `size` and alignment are those of [`Bar::only`].
    fn read(&self, bar: u8, offset: u64, size: usize) -> u64;

    /// Writes `size` bytes at `offset` of a BAR, as [`read`](Self::read).
    fn write(&self, bar: u8, offset: u64, size: usize, value: u64);

    /// A reset of the function, or the end of a client. Everything stops. May wait
    /// some milliseconds for the card's threads: after it the card has no bus
    /// mastering, and what is still tried then is a violation.
    fn reset(&self);

    /// A request on the control socket that the library does not know: `name` and
    /// its arguments. The answer is passed on.
    ///
    /// # Errors
    ///
    /// What is wrong with the request, in words for the one who made it.
    fn control(&self, name: &str, arguments: &Value) -> anyhow::Result<Value> {
        let _ = arguments;
        bail!("this card does not know the request \"{name}\"")
    }
}

/// Writes a line of the log, which is standard error. It may be closed.
pub(crate) fn log(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Locks a mutex that is never poisoned: a panic ends a model's whole process, see
/// [`serve()`].
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

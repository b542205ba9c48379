// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A guest without QEMU, for the tests of a model: starts the model's program,
//! is its client, has memory and interrupts. Feature `testing`.
//!
//! Nothing here waits longer than [`LIMIT`] for anything.

mod guest;
mod program;

use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Result;

pub use guest::Event;
pub use guest::Guest;
pub use program::Program;

/// How long anything may take: much longer than it needs, the host may be busy.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Calls `probe` until it gives something, and passes that on.
///
/// # Errors
///
/// What `probe` fails with, or that nothing came within [`LIMIT`]; `what` says
/// what was waited for.
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("waited {LIMIT:?} for: {what}");
        }
        sleep(Duration::from_millis(1));
    }
}

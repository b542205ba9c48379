// SPDX-License-Identifier: GPL-2.0

//! userdma: zero-copy access to the DMA buffers of a PCI device.
//!
//! The way of a transfer, from the program to the card and back:
//!
//! ```text
//!  SUBMIT     file/transfer.rs  copies in, checks, names become references
//!             completion.rs     reserves a place for the record
//!             queue.rs          order within a file, fairness between files
//!             engine.rs         pieces, time limits      <- pure/split.rs
//!             hw/*.rs           registers of one kind of card
//!  interrupt  engine.rs         next piece, or the transfer has ended
//!  WAIT       completion.rs     the record, copied out
//! ```
//!
//! `read()` and `write()` enter through `file/rw.rs` and go the same way with a small buffer of
//! their own; `mmap()` through `file/mmap.rs` to `buffer.rs` and `ext/vm.rs`. Arrows point downward
//! only. The order in which everything ends at unbind is in `driver.rs`.

mod buffer;
mod card;
mod completion;
mod driver;
mod engine;
mod ext;
mod file;
mod hw;
mod limits;
mod proof;
mod pure;
mod queue;
mod service;
mod stats;
mod uapi;

use kernel::{
    pci,
    prelude::*, //
};

#[pin_data]
struct Module {
    #[pin]
    driver: kernel::driver::Registration<pci::Adapter<driver::Driver>>,
    // Behind the driver: cards have their files in it, buffers give back what they have locked.
    _debugfs: stats::Root,
    _lent: ext::lent::Queue,
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: Called once, before the driver is registered.
        unsafe { limits::init() };
        try_pin_init!(Self {
            // SAFETY: As above.
            _debugfs: unsafe { stats::Root::new() },
            // SAFETY: As above.
            _lent: unsafe { ext::lent::Queue::new()? },
            driver <- kernel::driver::Registration::new(
                <Self as kernel::ModuleMetadata>::NAME,
                module,
            ),
        })
    }
}

module! {
    type: Module,
    name: "userdma",
    authors: ["The userdma developers"],
    description: "Zero-copy access to the DMA buffers of a PCI device",
    license: "GPL v2",
    params: {
        dma_mask_bits: u32 {
            default: 0,
            description: "bits of a bus address, proved at probe (0: what the backend says)",
        },
        limit_file_mib: u64 {
            default: 0,
            description: "MiB of buffers one open file may hold (0: as limit_total_mib)",
        },
        limit_user_mib: u64 {
            default: 0,
            description: "MiB of buffers one user may hold (0: as limit_total_mib)",
        },
        limit_total_mib: u64 {
            default: 0,
            description: "MiB of buffers all may hold (0: a quarter of the memory)",
        },
        direct_min_bytes: u64 {
            default: 0,
            description: "bytes from which on read() and write() move the program's own pages (0: 65536)",
        },
        timeout_ms: u32 {
            default: 0,
            description: "longest a card may take for one descriptor in ms, at most 60000 (0: 2000)",
        },
    },
}

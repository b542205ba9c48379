// SPDX-License-Identifier: GPL-2.0

//! Counters of a card and of an open file, for debugfs and fdinfo.

use kernel::{
    debugfs,
    device,
    fmt,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// A number that only its owner's events change.
pub(crate) struct Counter(Atomic<u64>);

impl Counter {
    const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Adds `n`.
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Takes `n` away again, from a counter of what exists now.
    pub(crate) fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    /// Returns the number.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: Counter,)*
        }

        impl $name {
            /// Makes all counters 0.
            pub(crate) const fn new() -> Self {
                Self { $($field: Counter::new(),)* }
            }

            /// Calls `f` with the name and value of each counter.
            pub(crate) fn for_each(&self, mut f: impl FnMut(&str, u64)) {
                $(f(stringify!($field), self.$field.get());)*
            }

            /// Counts a request of read() or write() by the way that its bytes have gone.
            pub(crate) fn moved(&self, pinned: u64, copied: u64) {
                match pinned {
                    0 => self.copied_requests.add(1),
                    _ => self.direct_requests.add(1),
                }
                self.direct_bytes.add(pinned);
                self.copied_bytes.add(copied);
            }
        }
    };
}

counters! {
    /// What a card has done since it was bound.
    Card {
        /// Files that are open now.
        files,
        /// Buffers that exist now.
        buffers,
        /// Bytes of the buffers that exist now.
        buffer_bytes,
        /// Segments of the buffers that exist now.
        segments,
        /// Transfers that were accepted.
        submitted,
        /// Transfers that ended well.
        completed,
        /// Transfers that ended with an error.
        failed,
        /// Descriptors that the card was given.
        descriptors,
        /// Times that a channel was told of new descriptors.
        doorbells,
        /// Bytes moved to the card.
        bytes_to_card,
        /// Bytes moved from the card.
        bytes_from_card,
        /// Bytes moved from one buffer to another.
        bytes_host_to_host,
        /// Bytes that had to be copied because the card cannot reach the memory.
        bytes_bounced,
        /// Interrupts that were the card's.
        interrupts,
        /// Interrupts for which the card had nothing to tell.
        spurious_interrupts,
        /// Descriptors that ended without an interrupt.
        lost_interrupts,
        /// Descriptors that the card did not end in time.
        timeouts,
        /// Calls of read().
        reads,
        /// Calls of write().
        writes,
        /// Calls of either for which the program's own pages were moved.
        direct_requests,
        /// Calls of either whose data were copied.
        copied_requests,
        /// Bytes moved from and to the program's own pages.
        direct_bytes,
        /// Bytes copied for read() and write().
        copied_bytes,
    }
}

counters! {
    /// What an open file has done.
    File {
        /// Transfers that were accepted.
        submitted,
        /// Transfers that ended well.
        completed,
        /// Transfers that ended with an error.
        failed,
        /// Bytes moved to the card.
        bytes_to_card,
        /// Bytes moved from the card.
        bytes_from_card,
        /// Bytes moved from one buffer to another.
        bytes_host_to_host,
        /// Calls of read() and write() for which the program's own pages were moved.
        direct_requests,
        /// Calls of either whose data were copied.
        copied_requests,
        /// Bytes moved from and to the program's own pages.
        direct_bytes,
        /// Bytes copied for read() and write().
        copied_bytes,
    }
}

/// Writes the counters of a card, a line each.
pub(crate) fn show(card: &Card, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut result = Ok(());
    card.for_each(|name, value| {
        result = result.and_then(|()| writeln!(f, "{name}: {value}"));
    });
    result
}

kernel::sync::global_lock! {
    // SAFETY: `Root::new()` is called when the module is loaded, before the driver is registered.
    unsafe(uninit) static ROOT: Mutex<Option<debugfs::Dir>> = None;
}

/// The module's directory in debugfs; removed on drop.
pub(crate) struct Root(());

impl Root {
    /// Makes the directory.
    ///
    /// # Safety
    ///
    /// Must be called exactly once, before anything else here.
    pub(crate) unsafe fn new() -> Self {
        // SAFETY: As promised by the caller.
        unsafe { ROOT.init() };
        *ROOT.lock() = Some(debugfs::Dir::new(c"userdma"));
        Self(())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        *ROOT.lock() = None;
    }
}

/// The files of a card in debugfs: `userdma/<name on the bus>/stats`.
#[pin_data]
pub(crate) struct Files {
    #[pin]
    stats: debugfs::File<Arc<Card>>,
}

impl Files {
    /// Makes the files of `dev`.
    pub(crate) fn new(dev: &device::Device, card: Arc<Card>) -> Result<Pin<KBox<Self>>> {
        let dir = ROOT.lock().clone().ok_or(ENODEV)?.subdir(dev.name());
        KBox::pin_init(
            try_pin_init!(Self {
                stats <- dir.read_callback_file(c"stats", card, &|card: &Arc<Card>, f: &mut fmt::Formatter<'_>| {
                    show(card, f)
                }),
            }? Error),
            GFP_KERNEL,
        )
    }
}

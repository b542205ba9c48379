// SPDX-License-Identifier: GPL-2.0

//! Buffers: memory that a card can reach, named by handles of open files.
//!
//! *Memory* and *mapping* are different things. The [`Buffer`] is `'static` and lives as long as
//! anybody refers to it: a handle, a transfer, a VMA, each by a [`BufferRef`]. What makes the card
//! reach it, the [`Hold`], is owned by the card's [`Registry`] and dies when the last reference
//! goes, or at unbind. Coherent memory is a `Hold` itself: it dies with the mapping.
//!
//! Locks: `Registry::entries` is outermost, then `Buffer::window`. No user memory is touched under
//! either. Both may be taken with `mmap_lock` held.

mod coherent;
mod huge;
mod registry;
mod streaming;
mod user;

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Acquire,
                Full,
                Release, //
            },
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        MutexGuard, //
    }, //
};

use crate::{
    ext::{
        dma::Frames,
        folio::Memory,
        lent::Lent,
        scatter::Scatter,
        vm::{
            Backing,
            MapFile,
            Mappable, //
        }, //
    },
    limits::{
        Charge,
        Registered, //
    },
    pure::{
        split::Segment,
        users::{
            Counter,
            Users, //
        }, //
    },
    uapi, //
};

pub(crate) use self::{
    coherent::alloc as alloc_coherent,
    huge::{
        alloc as alloc_huge,
        alloc_chunk,
        Request as HugeRequest,
        HUGE_PAGE, //
    },
    registry::Registry,
    streaming::Reach,
    user::{
        register,
        User, //
    }, //
};

/// The number of a buffer's users.
struct Count(Atomic<usize>);

impl Counter for Count {
    fn increase(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn decrease(&self) -> usize {
        self.0.fetch_sub(1, Full)
    }
}

/// Whose the pages are.
enum Store {
    /// Our own; they live as long as the buffer.
    Memory(Memory),
    /// The program's, lent as long as the buffer lives; then no longer counted.
    User { lent: Lent<Option<Registered>> },
    /// Coherent memory, the DMA API's, owned by the `Hold`; here is only where to find it.
    Coherent,
}

/// Memory that a card can reach.
#[pin_data]
pub(crate) struct Buffer {
    /// Names the buffer in its registry.
    id: u64,
    /// `USERDMA_BUF_COHERENT` and the like.
    pub(crate) kind: u32,
    /// `USERDMA_BUF_BOUNCED` and the like.
    pub(crate) state: u32,
    /// Bytes.
    pub(crate) length: u64,
    /// Bytes of the smallest page.
    pub(crate) page_size: u64,
    /// Where the first page lies.
    pub(crate) node: Option<u32>,
    /// What the card sees; empty if it cannot reach the memory. Plain numbers: they mean something
    /// only while a `Hold` exists, which every transfer makes sure of by its `BufferRef`.
    segments: KVVec<Segment>,
    store: Store,
    /// Frames of coherent memory for page faults; taken away before the memory is freed.
    #[pin]
    window: Mutex<Option<Frames>>,
    map_file: Option<MapFile<Buffer>>,
    /// How many `BufferRef`s and VMAs exist. Never rises again from 0.
    users: Users<Count>,
    mappings: Atomic<u32>,
    revoked: Atomic<bool>,
    /// Its last user left where it could not be freed: the service thread does it, and of no other.
    orphan: Atomic<bool>,
    /// The card may still write to it and cannot be stopped: never to be freed.
    quarantined: Atomic<bool>,
    registry: Arc<Registry>,
    _charge: Option<Charge>,
}

impl Buffer {
    /// Returns what the card sees.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns the memory, if it is not the DMA API's.
    pub(crate) fn memory(&self) -> Option<&Scatter> {
        match &self.store {
            Store::Memory(memory) => Some(memory),
            Store::User { lent } => Some(lent),
            Store::Coherent => None,
        }
    }

    /// Returns whether a program can map it through us.
    pub(crate) fn mappable(&self) -> bool {
        self.map_file.is_some()
    }

    /// Returns whether the card may only read it.
    pub(crate) fn source_only(&self) -> bool {
        self.state & uapi::USERDMA_BUF_SOURCE != 0
    }

    /// Returns whether transfers must be copied through the driver's bounce buffer.
    pub(crate) fn bounced(&self) -> bool {
        self.state & uapi::USERDMA_BUF_BOUNCED != 0
    }

    /// Returns how many mappings exist.
    pub(crate) fn mappings(&self) -> u32 {
        self.mappings.load(Relaxed)
    }

    /// Makes sure that the memory is never freed.
    pub(crate) fn quarantine(&self) {
        self.quarantined.store(true, Release);
    }

    /// Maps the part at `vma`, whose file offsets begin at `start` for byte 0 of the buffer.
    pub(crate) fn map(this: &BufferRef, vma: &kernel::mm::virt::VmaNew, start: u64) -> Result {
        let buffer = &this.buffer;
        let file = buffer.map_file.as_ref().ok_or(ENODEV)?;
        let frames = matches!(buffer.store, Store::Coherent);
        file.attach(vma, buffer.clone(), start, frames);
        Ok(())
    }

    /// Ends all mappings: no fault that begins from now on succeeds, none that began is under way
    /// any more, and nothing is mapped. May sleep.
    fn revoke(&self) {
        self.revoked.store(true, Release);
        // A fault on coherent memory holds this lock until its entries are in.
        *self.window.lock() = None;
        if let Store::Memory(memory) = &self.store {
            memory.flush_faults();
        }
        if let Some(file) = &self.map_file {
            file.zap();
        }
    }

    /// Drops one of the users; returns whether it was the last.
    fn leave(&self) -> bool {
        self.users.leave()
    }
}

#[vtable]
impl Mappable for Buffer {
    fn backing(&self) -> Result<Backing<'_, impl Sized>> {
        if let Store::Memory(memory) = &self.store {
            return Ok(Backing::Memory(memory));
        }
        let window: MutexGuard<'_, Option<Frames>> = self.window.lock();
        let frames = (*window).ok_or(ENODEV)?;
        Ok(Backing::Frames(frames, window))
    }

    fn revoked(&self) -> bool {
        self.revoked.load(Acquire)
    }

    fn opened(&self) {
        self.users.join();
        self.mappings.fetch_add(1, Relaxed);
    }

    fn closed(&self) {
        self.mappings.fetch_sub(1, Relaxed);
        if self.leave() {
            self.registry.remove(self.id);
        }
    }
}

/// A reference that keeps a buffer alive, and reachable by the card while that is bound.
///
/// Dropping the last one frees the buffer, which may sleep. Where that is not allowed,
/// [`BufferRef::put_atomic`] leaves it to the service thread.
pub(crate) struct BufferRef {
    buffer: Arc<Buffer>,
    left: bool,
}

impl BufferRef {
    /// Drops the reference in any context. The card is bound.
    pub(crate) fn put_atomic(mut self) {
        self.left = true;
        let kick = self.buffer.registry.kick.clone();
        // The `Arc` is dropped inside, and `Registry::remove()` goes through the same lock before it
        // drops its own: so this one is not the last, whose drop would sleep.
        kick.collect_if(move || {
            let last = self.buffer.leave();
            if last {
                self.buffer.orphan.store(true, Release);
            }
            drop(self);
            last
        });
    }
}

impl Clone for BufferRef {
    fn clone(&self) -> Self {
        self.buffer.users.join();
        Self {
            buffer: self.buffer.clone(),
            left: false,
        }
    }
}

impl core::ops::Deref for BufferRef {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.buffer
    }
}

impl Drop for BufferRef {
    fn drop(&mut self) {
        if !self.left && self.buffer.leave() {
            self.buffer.registry.remove(self.buffer.id);
        }
    }
}

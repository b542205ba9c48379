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

use core::convert::Infallible;

use kernel::{
    dma::Coherent,
    new_mutex,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
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
        MutexGuard,
        UniqueArc, //
    }, //
};

use crate::{
    ext::{
        dma::Frames,
        folio::Memory,
        sg::Mapping,
        vm::{
            Backing,
            MapFile,
            Mappable, //
        }, //
    },
    limits::Charge,
    pure::split::Segment,
    service::Kick,
    stats,
    uapi, //
};

pub(crate) use self::{
    coherent::alloc as alloc_coherent,
    huge::{
        alloc as alloc_huge,
        alloc_chunk,
        Request as HugeRequest,
        HUGE_PAGE, //
    }, //
};

/// Whether the memory manager or the DMA API owns the pages.
enum Store {
    /// Pages of our own; they live as long as the buffer.
    Memory(Memory),
    /// Coherent memory, owned by the `Hold`; here is only where to find it.
    Coherent,
}

/// Memory that a card can reach.
#[pin_data]
pub(crate) struct Buffer {
    /// Names the buffer in its registry.
    id: u64,
    /// `USERDMA_BUF_COHERENT` or `USERDMA_BUF_HUGE`.
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
    users: Atomic<usize>,
    mappings: Atomic<u32>,
    revoked: Atomic<bool>,
    /// The card may still write to it and cannot be stopped: never to be freed.
    quarantined: Atomic<bool>,
    registry: Arc<Registry>,
    _charge: Charge,
}

impl Buffer {
    /// Returns what the card sees.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns the memory, if it is ours and not the DMA API's.
    pub(crate) fn memory(&self) -> Option<&Memory> {
        match &self.store {
            Store::Memory(memory) => Some(memory),
            Store::Coherent => None,
        }
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
        self.users.fetch_sub(1, Full) == 1
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
        self.users.fetch_add(1, Relaxed);
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
            drop(self);
            last
        });
    }
}

impl Clone for BufferRef {
    fn clone(&self) -> Self {
        self.buffer.users.fetch_add(1, Relaxed);
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

/// What lets the card reach a buffer. Must be dropped while the card is bound and idle.
enum Hold {
    /// Coherent memory: mapping and memory are one.
    Coherent { _memory: Coherent<[u8]> },
    /// A streaming mapping of the buffer's memory.
    Mapped { _mapping: Mapping },
    /// Nothing: transfers are copied.
    Bounced,
}

/// A buffer and what lets the card reach it, in the order in which they die.
struct Entry {
    hold: Hold,
    buffer: Arc<Buffer>,
}

struct Entries {
    tree: RBTree<u64, Entry>,
    last_id: u64,
    closed: bool,
}

/// All buffers of one card.
///
/// # Invariants
///
/// Entries exist only while the card is bound: [`Registry::close`] is called at unbind, and
/// nothing is added after that.
#[pin_data]
pub(crate) struct Registry {
    #[pin]
    entries: Mutex<Entries>,
    kick: Arc<Kick>,
    stats: Arc<stats::Card>,
}

/// A buffer that is about to be made. `hold` dies before `store`.
struct New {
    hold: Hold,
    kind: u32,
    state: u32,
    length: u64,
    page_size: u64,
    node: Option<u32>,
    segments: KVVec<Segment>,
    store: Store,
    window: Option<Frames>,
    charge: Charge,
    mappable: bool,
}

impl Registry {
    /// Makes an empty registry; `kick` is told when buffers wait to be freed.
    pub(crate) fn new(kick: Arc<Kick>, stats: Arc<stats::Card>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                entries <- new_mutex!(Entries {
                    tree: RBTree::new(),
                    last_id: 0,
                    closed: false,
                }),
                kick,
                stats,
            }),
            GFP_KERNEL,
        )
    }

    /// Adds a buffer. Its `hold` is dropped at once if that fails.
    fn add(self: &Arc<Self>, new: New) -> Result<BufferRef> {
        let map_file = match new.mappable {
            true => Some(MapFile::new(c"[userdma]", new.length)?),
            false => None,
        };
        // All that can fail comes first, so that `new.hold` dies before `new.store` if it does.
        let slot = UniqueArc::<Buffer>::new_uninit(GFP_KERNEL)?;
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let mut entries = self.entries.lock();
        if entries.closed {
            return Err(ENODEV);
        }
        let id = entries.last_id + 1;
        let (segments, window) = (new.segments, new.window);
        let Ok(buffer) = slot.pin_init_with::<Infallible>(pin_init!(Buffer {
            id,
            kind: new.kind,
            state: new.state,
            length: new.length,
            page_size: new.page_size,
            node: new.node,
            segments,
            store: new.store,
            window <- new_mutex!(window),
            map_file,
            users: Atomic::new(1),
            mappings: Atomic::new(0),
            revoked: Atomic::new(false),
            quarantined: Atomic::new(false),
            registry: self.clone(),
            _charge: new.charge,
        }));
        let buffer: Arc<Buffer> = buffer.into();
        let entry = Entry {
            hold: new.hold,
            buffer: buffer.clone(),
        };
        entries.tree.insert(node.into_node(id, entry));
        entries.last_id = id;
        drop(entries);
        self.stats.buffers.add(1);
        self.stats.buffer_bytes.add(buffer.length);
        self.stats.segments.add(buffer.segments.len() as u64);
        Ok(BufferRef {
            buffer,
            left: false,
        })
    }

    /// Takes a buffer without users away from the card. Does nothing if unbind did so before.
    fn remove(&self, id: u64) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.tree.remove(&id) else {
            return;
        };
        self.forget(&entry.buffer);
        if entry.buffer.quarantined.load(Acquire) {
            // The card may still write to it.
            core::mem::forget(entry);
            return;
        }
        // Under the lock, because unbind waits for it: the card is still bound.
        drop(entry.hold);
        drop(entries);
        // Whoever left before us in an interrupt has dropped its `Arc` when this returns.
        self.kick.pass();
        // The memory goes with the last `Arc`, when nobody is kept waiting by the lock.
    }

    fn forget(&self, buffer: &Buffer) {
        self.stats.buffers.sub(1);
        self.stats.buffer_bytes.sub(buffer.length);
        self.stats.segments.sub(buffer.segments.len() as u64);
    }

    /// Frees the buffers whose last reference was dropped where that could not be done.
    pub(crate) fn collect(&self) {
        loop {
            let unused = {
                let entries = self.entries.lock();
                let id = entries
                    .tree
                    .iter()
                    .find(|(_, entry)| entry.buffer.users.load(Acquire) == 0)
                    .map(|(id, _)| *id);
                id
            };
            match unused {
                Some(id) => self.remove(id),
                None => return,
            }
        }
    }

    /// Takes all buffers away from the card, at unbind, after it is proven idle.
    ///
    /// For each: no fault any more, zap, unmap, and drop the memory if nobody else has it. Buffers
    /// in quarantine are leaked on purpose.
    pub(crate) fn close(&self) {
        let mut entries = self.entries.lock();
        entries.closed = true;
        let tree = core::mem::replace(&mut entries.tree, RBTree::new());
        for entry in tree.values() {
            entry.buffer.revoke();
        }
        let mut tree = tree;
        while let Some(cursor) = tree.cursor_front_mut() {
            let entry = cursor.remove_current().1.to_key_value().1;
            self.forget(&entry.buffer);
            if entry.buffer.quarantined.load(Acquire) {
                core::mem::forget(entry);
            }
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The buffers of a card, and what lets the card reach them.

use core::convert::Infallible;

use kernel::{
    dma::Coherent,
    new_condvar,
    new_mutex,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        atomic::{
            ordering::Acquire,
            Atomic, //
        },
        Arc,
        CondVar,
        Mutex,
        UniqueArc, //
    }, //
};

use super::{
    Buffer,
    BufferRef,
    Count,
    Store, //
};
use crate::{
    ext::{
        dma::Frames,
        sg::Mapping,
        vm::MapFile, //
    },
    limits::Charge,
    pure::{
        split::Segment,
        users::Users, //
    },
    service::Kick,
    stats, //
};

/// What lets the card reach a buffer. Must be dropped while the card is bound and idle.
pub(super) enum Hold {
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
    /// How many are being taken away from the card right now.
    leaving: usize,
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
    /// Somebody has left.
    #[pin]
    left: CondVar,
    pub(super) kick: Arc<Kick>,
    stats: Arc<stats::Card>,
}

/// A buffer that is about to be made. `hold` dies before `store`.
pub(super) struct New {
    pub(super) hold: Hold,
    pub(super) kind: u32,
    pub(super) state: u32,
    pub(super) length: u64,
    pub(super) page_size: u64,
    pub(super) node: Option<u32>,
    pub(super) segments: KVVec<Segment>,
    pub(super) store: Store,
    pub(super) window: Option<Frames>,
    pub(super) charge: Option<Charge>,
}

/// A place for a buffer: all that adding one must allocate.
pub(super) struct Place {
    slot: UniqueArc<core::mem::MaybeUninit<Buffer>>,
    node: RBTreeNodeReservation<u64, Entry>,
    map_file: Option<MapFile<Buffer>>,
}

impl Place {
    /// Makes a place for a buffer of `length` bytes that programs can map.
    pub(super) fn mappable(length: u64) -> Result<Self> {
        Self::new(Some(MapFile::new(c"[userdma]", length)?))
    }

    /// Makes a place for a buffer that no program can map.
    pub(super) fn hidden() -> Result<Self> {
        Self::new(None)
    }

    fn new(map_file: Option<MapFile<Buffer>>) -> Result<Self> {
        Ok(Self {
            slot: UniqueArc::new_uninit(GFP_KERNEL)?,
            node: RBTreeNodeReservation::new(GFP_KERNEL)?,
            map_file,
        })
    }
}

impl Registry {
    /// Makes an empty registry; `kick` is told when buffers wait to be freed.
    pub(crate) fn new(kick: Arc<Kick>, stats: Arc<stats::Card>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                entries <- new_mutex!(Entries {
                    tree: RBTree::new(),
                    last_id: 0,
                    leaving: 0,
                    closed: false,
                }),
                left <- new_condvar!(),
                kick,
                stats,
            }),
            GFP_KERNEL,
        )
    }

    /// Adds a buffer. Fails only after unbind has begun, when nobody has the guard: `new` is dropped then.
    pub(super) fn add(self: &Arc<Self>, place: Place, new: New) -> Result<BufferRef> {
        let Place {
            slot,
            node,
            map_file,
        } = place;
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
            users: Users::new(Count(Atomic::new(1))),
            mappings: Atomic::new(0),
            revoked: Atomic::new(false),
            orphan: Atomic::new(false),
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
    pub(super) fn remove(&self, id: u64) {
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
        // Without the lock: a large one takes long, and others come here with locks of their own. Unbind
        // waits, so the card is still bound.
        entries.leaving += 1;
        drop(entries);
        drop(entry.hold);
        let mut entries = self.entries.lock();
        entries.leaving -= 1;
        if entries.closed && entries.leaving == 0 {
            self.left.notify_all();
        }
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
                    .find(|(_, entry)| entry.buffer.orphan.load(Acquire))
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
        while entries.leaving > 0 {
            self.left.wait(&mut entries);
        }
        let mut tree = core::mem::replace(&mut entries.tree, RBTree::new());
        // Whoever removes a buffer by itself has ended, or finds it gone. Memory of programs is given
        // back below, which may wait for a lock of theirs.
        drop(entries);
        for entry in tree.values() {
            entry.buffer.revoke();
        }
        while let Some(cursor) = tree.cursor_front_mut() {
            let entry = cursor.remove_current().1.to_key_value().1;
            self.forget(&entry.buffer);
            if entry.buffer.quarantined.load(Acquire) {
                core::mem::forget(entry);
            }
        }
    }
}

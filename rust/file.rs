// SPDX-License-Identifier: GPL-2.0

//! One open file: its handles, its port, its account. The entry points are in the rooms below.
//!
//! An [`OpenFile`] is `'static` and may outlive the card, which it reaches through the guard of
//! [`Device::with`] only. No user memory is touched while that is held.
//!
//! At close: what is queued is dropped, what the card works on keeps its buffer by itself; then the
//! handles go, and with each the buffer that nobody else uses.

mod buffers;
mod ioctl;
mod mmap;
mod rw;
mod submit;
mod transfer;
mod uring;

use kernel::{
    fs::File,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    mm::virt::VmaNew,
    new_mutex,
    pci::IrqType,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    seq_file::SeqFile,
    seq_print,
    sync::{
        poll::PollTable,
        Arc,
        Mutex, //
    }, //
};

use crate::{
    buffer::BufferRef,
    card::Card,
    completion::Port,
    ext::{
        chardev::{
            Device,
            Operations,
            Position, //
        },
        system,
        uring::{
            Id,
            Request, //
        }, //
    },
    limits::Account,
    pure::handles::{
        self,
        Window, //
    },
    uapi, //
};

/// Buffers that one open file may hold.
pub(crate) const MAX_BUFFERS: u32 = 1024;

/// Where offsets for `mmap` are taken from.
const COOKIES: Window = Window {
    start: uapi::USERDMA_MMAP_BUFFERS,
    end: uapi::USERDMA_MMAP_END,
    align: 2 << 20,
};

/// What open files reach while the card is bound.
pub(crate) struct Bound<'a> {
    pub(crate) card: &'a Card<'a>,
    pub(crate) number: u32,
    pub(crate) vectors: u32,
    pub(crate) interrupt: IrqType,
}

/// What a handle names.
struct Entry {
    buffer: BufferRef,
    /// Where `mmap` finds it, or 0 if it cannot be mapped.
    cookie: u64,
    /// Not yet told to the program: nobody may use it.
    published: bool,
}

struct Handles {
    tree: RBTree<u32, Entry>,
    count: u32,
    last: u32,
    last_cookie: u64,
}

/// The state of an open file.
#[pin_data]
pub(crate) struct OpenFile {
    port: Arc<Port>,
    lanes: KVec<usize>,
    /// Taken with `mmap_lock` held: no user memory is touched under it.
    #[pin]
    handles: Mutex<Handles>,
    account: Arc<Account>,
    /// The buffer of read() and write(), for whoever holds the port's direct place.
    #[pin]
    chunk: Mutex<Option<BufferRef>>,
    card_size: u64,
    /// Of positions and lengths of read() and write(); a power of two.
    alignment: u64,
    /// The card moves from one buffer to another.
    host_to_host: bool,
    readable: bool,
    writable: bool,
}

impl OpenFile {
    /// Adds a buffer; nobody can use it until [`OpenFile::publish`]. Returns its handle and cookie.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`], [`ENOMEM`].
    fn insert(&self, buffer: BufferRef) -> Result<(u32, u64)> {
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let mut handles = self.handles.lock();
        let (handle, cookie) = handles.choose(&buffer).ok_or(ENOSPC)?;
        handles.last = handle;
        if cookie != 0 {
            handles.last_cookie = cookie + buffer.length;
        }
        handles.count += 1;
        let entry = Entry {
            buffer,
            cookie,
            published: false,
        };
        handles.tree.insert(node.into_node(handle, entry));
        Ok((handle, cookie))
    }

    /// Lets a handle be used, after the program was told of it.
    fn publish(&self, handle: u32) {
        if let Some(entry) = self.handles.lock().tree.get_mut(&handle) {
            entry.published = true;
        }
    }

    /// Takes a handle away. Only a published one, unless `unpublished`.
    fn remove(&self, handle: u32, unpublished: bool) -> Result {
        let mut handles = self.handles.lock();
        let entry = match handles.tree.get(&handle) {
            Some(entry) if entry.published || unpublished => handles.tree.remove(&handle),
            _ => None,
        };
        let entry = entry.ok_or(ENOENT)?;
        handles.count -= 1;
        drop(handles);
        // Frees the buffer, perhaps, when nobody is kept waiting by the lock.
        drop(entry);
        Ok(())
    }

    /// Calls `f` with what `handle` names.
    fn with_buffer<R>(&self, handle: u32, f: impl FnOnce(&BufferRef, u64) -> R) -> Result<R> {
        let handles = self.handles.lock();
        match handles.tree.get(&handle) {
            Some(entry) if entry.published => Ok(f(&entry.buffer, entry.cookie)),
            _ => Err(ENOENT),
        }
    }
}

impl Handles {
    /// Chooses a handle and a cookie for a buffer.
    fn choose(&self, buffer: &BufferRef) -> Option<(u32, u64)> {
        if self.count >= MAX_BUFFERS {
            return None;
        }
        let handle = handles::next(self.last, |handle| self.tree.get(&handle).is_some())?;
        if !buffer.mappable() {
            return Some((handle, 0));
        }
        let cookie = COOKIES.place(self.last_cookie, buffer.length, |start, end| {
            self.tree
                .values()
                .filter(|entry| entry.cookie != 0)
                .map(|entry| (entry.cookie, entry.cookie + entry.buffer.length))
                .find(|&(from, to)| from < end && start < to)
                .map(|(_, to)| to)
        })?;
        Some((handle, cookie))
    }
}

#[vtable]
impl Operations for OpenFile {
    type RegistrationData<'a> = Bound<'a>;

    fn open<'a>(bound: &'a Bound<'a>, file: &File) -> impl PinInit<Self, Error> {
        let (readable, writable) = system::access(file);
        let uid = system::opener(file);
        pin_init::pin_init_scope(move || {
            let port = Arc::pin_init(Port::new(), GFP_KERNEL)?;
            let account = Arc::new(Account::new(uid), GFP_KERNEL)?;
            let lanes = bound.card.engine.attach(&port)?;
            bound.card.stats.files.add(1);
            Ok(try_pin_init!(Self {
                port,
                lanes,
                handles <- new_mutex!(Handles {
                    tree: RBTree::new(),
                    count: 0,
                    last: 0,
                    last_cookie: COOKIES.start,
                }),
                account,
                chunk <- new_mutex!(None),
                card_size: bound.card.engine.hw.memory(),
                alignment: bound.card.engine.hw.traits().alignment,
                host_to_host: bound.card.host_to_host(),
                readable,
                writable,
            }? Error))
        })
    }

    fn release(this: Pin<&Self>, dev: &Device<Self>) {
        // At unbind the engine lets go of all lanes by itself.
        for (channel, index) in this.lanes.iter().enumerate() {
            let queued = dev.with(|bound| Ok(bound.card.engine.detach(channel, *index)));
            drop(queued);
        }
        let _ = dev.with(|bound| {
            bound.card.stats.files.sub(1);
            Ok(())
        });
    }

    fn ioctl(
        this: Pin<&Self>,
        dev: &Device<Self>,
        file: &File,
        cmd: u32,
        arg: usize,
    ) -> Result<isize> {
        this.get_ref().dispatch(dev, file, cmd, arg)
    }

    fn read(
        this: Pin<&Self>,
        dev: &Device<Self>,
        at: &Position,
        to: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        this.get_ref().read_card(dev, at, to)
    }

    fn write(
        this: Pin<&Self>,
        dev: &Device<Self>,
        at: &Position,
        from: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        this.get_ref().write_card(dev, at, from)
    }

    fn size(this: Pin<&Self>) -> u64 {
        this.card_size
    }

    fn mmap(this: Pin<&Self>, _dev: &Device<Self>, _file: &File, vma: &VmaNew) -> Result {
        this.get_ref().map(vma)
    }

    fn poll(this: Pin<&Self>, dev: &Device<Self>, file: &File, table: PollTable<'_>) -> u32 {
        let (record, room) = this.port.poll(file, table);
        let mut events = 0;
        if record {
            events |= system::EPOLLIN | system::EPOLLRDNORM;
        }
        if dev.gone() {
            events |= system::EPOLLHUP | system::EPOLLERR;
        } else if room {
            events |= system::EPOLLOUT | system::EPOLLWRNORM;
        }
        events
    }

    fn uring(this: Pin<&Self>, dev: &Device<Self>, request: Request) -> Result<u32> {
        this.get_ref().uring_command(dev, request)
    }

    fn uring_submitted(_this: Pin<&Self>, dev: &Device<Self>) {
        // Unbind ends what the card was not told of.
        let _ = dev.with(|bound| {
            bound.card.engine.tell();
            Ok(())
        });
    }

    fn uring_cancel(this: Pin<&Self>, dev: &Device<Self>, command: Id) {
        this.get_ref().uring_withdraw(dev, command);
    }

    fn show_fdinfo(this: Pin<&Self>, dev: &Device<Self>, m: &SeqFile) {
        let handles = this.handles.lock();
        let (mut bytes, mut pinned, mut segments) = (0u64, 0u64, 0u64);
        for entry in handles.tree.values() {
            bytes += entry.buffer.length;
            if entry.buffer.kind == uapi::USERDMA_BUF_USER {
                pinned += entry.buffer.length;
            }
            segments += entry.buffer.segments().len() as u64;
        }
        let count = handles.count;
        drop(handles);
        seq_print!(m, "userdma-gone:\t{}\n", u32::from(dev.gone()));
        seq_print!(m, "userdma-buffers:\t{count}\n");
        seq_print!(m, "userdma-bytes:\t{bytes}\n");
        seq_print!(m, "userdma-registered:\t{pinned}\n");
        seq_print!(m, "userdma-segments:\t{segments}\n");
        this.port
            .stats
            .for_each(|name, value| seq_print!(m, "userdma-{name}:\t{value}\n"));
        let _ = dev.with(|bound| {
            let interrupts = bound.card.stats.interrupts.get();
            seq_print!(m, "userdma-interrupts:\t{interrupts}\n");
            Ok(())
        });
    }
}

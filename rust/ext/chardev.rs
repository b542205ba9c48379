// SPDX-License-Identifier: GPL-2.0

//! Character devices whose open files may outlive the bus device.
//!
//! C headers: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h)

mod vtable;

use core::{
    cell::UnsafeCell,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    device,
    error::to_result,
    fs::File,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    mm::virt::VmaNew,
    new_srcu,
    prelude::*,
    seq_file::SeqFile,
    str::CString,
    sync::{
        atomic::{
            ordering::{
                Acquire,
                Full,
                Release, //
            },
            Atomic, //
        },
        poll::PollTable,
        Arc,
        Srcu, //
    },
    types::Opaque, //
};

use self::vtable::VTable;
use super::uring::{
    Id,
    Request, //
};

/// Where a read or write is, and how it may wait.
pub(crate) struct Position {
    /// Byte position in the file; never negative.
    pub(crate) offset: u64,
    /// Whether the call must not sleep for room in a queue.
    pub(crate) nonblock: bool,
}

/// Operations of an open file.
///
/// The implementing type is the state of one open file. It is `'static`, hence cannot borrow from
/// the bound device; what does is reached through [`Device::with`] and its guard. No operation is
/// called with the guard held but [`Operations::open`].
#[vtable]
pub(crate) trait Operations: Sized + Send + Sync + 'static {
    /// Data that lives exactly as long as the [`Registration`].
    type RegistrationData<'a>: Send + Sync + 'a
    where
        Self: 'a;

    /// Called when the node is opened, with the guard held.
    fn open<'a>(data: &'a Self::RegistrationData<'a>, file: &File) -> impl PinInit<Self, Error>;

    /// Called when the last reference to the file is gone, before it is dropped.
    fn release(this: Pin<&Self>, dev: &Device<Self>);

    /// Called for each ioctl.
    fn ioctl(
        this: Pin<&Self>,
        dev: &Device<Self>,
        file: &File,
        cmd: u32,
        arg: usize,
    ) -> Result<isize>;

    /// Called for `read(2)` and its relatives; returns how many bytes were read.
    fn read(
        this: Pin<&Self>,
        dev: &Device<Self>,
        at: &Position,
        to: &mut IovIterDest<'_>,
    ) -> Result<usize>;

    /// Called for `write(2)` and its relatives; returns how many bytes were written.
    fn write(
        this: Pin<&Self>,
        dev: &Device<Self>,
        at: &Position,
        from: &mut IovIterSource<'_>,
    ) -> Result<usize>;

    /// Returns the end of file, for `lseek(2)`.
    fn size(this: Pin<&Self>) -> u64;

    /// Called for `mmap(2)`, with `mmap_lock` held.
    fn mmap(this: Pin<&Self>, dev: &Device<Self>, file: &File, vma: &VmaNew) -> Result;

    /// Called for `poll(2)`, also after the device is gone; returns `EPOLL*`.
    fn poll(this: Pin<&Self>, dev: &Device<Self>, file: &File, table: PollTable<'_>) -> u32;

    /// Called for a command of io_uring's; returns its result, or [`EIOCBQUEUED`] if it goes on.
    fn uring(this: Pin<&Self>, dev: &Device<Self>, request: Request) -> Result<u32>;

    /// Called at the end of a batch of commands, one of which has asked for it. Must not sleep.
    fn uring_submitted(this: Pin<&Self>, dev: &Device<Self>);

    /// Called for a command that has begun and is wanted back. May do nothing: it is waited for.
    fn uring_cancel(this: Pin<&Self>, dev: &Device<Self>, command: Id);

    /// Called for `/proc/PID/fdinfo/N`.
    fn show_fdinfo(this: Pin<&Self>, dev: &Device<Self>, m: &SeqFile);
}

/// The reference-counted part of a character device.
///
/// # Invariants
///
/// `data` is valid until `gone` is set, and after that for all SRCU readers that saw it unset.
#[repr(C)]
#[pin_data]
pub(crate) struct Device<T: Operations> {
    #[pin]
    misc: Opaque<bindings::miscdevice>,
    #[pin]
    srcu: Srcu,
    gone: Atomic<bool>,
    data: UnsafeCell<NonNull<T::RegistrationData<'static>>>,
    name: CString,
}

// SAFETY: `data` is only written before registration; all other fields are thread safe.
unsafe impl<T: Operations> Send for Device<T> {}
// SAFETY: See above.
unsafe impl<T: Operations> Sync for Device<T> {}

impl<T: Operations> Device<T> {
    /// Runs `f` with the registration data, or returns [`ENODEV`] if the device is gone.
    ///
    /// Unbind waits for `f`. It may sleep, but only for what ends by itself: it must not touch user
    /// memory, pin pages, take `mmap_lock` or wait for a completion.
    pub(crate) fn with<R>(
        &self,
        f: impl for<'a> FnOnce(&'a T::RegistrationData<'a>) -> Result<R>,
    ) -> Result<R> {
        let _guard = self.srcu.read_lock();

        if self.gone.load(Acquire) {
            return Err(ENODEV);
        }

        // SAFETY: We are in an SRCU read-side critical section that saw `gone` unset, hence `data`
        // is valid by the type invariants. Lifetimes do not affect layout, and the higher-ranked
        // closure cannot leak the shortened lifetime.
        f(unsafe {
            (*self.data.get())
                .cast::<T::RegistrationData<'_>>()
                .as_ref()
        })
    }

    /// Returns whether the device is gone.
    pub(crate) fn gone(&self) -> bool {
        self.gone.load(Acquire)
    }
}

/// A registered character device.
pub(crate) struct Registration<'a, T: Operations> {
    dev: Arc<Device<T>>,
    closed: Atomic<bool>,
    _data: Pin<KBox<T::RegistrationData<'a>>>,
}

impl<'a, T: Operations> Registration<'a, T> {
    /// Registers `/dev/<name>`, mode 0600, below `parent` in sysfs.
    ///
    /// # Safety
    ///
    /// Callers must not `mem::forget()` the returned [`Registration`] or otherwise prevent its
    /// [`Drop`] implementation from running.
    pub(crate) unsafe fn new(
        parent: &'a device::Device<device::Bound>,
        name: CString,
        data: impl PinInit<T::RegistrationData<'a>, Error>,
    ) -> Result<Self> {
        let data: Pin<KBox<T::RegistrationData<'a>>> = KBox::pin_init(data, GFP_KERNEL)?;
        let ptr: NonNull<T::RegistrationData<'static>> =
            NonNull::from(Pin::get_ref(data.as_ref())).cast();
        let name_ptr = name.as_char_ptr();

        let dev = Arc::pin_init(
            try_pin_init!(Device::<T> {
                misc <- Opaque::ffi_init(|slot: *mut bindings::miscdevice| {
                    let mut misc: bindings::miscdevice = pin_init::zeroed();
                    misc.minor = bindings::MISC_DYNAMIC_MINOR as c_int;
                    // `name` owns the text on the heap and lives in the same object.
                    misc.name = name_ptr;
                    misc.fops = &VTable::<T>::VTABLE;
                    misc.parent = core::ptr::from_ref(parent).cast_mut().cast();
                    misc.mode = 0o600;
                    // SAFETY: `slot` is valid for writes.
                    unsafe { slot.write(misc) };
                }),
                srcu <- new_srcu!(),
                gone: Atomic::new(false),
                data: UnsafeCell::new(ptr),
                name,
            }? Error),
            GFP_KERNEL,
        )?;

        // SAFETY: `misc` is initialized and pinned inside `dev`.
        to_result(unsafe { bindings::misc_register(dev.misc.get()) })?;

        Ok(Self {
            dev,
            closed: Atomic::new(false),
            _data: data,
        })
    }
}

impl<T: Operations> Registration<'_, T> {
    /// Takes the node away. When this returns, every call on an open file gives [`ENODEV`], and none
    /// that began before uses the registration data. May sleep. Calling it again does nothing.
    pub(crate) fn close(&self) {
        if self.closed.xchg(true, Full) {
            return;
        }
        // SAFETY: `misc` was registered in `new()`, and is deregistered once.
        unsafe { bindings::misc_deregister(self.dev.misc.get()) };

        self.dev.gone.store(true, Release);
        // Readers are short by contract; a slow grace period would only slow unbind down.
        self.dev.srcu.synchronize_expedited();
    }
}

impl<T: Operations> Drop for Registration<'_, T> {
    fn drop(&mut self) {
        self.close();
        // `_data` is dropped after this returns; no callback can reach it any more.
    }
}

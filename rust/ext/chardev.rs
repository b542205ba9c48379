// SPDX-License-Identifier: GPL-2.0

//! Character devices whose open files may outlive the bus device.
//!
//! C headers: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h)

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    device,
    error::{
        from_result,
        to_result, //
    },
    fs::File,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    mm::virt::VmaNew,
    module::this_module,
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
        ArcBorrow,
        Srcu, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
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

/// Private data of an open file.
#[pin_data]
struct FileCtx<T: Operations> {
    dev: Arc<Device<T>>,
    #[pin]
    inner: T,
}

impl<T: Operations> FileCtx<T> {
    fn inner(self: Pin<&Self>) -> Pin<&T> {
        // SAFETY: `inner` is structurally pinned.
        unsafe { self.map_unchecked(|this| &this.inner) }
    }
}

/// Static vtable mapping [`Operations`] to `struct file_operations`.
struct VTable<T: Operations>(PhantomData<T>);

impl<T: Operations> VTable<T> {
    const VTABLE: bindings::file_operations = bindings::file_operations {
        owner: this_module::<T::OwnerModule>().as_ptr(),
        open: Some(Self::open_callback),
        release: Some(Self::release_callback),
        llseek: Some(Self::llseek_callback),
        read_iter: Some(Self::read_callback),
        write_iter: Some(Self::write_callback),
        unlocked_ioctl: Some(Self::ioctl_callback),
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: bindings::compat_ptr_ioctl,
        poll: Some(Self::poll_callback),
        mmap: Some(Self::mmap_callback),
        get_unmapped_area: Self::GET_UNMAPPED_AREA,
        show_fdinfo: Some(Self::show_fdinfo_callback),
        ..pin_init::zeroed()
    };

    /// Chooses addresses at which huge page-table entries fit.
    #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
    const GET_UNMAPPED_AREA: Option<
        unsafe extern "C" fn(*mut bindings::file, usize, usize, usize, usize) -> usize,
    > = Some(bindings::thp_get_unmapped_area);
    #[cfg(not(CONFIG_TRANSPARENT_HUGEPAGE))]
    const GET_UNMAPPED_AREA: Option<
        unsafe extern "C" fn(*mut bindings::file, usize, usize, usize, usize) -> usize,
    > = None;

    /// # Safety
    ///
    /// `file` must be a file of this vtable that has been opened and not yet been released.
    unsafe fn ctx<'a>(file: *mut bindings::file) -> Pin<&'a FileCtx<T>> {
        // SAFETY: `open_callback()` stored a `Pin<KBox<FileCtx<T>>>`.
        unsafe { Pin::<KBox<FileCtx<T>>>::borrow((*file).private_data) }
    }

    /// # Safety
    ///
    /// Only called by the misc subsystem.
    unsafe extern "C" fn open_callback(
        _inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> c_int {
        const_assert!(
            core::mem::offset_of!(Device<T>, misc) == 0,
            "struct miscdevice must be at offset 0"
        );

        // SAFETY: `misc_open()` stores the `struct miscdevice` in `private_data`; `misc_mtx` keeps
        // it registered for the duration of this call. `misc` is the first field of the `repr(C)`
        // struct `Device`, which is always embedded in an `Arc`.
        let dev = unsafe { ArcBorrow::from_raw((*file).private_data.cast::<Device<T>>()) };
        let dev = Arc::from(dev);

        let file_dev = dev.clone();
        let ctx = dev.with(|data| {
            KBox::try_pin_init(
                try_pin_init!(FileCtx::<T> {
                    // SAFETY: `file` is being opened by this thread.
                    inner <- T::open(data, unsafe { File::from_raw_file(file) }),
                    dev: file_dev,
                }? Error),
                GFP_KERNEL,
            )
        });

        from_result(|| {
            // SAFETY: `file` is being opened, we own `private_data`.
            unsafe { (*file).private_data = ctx?.into_foreign() };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called by the VFS.
    unsafe extern "C" fn release_callback(
        _inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> c_int {
        // SAFETY: The last reference to `file` is gone, take back ownership.
        let ctx = unsafe { Pin::<KBox<FileCtx<T>>>::from_foreign((*file).private_data) };
        let pinned = ctx.as_ref();
        T::release(pinned.inner(), &pinned.get_ref().dev);
        0
    }

    /// # Safety
    ///
    /// Only called by the VFS.
    unsafe extern "C" fn llseek_callback(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        // SAFETY: `file` is open.
        let ctx = unsafe { Self::ctx(file) };
        from_result(|| {
            if ctx.dev.gone() {
                return Err(ENODEV);
            }
            let size = bindings::loff_t::try_from(T::size(ctx.inner()))?;
            // SAFETY: `file` is open.
            Ok(unsafe { bindings::fixed_size_llseek(file, offset, whence, size) })
        })
    }

    /// # Safety
    ///
    /// `iocb` must be valid.
    unsafe fn position(iocb: *mut bindings::kiocb) -> Result<Position> {
        // SAFETY: `iocb` is valid and so is its file.
        let (offset, flags) = unsafe { ((*iocb).ki_pos, (*(*iocb).ki_filp).f_flags) };
        Ok(Position {
            offset: u64::try_from(offset)?,
            // IOCB_NOWAIT never comes here: the file does not have FMODE_NOWAIT.
            nonblock: flags & bindings::O_NONBLOCK != 0,
        })
    }

    /// # Safety
    ///
    /// Only called by the VFS.
    unsafe extern "C" fn read_callback(
        iocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: `iocb` is valid and its file is open.
        let ctx = unsafe { Self::ctx((*iocb).ki_filp) };
        from_result(|| {
            if ctx.dev.gone() {
                return Err(ENODEV);
            }
            // SAFETY: `iocb` is valid.
            let at = unsafe { Self::position(iocb)? };
            // SAFETY: The VFS passes an iterator to read into, for this call.
            let to = unsafe { IovIterDest::from_raw(iter) };
            let bytes = T::read(ctx.inner(), &ctx.get_ref().dev, &at, to)?;
            // SAFETY: `iocb` is ours for this call. `bytes` is at most the iterator's count.
            unsafe { (*iocb).ki_pos += bytes as bindings::loff_t };
            Ok(bytes as isize)
        })
    }

    /// # Safety
    ///
    /// Only called by the VFS.
    unsafe extern "C" fn write_callback(
        iocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: `iocb` is valid and its file is open.
        let ctx = unsafe { Self::ctx((*iocb).ki_filp) };
        from_result(|| {
            if ctx.dev.gone() {
                return Err(ENODEV);
            }
            // SAFETY: `iocb` is valid.
            let at = unsafe { Self::position(iocb)? };
            // SAFETY: The VFS passes an iterator to write from, for this call.
            let from = unsafe { IovIterSource::from_raw(iter) };
            let bytes = T::write(ctx.inner(), &ctx.get_ref().dev, &at, from)?;
            // SAFETY: `iocb` is ours for this call. `bytes` is at most the iterator's count.
            unsafe { (*iocb).ki_pos += bytes as bindings::loff_t };
            Ok(bytes as isize)
        })
    }

    /// # Safety
    ///
    /// Only called by the VFS.
    unsafe extern "C" fn ioctl_callback(
        file: *mut bindings::file,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_long {
        // SAFETY: `file` is open.
        let ctx = unsafe { Self::ctx(file) };
        from_result(|| {
            T::ioctl(
                ctx.inner(),
                &ctx.get_ref().dev,
                // SAFETY: `file` is open and this is not an fdget_pos region.
                unsafe { File::from_raw_file(file) },
                cmd,
                arg,
            )
            .map(|ret| ret as c_long)
        })
    }

    /// # Safety
    ///
    /// Only called by the VFS.
    unsafe extern "C" fn poll_callback(
        file: *mut bindings::file,
        wait: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: `file` is open.
        let ctx = unsafe { Self::ctx(file) };
        // SAFETY: The VFS provides a valid file.
        let file = unsafe { File::from_raw_file(file) };
        // SAFETY: The VFS provides a valid poll table.
        let table = unsafe { PollTable::from_raw(wait) };
        T::poll(ctx.inner(), &ctx.get_ref().dev, file, table)
    }

    /// # Safety
    ///
    /// Only called by the memory manager.
    unsafe extern "C" fn mmap_callback(
        file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> c_int {
        // SAFETY: `file` is open.
        let ctx = unsafe { Self::ctx(file) };
        from_result(|| {
            if ctx.dev.gone() {
                return Err(ENODEV);
            }
            // SAFETY: The VMA is being set up for the duration of this call.
            let vma = unsafe { VmaNew::from_raw(vma) };
            // SAFETY: `file` is open.
            let file = unsafe { File::from_raw_file(file) };
            T::mmap(ctx.inner(), &ctx.get_ref().dev, file, vma)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called by procfs.
    unsafe extern "C" fn show_fdinfo_callback(
        m: *mut bindings::seq_file,
        file: *mut bindings::file,
    ) {
        // SAFETY: `file` is open.
        let ctx = unsafe { Self::ctx(file) };
        // SAFETY: `m` is ours for this call.
        let m = unsafe { SeqFile::from_raw(m) };
        T::show_fdinfo(ctx.inner(), &ctx.get_ref().dev, m);
    }
}

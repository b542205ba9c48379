// SPDX-License-Identifier: GPL-2.0

//! `struct file_operations` of [`Operations`]: converts pointers, calls one method, maps the errno.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::from_result,
    fs::File,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    mm::virt::VmaNew,
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    sync::{
        poll::PollTable,
        Arc,
        ArcBorrow, //
    },
    types::ForeignOwnable, //
};

use super::{
    super::uring::Request,
    Device,
    Operations,
    Position, //
};

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
pub(super) struct VTable<T: Operations>(PhantomData<T>);

impl<T: Operations> VTable<T> {
    pub(super) const VTABLE: bindings::file_operations = bindings::file_operations {
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
        uring_cmd: Some(Self::uring_callback),
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
    /// Only called by io_uring.
    unsafe extern "C" fn uring_callback(cmd: *mut bindings::io_uring_cmd, flags: c_uint) -> c_int {
        from_result(|| {
            let cmd = NonNull::new(cmd).ok_or(EINVAL)?;
            // SAFETY: Passed by io_uring for this call.
            let request = unsafe { Request::new(cmd, flags, Self::submitted_callback) };
            // SAFETY: The file is open.
            let ctx = unsafe { Self::ctx(request.file()) };
            if let Some(command) = request.cancels() {
                T::uring_cancel(ctx.inner(), &ctx.get_ref().dev, command);
                return Ok(0);
            }
            let result = T::uring(ctx.inner(), &ctx.get_ref().dev, request)?;
            c_int::try_from(result).map_err(Into::into)
        })
    }

    /// # Safety
    ///
    /// `file` must be open, and one of these.
    unsafe extern "C" fn submitted_callback(file: *mut bindings::file) {
        // SAFETY: Promised by the caller.
        let ctx = unsafe { Self::ctx(file) };
        T::uring_submitted(ctx.inner(), &ctx.get_ref().dev);
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

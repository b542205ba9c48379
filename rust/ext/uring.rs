// SPDX-License-Identifier: GPL-2.0

//! Commands of io_uring.
//!
//! C header: [`include/linux/io_uring/cmd.h`](srctree/include/linux/io_uring/cmd.h)

use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::to_result,
    prelude::*, //
};

use super::{
    pin::Pinned,
    shim,
    uaccess, //
};

/// Names a command that has begun.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(NonNull<bindings::io_uring_cmd>);

// SAFETY: Only compared.
unsafe impl Send for Id {}
// SAFETY: As above.
unsafe impl Sync for Id {}

/// A command that is being issued, for the time of one call.
pub(crate) struct Request {
    cmd: NonNull<bindings::io_uring_cmd>,
    flags: c_uint,
    look: shim::UringLook,
    /// Called for its file at the end of a batch.
    submitted: unsafe extern "C" fn(*mut bindings::file),
}

impl Request {
    /// # Safety
    ///
    /// `cmd` must be what io_uring passes to a file's `uring_cmd`, with `flags`, and the call must not have
    /// returned as long as this exists. `submitted` must be right for the command's file as long as that is open.
    pub(super) unsafe fn new(
        cmd: NonNull<bindings::io_uring_cmd>,
        flags: c_uint,
        submitted: unsafe extern "C" fn(*mut bindings::file),
    ) -> Self {
        let mut look = MaybeUninit::uninit();
        // SAFETY: Valid for this call, which fills all of `look`.
        let look = unsafe {
            shim::userdma_uring_look(cmd.as_ptr(), flags, look.as_mut_ptr());
            look.assume_init()
        };
        Self {
            cmd,
            flags,
            look,
            submitted,
        }
    }

    /// The command that io_uring wants back: its ring ends. `None` for a new one.
    pub(super) fn cancels(&self) -> Option<Id> {
        self.look.cancels.then_some(Id(self.cmd))
    }

    /// Returns the file that it is for, which is open.
    pub(super) fn file(&self) -> *mut bindings::file {
        self.look.file
    }

    /// Returns which command it is.
    pub(crate) fn op(&self) -> u32 {
        self.look.op
    }

    /// Returns whether the call must not sleep. It may say [`EAGAIN`] then, and is called again where it may.
    pub(crate) fn nonblock(&self) -> bool {
        self.look.nonblock
    }

    /// Returns whether the program wants an error where it would have to wait.
    pub(crate) fn file_nonblock(&self) -> bool {
        // SAFETY: The file is open for the time of this call.
        let flags = unsafe { (*self.file()).f_flags };
        flags & bindings::O_NONBLOCK != 0
    }

    /// Reads what the program wrote behind the fields that are io_uring's: 80 bytes at most.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the ring's entries are too small, or what is behind a `T` is not zero.
    pub(crate) fn payload<T: FromBytes>(&self) -> Result<T> {
        let mut words = MaybeUninit::<[u64; 10]>::uninit();
        let to = words.as_mut_ptr().cast();
        // SAFETY: Valid for this call; there are 10 words at `to`.
        if !unsafe { shim::userdma_uring_payload(self.cmd.as_ptr(), self.flags, to) } {
            return Err(EINVAL);
        }
        // SAFETY: All of them were written.
        let words = unsafe { words.assume_init() };
        let (value, _) = T::read_from_prefix(words.as_bytes()).map_err(|_| EINVAL)?;
        let behind = words.get(uaccess::words::<T>()..).ok_or(EINVAL)?;
        match behind.iter().all(|word| *word == 0) {
            true => Ok(value),
            false => Err(EINVAL),
        }
    }

    /// Returns whether it names memory that is registered with its ring.
    pub(crate) fn fixed(&self) -> bool {
        self.look.fixed
    }

    /// Returns the memory at `address` that is registered with the ring, to be written to or only read. The ring
    /// keeps it until the command completes. May sleep.
    ///
    /// # Errors
    ///
    /// [`EFAULT`] if it does not name any, or that does not hold all of it; [`EINVAL`], [`ENOMEM`].
    pub(crate) fn memory(&self, address: u64, length: u64, write: bool) -> Result<Pinned> {
        if !self.fixed() {
            return Err(EFAULT);
        }
        let length = usize::try_from(length).map_err(|_| EFAULT)?;
        let mut iter = bindings::iov_iter::default();
        // SAFETY: Valid for this call, and names memory of its ring.
        to_result(unsafe {
            shim::userdma_uring_import(
                self.cmd.as_ptr(),
                self.flags,
                address,
                length,
                write,
                &mut iter,
            )
        })?;
        // SAFETY: It is over `bio_vec`s of the ring's memory, which the command keeps.
        unsafe { Pinned::fixed(&mut iter) }
    }

    /// Returns whether more commands may come in the same batch, and the file will be told of its end.
    pub(crate) fn put_off(&self) -> bool {
        // SAFETY: Valid for this call. The file stays open until it has been told, by what is right for it.
        unsafe { shim::userdma_uring_put_off(self.cmd.as_ptr(), self.submitted) }
    }

    /// Lets the command go on behind this call, which must then return [`EIOCBQUEUED`]. `kept` is dropped just
    /// before it completes, where sleeping is allowed.
    pub(crate) fn begin<T: Send + 'static>(self, kept: Option<KBox<T>>) -> Command {
        let kept = kept.map_or(core::ptr::null_mut(), KBox::into_raw).cast();
        // SAFETY: Valid for this call, and begun once: `self` is gone. `release` gets what it was made for.
        unsafe {
            shim::userdma_uring_begin(self.cmd.as_ptr(), self.flags, kept, release::<T>);
        }
        Command(self.cmd)
    }
}

/// Drops what a command has kept.
///
/// # Safety
///
/// `kept` must be a `KBox<T>` that was made a pointer, and nobody's any more.
unsafe extern "C" fn release<T>(kept: *mut c_void) {
    // SAFETY: Promised by the caller.
    drop(unsafe { KBox::<T>::from_raw(kept.cast()) });
}

/// A command that has begun and has not completed. It keeps its file open. Completes with [`ECANCELED`] if
/// it is dropped.
///
/// # Invariants
///
/// io_uring keeps it until it has completed, which it has not.
pub(crate) struct Command(NonNull<bindings::io_uring_cmd>);

// SAFETY: May be completed by whoever has it, in any context.
unsafe impl Send for Command {}
// SAFETY: Shared references only compare.
unsafe impl Sync for Command {}

impl Command {
    /// Completes it, from any context.
    pub(crate) fn complete(self, result: i32, bytes: u64) {
        self.end(result, bytes);
        core::mem::forget(self);
    }

    fn end(&self, result: i32, bytes: u64) {
        // SAFETY: By the type invariant; both callers let go of it.
        unsafe { shim::userdma_uring_complete(self.0.as_ptr(), result, bytes) };
    }

    /// Returns its name.
    pub(crate) fn id(&self) -> Id {
        Id(self.0)
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        self.end(ECANCELED.to_errno(), 0);
    }
}

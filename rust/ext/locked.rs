// SPDX-License-Identifier: GPL-2.0

//! Locked memory: what counts against a process's RLIMIT_MEMLOCK (VmLck in its status).
//!
//! C header: [`include/linux/mm.h`](srctree/include/linux/mm.h)

use kernel::{
    bindings,
    current,
    error::to_result,
    mm::{
        Mm,
        MmWithUser, //
    },
    page::PAGE_SHIFT,
    prelude::*,
    sync::aref::ARef,
    task::Task, //
};

use super::shim;

/// Returns the caller's RLIMIT_MEMLOCK in pages; `None` if it has CAP_IPC_LOCK.
pub(crate) fn limit() -> Option<usize> {
    // SAFETY: Asks about the caller.
    let unlimited = unsafe { bindings::capable(bindings::CAP_IPC_LOCK as c_int) };
    // CAST: Both are words.
    // SAFETY: As above.
    (!unlimited).then(|| unsafe { shim::userdma_memlock_limit() } as usize >> PAGE_SHIFT)
}

/// Locked pages of a process; given back to the same address space on drop, if that is still there.
///
/// Whoever drops it holds no lock, and may have to wait for one of that process.
pub(crate) struct Locked {
    mm: ARef<Mm>,
    pages: usize,
}

impl Locked {
    /// Counts `pages` against the caller's RLIMIT_MEMLOCK, unless it has none, see [`limit`]. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if the limit would be passed; [`EINTR`] when a fatal signal comes.
    pub(crate) fn charge(pages: usize, limit: Option<usize>) -> Result<Self> {
        let task = current!();
        let mm: &Mm = task.mm().ok_or(EFAULT)?;
        // SAFETY: The caller's own address space.
        to_result(unsafe { shim::userdma_mmap_write_lock_killable(mm.as_raw()) })?;
        // SAFETY: It is locked, and the task is the caller.
        let result = to_result(unsafe {
            bindings::__account_locked_vm(
                mm.as_raw(),
                pages as c_ulong,
                true,
                Task::current_raw(),
                limit.is_none(),
            )
        });
        // SAFETY: Locked above.
        unsafe { shim::userdma_mmap_write_unlock(mm.as_raw()) };
        result?;
        Ok(Self {
            mm: ARef::from(mm),
            pages,
        })
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Nothing is owed to a process that has ended or is another program now.
        let Some(mm) = self.mm.mmget_not_zero() else {
            return;
        };
        // If the process ends meanwhile, taking its memory apart is not our business.
        let mm = MmWithUser::into_mmput_async(mm);
        // SAFETY: The address space is there, and the caller has not locked it.
        unsafe { shim::userdma_mmap_write_lock(mm.as_raw()) };
        // SAFETY: It is locked. The task is only printed when the count falls.
        unsafe {
            bindings::__account_locked_vm(
                mm.as_raw(),
                self.pages as c_ulong,
                false,
                Task::current_raw(),
                true,
            )
        };
        // SAFETY: Locked above.
        unsafe { shim::userdma_mmap_write_unlock(mm.as_raw()) };
    }
}

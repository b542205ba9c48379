// SPDX-License-Identifier: GPL-2.0

//! Locked memory: what counts against a process's RLIMIT_MEMLOCK (VmLck in its status).
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h),
//! [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    current,
    error::to_result,
    impl_has_work,
    mm::{
        Mm,
        MmWithUser, //
    },
    new_work,
    page::PAGE_SHIFT,
    prelude::*,
    sync::aref::ARef,
    task::Task,
    workqueue::{
        self,
        Work,
        WorkItem, //
    }, //
};

use super::shim;

kernel::sync::global_lock! {
    // SAFETY: `Queue::new()` is called when the module is loaded, before anything else here.
    unsafe(uninit) static QUEUE: Mutex<Option<Raw>> = None;
}

/// The kernel's work queue.
#[derive(Clone, Copy)]
struct Raw(NonNull<bindings::workqueue_struct>);

// SAFETY: A work queue belongs to no thread.
unsafe impl Send for Raw {}

/// Where locked memory is given back that could not be at once; waits for its end on drop.
pub(crate) struct Queue(());

impl Queue {
    /// Makes the queue.
    ///
    /// # Safety
    ///
    /// Must be called exactly once, before anything else here.
    pub(crate) unsafe fn new() -> Result<Self> {
        // SAFETY: As promised by the caller.
        unsafe { QUEUE.init() };
        // Unbound: one that sleeps, for the lock of its process, keeps no other waiting.
        // SAFETY: The format takes no arguments.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(
                c"userdma".as_char_ptr(),
                bindings::wq_flags_WQ_UNBOUND,
                0,
            )
        };
        *QUEUE.lock() = Some(Raw(NonNull::new(queue).ok_or(ENOMEM)?));
        Ok(Self(()))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let queue = QUEUE.lock().take();
        if let Some(Raw(queue)) = queue {
            // SAFETY: Made in `new()`. Nobody adds to it any more: no file and no card is left.
            unsafe { bindings::destroy_workqueue(queue.as_ptr()) };
        }
    }
}

/// What has to be given back, and to whom.
#[pin_data]
struct Debt {
    mm: ARef<Mm>,
    pages: usize,
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for Debt { self.work }
}

impl WorkItem for Debt {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Pin<KBox<Self>>) {
        this.settle();
    }
}

impl Debt {
    /// Gives it back, unless the process has ended or is another program now. May sleep.
    fn settle(&self) {
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
/// Whoever drops it holds no lock.
pub(crate) struct Locked(Option<Pin<KBox<Debt>>>);

impl Locked {
    /// Counts `pages` against the caller's RLIMIT_MEMLOCK, unless it has none, see [`limit`]. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if the limit would be passed; [`EINTR`] when a fatal signal comes.
    pub(crate) fn charge(pages: usize, limit: Option<usize>) -> Result<Self> {
        let task = current!();
        let mm: &Mm = task.mm().ok_or(EFAULT)?;
        let debt = KBox::pin_init(
            pin_init!(Debt {
                mm: ARef::from(mm),
                pages,
                work <- new_work!("userdma::Debt::work"),
            }),
            GFP_KERNEL,
        )?;
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
        result.map(|()| Self(Some(debt)))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let Some(debt) = self.0.take() else {
            return;
        };
        let own = current!()
            .mm()
            .is_some_and(|own| own.as_raw() == debt.mm.as_raw());
        if own {
            // A process may wait for its own lock, and finds the count right afterwards.
            debt.settle();
        } else if let Some(Raw(queue)) = *QUEUE.lock() {
            // Somebody else's lock may be held for long.
            // SAFETY: The queue lives until the module is unloaded.
            let queue = unsafe { workqueue::Queue::from_raw(queue.as_ptr()) };
            queue.enqueue(debt);
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Memory that a program has lent: pinned, and counted as locked. It goes back in the program's own calls at
//! once; else from a work queue, since it may have to wait for locks that the program can hold for long.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::{
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    current,
    impl_has_work,
    mm::Mm,
    new_work,
    prelude::*,
    sync::aref::ARef,
    workqueue::{
        self,
        Work,
        WorkItem, //
    }, //
};

use super::{
    locked::Locked,
    pin::Pinned, //
};

kernel::sync::global_lock! {
    // SAFETY: `Queue::new()` is called when the module is loaded, before anything else here.
    unsafe(uninit) static QUEUE: Mutex<Option<Raw>> = None;
}

/// The kernel's work queue.
#[derive(Clone, Copy)]
struct Raw(NonNull<bindings::workqueue_struct>);

// SAFETY: A work queue belongs to no thread.
unsafe impl Send for Raw {}

/// Where memory is given back that could not be at once; waits for its end on drop.
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
        // Unbound: one that sleeps, for the lock of its process, keeps no other waiting, but for a
        // thousand. What is given back may be what memory is waited for.
        // SAFETY: The format takes no arguments.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(
                c"userdma".as_char_ptr(),
                bindings::wq_flags_WQ_UNBOUND | bindings::wq_flags_WQ_MEM_RECLAIM,
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

/// What goes back, in the order in which it does, and to whom; `T` with it.
#[pin_data]
struct Loan<T> {
    pinned: Pinned,
    _locked: Option<Locked>,
    _with: T,
    mm: ARef<Mm>,
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl{T} HasWork<Self> for Loan<T> { self.work }
}

impl<T: Send + 'static> WorkItem for Loan<T> {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Pin<KBox<Self>>) {
        drop(this);
    }
}

/// Pinned memory of a program, what of it counts as locked, and a `T` that goes last; given back on drop.
///
/// Whoever drops it holds no lock. Only the program itself is kept waiting.
pub(crate) struct Lent<T: Send + 'static>(ManuallyDrop<Pin<KBox<Loan<T>>>>);

impl<T: Send + 'static> Lent<T> {
    /// Takes over memory of the caller's program.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; it has been given back then.
    pub(crate) fn new(pinned: Pinned, locked: Option<Locked>, with: T) -> Result<Self> {
        let task = current!();
        let mm: &Mm = task.mm().ok_or(EFAULT)?;
        let loan = KBox::pin_init(
            pin_init!(Loan {
                pinned,
                _locked: locked,
                _with: with,
                mm: ARef::from(mm),
                work <- new_work!("userdma::Loan::work"),
            }),
            GFP_KERNEL,
        )?;
        Ok(Self(ManuallyDrop::new(loan)))
    }
}

impl<T: Send + 'static> Deref for Lent<T> {
    type Target = Pinned;

    fn deref(&self) -> &Pinned {
        &self.0.pinned
    }
}

impl<T: Send + 'static> Drop for Lent<T> {
    fn drop(&mut self) {
        // SAFETY: Taken once, here.
        let loan = unsafe { ManuallyDrop::take(&mut self.0) };
        let own = current!()
            .mm()
            .is_some_and(|own| own.as_raw() == loan.mm.as_raw());
        if own {
            // A process may wait for its own locks, and finds the counts right afterwards.
            drop(loan);
        } else if let Some(Raw(queue)) = *QUEUE.lock() {
            // SAFETY: The queue lives until the module is unloaded.
            let queue = unsafe { workqueue::Queue::from_raw(queue.as_ptr()) };
            queue.enqueue(loan);
        }
    }
}

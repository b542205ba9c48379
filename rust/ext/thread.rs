// SPDX-License-Identifier: GPL-2.0

//! A kernel thread that may borrow, because it ends before what it borrows.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*, //
};

/// What a thread does.
pub(crate) trait Body: Send + Sync {
    /// Runs in the thread. Returns soon after [`Body::stop`] was called.
    fn run(&self);

    /// Tells [`Body::run`] to return, and wakes it up.
    fn stop(&self);
}

/// A running thread; dropping it stops the thread and waits for its end.
///
/// # Invariants
///
/// `task` runs `body` and has not been stopped.
pub(crate) struct Thread<'a, T: Body> {
    task: NonNull<bindings::task_struct>,
    body: Pin<KBox<T>>,
    _borrow: PhantomData<&'a ()>,
}

// SAFETY: A thread may be stopped from any other.
unsafe impl<T: Body> Send for Thread<'_, T> {}
// SAFETY: Shared references give nothing away.
unsafe impl<T: Body> Sync for Thread<'_, T> {}

impl<'a, T: Body + 'a> Thread<'a, T> {
    /// Starts a thread named `name-N`, where N is `number`.
    ///
    /// # Safety
    ///
    /// Callers must not `mem::forget()` the returned [`Thread`] or otherwise prevent its [`Drop`]
    /// implementation from running.
    pub(crate) unsafe fn new(
        name: &'static CStr,
        number: u32,
        body: impl PinInit<T, Error>,
    ) -> Result<Self> {
        let body = KBox::pin_init(body, GFP_KERNEL)?;
        let data: *const T = &*body;
        // SAFETY: `body` is pinned and lives until `drop()` has waited for the thread. The format
        // takes one string and one unsigned number.
        let task = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(Self::main_callback),
                data.cast_mut().cast(),
                bindings::NUMA_NO_NODE,
                c"%s-%u".as_char_ptr(),
                name.as_char_ptr(),
                number,
            )
        })?;
        // SAFETY: The thread was just created. From here on it runs, so that `kthread_stop()` does
        // not end it before it began.
        unsafe { bindings::wake_up_process(task) };
        Ok(Self {
            // INVARIANT: The thread runs `body`.
            // SAFETY: Not an error, hence not null.
            task: unsafe { NonNull::new_unchecked(task) },
            body,
            _borrow: PhantomData,
        })
    }

    /// # Safety
    ///
    /// Only called by kthread, with what [`Thread::new`] passed.
    unsafe extern "C" fn main_callback(data: *mut c_void) -> c_int {
        // SAFETY: `new()` passed a `T` that lives until the thread has ended.
        let body = unsafe { &*data.cast_const().cast::<T>() };
        body.run();
        // A thread that returns before it is told to must wait for `kthread_stop()`, else the
        // pointer that it is given dangles.
        // SAFETY: Called from the thread itself.
        while !unsafe { bindings::kthread_should_stop() } {
            // SAFETY: As above; woken by `kthread_stop()`.
            unsafe { bindings::schedule_timeout_interruptible(1) };
        }
        0
    }
}

impl<T: Body> Drop for Thread<'_, T> {
    fn drop(&mut self) {
        self.body.stop();
        // SAFETY: By the type invariants the thread has not been stopped before.
        unsafe { bindings::kthread_stop(self.task.as_ptr()) };
    }
}

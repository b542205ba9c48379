// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a queue, its futures and its thread share.
//!
//! Transfers are handed over by whoever asks for them, completions are taken by a thread of
//! the queue's, which sleeps until there is one and wakes the tasks. A task that
//! is polled takes what is there by itself.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Waker;
use std::thread;
use std::time::Duration;

use rustix::event::EventfdFlags;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::io::Errno;

use super::Completion;
use super::Ring;
use crate::Device;
use crate::Error;
use crate::Result;
use crate::Transfer;

/// Names of transfers: different in all queues of the process, and far from those that
/// programs give, because CANCEL goes by them.
static NEXT: AtomicU64 = AtomicU64::new(1 << 63);

/// Between two tries to hand over what the kernel had no memory for.
const AGAIN: Duration = Duration::from_millis(10);

/// What clones and futures share. Ends the thread when it is dropped.
pub(super) struct Owner {
    shared: Arc<Shared>,
}

/// What the thread has, too.
struct Shared {
    state: Mutex<State>,
    device: Device,
    /// Of the ring: can be read when a completion is there.
    ring: OwnedFd,
    /// An eventfd that calls the thread.
    call: OwnedFd,
}

struct State {
    ring: Ring,
    tasks: HashMap<u64, Task>,
    /// What the ring had no room for.
    backlog: VecDeque<(u64, Transfer)>,
    /// The kernel did not take what was put down.
    unsent: bool,
    over: bool,
}

/// What is known of a transfer whose future is there, or was dropped.
enum Task {
    Running(Option<Waker>),
    Ended(Completion),
    Dropped,
}

impl Owner {
    /// Takes a ring, and starts the thread.
    pub(super) fn new(ring: Ring) -> Result<Self> {
        let file = rustix::io::fcntl_dupfd_cloexec(&ring, 0)
            .map_err(|errno| Error::system("duplicate the file of a ring", errno))?;
        let call = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::system("make an eventfd", errno))?;
        let shared = Arc::new(Shared {
            device: ring.device().clone(),
            state: Mutex::new(State {
                ring,
                tasks: HashMap::new(),
                backlog: VecDeque::new(),
                unsent: false,
                over: false,
            }),
            ring: file,
            call,
        });
        let theirs = Arc::clone(&shared);
        thread::Builder::new()
            .name("userdma-queue".to_owned())
            .spawn(move || theirs.serve())
            .map_err(|error| {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
                Error::system("start the thread of a queue", errno)
            })?;
        Ok(Self { shared })
    }

    pub(super) fn device(&self) -> &Device {
        &self.shared.device
    }

    /// Hands transfers over, and gives their names.
    pub(super) fn begin(&self, transfers: &[Transfer]) -> Range<u64> {
        let count = u64::try_from(transfers.len()).unwrap_or(u64::MAX);
        let first = NEXT.fetch_add(count, Ordering::Relaxed);
        let mut state = self.state();
        for (id, transfer) in (first..).zip(transfers) {
            state.tasks.insert(id, Task::Running(None));
            state.backlog.push_back((id, transfer.user_data(id)));
        }
        self.shared.hand_over(state);
        first..first + count
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Gives how a transfer has ended, or remembers whom to wake.
    pub(super) fn poll(&self, id: u64, waker: &Waker) -> Option<Completion> {
        let mut state = self.state();
        let woken = state.take();
        let ended = match state.tasks.get_mut(&id) {
            Some(Task::Running(known)) => {
                match known {
                    Some(known) => known.clone_from(waker),
                    None => *known = Some(waker.clone()),
                }
                None
            }
            _ => match state.tasks.remove(&id) {
                Some(Task::Ended(completion)) => Some(completion),
                _ => None,
            },
        };
        self.shared.hand_over(state);
        wake(woken);
        ended
    }

    /// Withdraws a transfer, if that can still be.
    pub(super) fn cancel(&self, id: u64, channel: u16) {
        let mut state = self.state();
        if state.tasks.contains_key(&id) {
            state.withdraw(id, channel);
        }
        self.shared.hand_over(state);
    }

    /// Nobody awaits a transfer any more.
    pub(super) fn forget(&self, id: u64, channel: u16) {
        let mut state = self.state();
        let queued = state.backlog.len();
        state.backlog.retain(|(other, _)| *other != id);
        match state.tasks.remove(&id) {
            Some(Task::Running(_)) if state.backlog.len() == queued => {
                state.tasks.insert(id, Task::Dropped);
                state.withdraw(id, channel);
            }
            _ => {}
        }
        self.shared.hand_over(state);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.state().over = true;
        self.shared.call();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in it is left half done by a panic: wakers are called outside.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the thread.
    fn call(&self) {
        // If it cannot be written it is full, and the thread is called already.
        let _ = rustix::io::write(&self.call, &1u64.to_ne_bytes());
    }

    /// Gives the kernel what there is room for; lets go of the state.
    fn hand_over(&self, mut state: MutexGuard<'_, State>) {
        let before = state.unsent;
        state.send();
        let unsent = state.unsent && !before;
        drop(state);
        if unsent {
            self.call();
        }
    }

    /// The thread: sleeps until a completion is there, and wakes whose it is.
    fn serve(&self) {
        loop {
            let mut state = self.state();
            if state.over {
                return;
            }
            let woken = state.take();
            state.send();
            let again = state.unsent;
            drop(state);
            wake(woken);
            let limit = again.then(|| Timespec::try_from(AGAIN).ok()).flatten();
            let mut fds = [
                PollFd::new(&self.ring, PollFlags::IN),
                PollFd::new(&self.call, PollFlags::IN),
            ];
            // A signal, or no memory to sleep with: it looks again.
            if rustix::event::poll(&mut fds, limit.as_ref()).is_ok() {
                let _ = rustix::io::read(self.call.as_fd(), &mut [0; 8]);
            }
        }
    }
}

impl State {
    /// Takes what has ended, and gives whom to wake.
    fn take(&mut self) -> Vec<Waker> {
        let mut woken = Vec::new();
        self.ring.reap();
        while let Some(completion) = self.ring.taken() {
            let id = completion.user_data();
            match self.tasks.get_mut(&id) {
                Some(task @ Task::Running(_)) => {
                    let before = std::mem::replace(task, Task::Ended(completion));
                    if let Task::Running(Some(waker)) = before {
                        woken.push(waker);
                    }
                }
                // Its future is gone.
                Some(Task::Dropped) => {
                    self.tasks.remove(&id);
                }
                Some(Task::Ended(_)) | None => {}
            }
        }
        woken
    }

    /// Puts down what there is room for, and hands it over.
    fn send(&mut self) {
        while self.ring.room() > 0 {
            let Some((_, transfer)) = self.backlog.front() else {
                break;
            };
            if self.ring.push(transfer).is_err() {
                break;
            }
            self.backlog.pop_front();
        }
        self.unsent = loop {
            match self.ring.submit() {
                Err(error) if error.errno() == Some(Errno::INTR) => {}
                result => break result.is_err(),
            }
        };
    }

    fn withdraw(&mut self, id: u64, channel: u16) {
        // If it cannot be put down the transfer runs on, which is right as well.
        let _ = self.ring.cancel(channel, id);
    }
}

/// Without the lock: a waker may run the task at once.
fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}

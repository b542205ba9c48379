// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `users`, used as `rust/buffer.rs` and `rust/buffer/registry.rs` use it, by
//! threads in every order that matters, and with every value that the memory
//! model lets them see: loom goes through them all.
//!
//! A buffer has users and an entry in a table. The last user takes the entry out
//! and frees the memory; one that may not sleep marks it and asks a service thread
//! to do it, which frees whatever is marked. Unbind takes out all that is left. So:
//! memory is freed once, after the last use of it, and is not forgotten; and a
//! thread that may not sleep never drops the last reference to the buffer.

use loom::cell::UnsafeCell;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use loom::sync::atomic::{AtomicBool, AtomicUsize};
use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::pure::users::{Counter, Users};

/// With the module's orders; its `Full` is more than `AcqRel`.
struct Count(AtomicUsize);

impl Counter for Count {
    fn increase(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn decrease(&self) -> usize {
        self.0.fetch_sub(1, AcqRel)
    }
}

loom::thread_local! {
    /// Whether this thread may not sleep.
    static ATOMIC: std::cell::Cell<bool> = std::cell::Cell::new(false);
}

struct Buffer {
    users: Users<Count>,
    orphan: AtomicBool,
    /// Whether the memory was freed. loom fails if two threads get at it without
    /// an order between them.
    freed: UnsafeCell<bool>,
    card: Arc<Card>,
}

impl Buffer {
    fn touch(&self) {
        self.freed.with(|freed| {
            // SAFETY: loom checks that nobody writes to it meanwhile.
            let freed = unsafe { *freed };
            assert!(!freed, "used after it was freed");
        });
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        assert!(!ATOMIC.with(std::cell::Cell::get), "this would sleep");
    }
}

/// What all buffers of a card share; the table has room for one.
struct Card {
    table: Mutex<Option<Arc<Buffer>>>,
    kick: Mutex<bool>,
}

impl Card {
    /// As `Registry::add`.
    fn add(this: &Arc<Self>) -> User {
        let buffer = Arc::new(Buffer {
            users: Users::new(Count(AtomicUsize::new(1))),
            orphan: AtomicBool::new(false),
            freed: UnsafeCell::new(false),
            card: this.clone(),
        });
        *this.table.lock().expect("no thread has failed") = Some(buffer.clone());
        User(Some(buffer))
    }

    fn new() -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::new(None),
            kick: Mutex::new(false),
        })
    }

    /// As `Registry::remove`.
    fn remove(&self) {
        let mut table = self.table.lock().expect("no thread has failed");
        let Some(buffer) = table.take() else { return };
        free(&buffer);
        drop(table);
        // As `Kick::pass`.
        drop(self.kick.lock());
    }

    /// As the service thread, once. Returns whether it found something to free.
    fn serve(&self) -> bool {
        let mut found = false;
        let collect = std::mem::take(&mut *self.kick.lock().expect("no thread has failed"));
        if !collect {
            return found;
        }
        loop {
            let table = self.table.lock().expect("no thread has failed");
            let orphan = table
                .as_ref()
                .is_some_and(|buffer| buffer.orphan.load(Acquire));
            drop(table);
            if !orphan {
                break;
            }
            found = true;
            self.remove();
        }
        found
    }

    /// As `Registry::close`.
    fn close(&self) {
        let left = self.table.lock().expect("no thread has failed").take();
        if let Some(buffer) = left {
            free(&buffer);
        }
    }

    fn is_empty(&self) -> bool {
        self.table.lock().expect("no thread has failed").is_none()
    }
}

fn free(buffer: &Buffer) {
    buffer.freed.with_mut(|freed| {
        // SAFETY: loom checks that nobody else has it.
        let freed = unsafe { &mut *freed };
        assert!(!*freed, "freed twice");
        *freed = true;
    });
}

/// As `BufferRef`.
struct User(Option<Arc<Buffer>>);

impl User {
    fn buffer(&self) -> &Arc<Buffer> {
        self.0.as_ref().expect("it has not left")
    }

    fn touch(&self) {
        self.buffer().touch();
    }

    /// As `BufferRef::put_atomic`.
    fn put_atomic(mut self) {
        let buffer = self.0.take().expect("it has not left");
        let card = buffer.card.clone();
        ATOMIC.with(|atomic| atomic.set(true));
        let mut collect = card.kick.lock().expect("no thread has failed");
        let last = buffer.users.leave();
        if last {
            buffer.orphan.store(true, Release);
        }
        drop(buffer);
        *collect |= last;
        drop(collect);
        ATOMIC.with(|atomic| atomic.set(false));
    }
}

impl Clone for User {
    fn clone(&self) -> Self {
        self.buffer().users.join();
        Self(self.0.clone())
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let Some(buffer) = self.0.take() else { return };
        if buffer.users.leave() {
            buffer.card.remove();
        }
    }
}

/// Goes through the runs of `threads`, which start with a user each, and of
/// `main`: all of two threads; of three those in which the scheduler takes the
/// processor away from a thread at most three times. In the end nothing is left.
fn model<const N: usize>(threads: [fn(User); N], main: fn(&Card)) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = (N > 2).then_some(3);
    builder.check(move || {
        let card = Card::new();
        let first = Card::add(&card);
        let users: Vec<User> = (1..N).map(|_| first.clone()).collect();
        let users = std::iter::once(first).chain(users);
        let running: Vec<_> = users
            .zip(threads)
            .map(|(user, thread)| thread::spawn(move || thread(user)))
            .collect();
        main(&card);
        for thread in running {
            thread.join().expect("it does not fail");
        }
        // Whoever asked for the service thread is served.
        card.serve();
        assert!(card.is_empty(), "it was forgotten");
    });
}

fn use_and_drop(user: User) {
    user.touch();
    drop(user);
}

fn use_and_put(user: User) {
    user.touch();
    user.put_atomic();
}

fn bring_another(user: User) {
    let other = user.clone();
    drop(user);
    use_and_drop(other);
}

#[test]
fn the_last_of_two_frees() {
    model([use_and_drop, use_and_drop], |_| {});
}

#[test]
fn a_user_brings_another() {
    model([bring_another, use_and_drop], |_| {});
}

#[test]
fn who_may_not_sleep_leaves_it_to_the_service() {
    model([use_and_put, use_and_put], |card| _ = card.serve());
}

#[test]
fn a_drop_and_the_service_do_not_free_twice() {
    model([use_and_drop, use_and_put], |card| _ = card.serve());
}

/// The service looks at all buffers, also when it is asked because of another:
/// what its last user is about to free it leaves to that.
#[test]
fn the_service_frees_only_what_it_was_left() {
    model([use_and_drop, use_and_drop], |card| {
        *card.kick.lock().expect("no thread has failed") = true;
        assert!(!card.serve(), "it was not asked for this one");
    });
}

#[test]
fn three_users_of_all_kinds() {
    model([use_and_drop, use_and_put, bring_another], |_| {});
}

/// At unbind nothing is in flight any more: users that are left are handles,
/// which do not look at what the card had.
#[test]
fn unbind_and_the_last_handle_do_not_free_twice() {
    model([drop::<User>, drop::<User>], Card::close);
}

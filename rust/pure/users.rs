// SPDX-License-Identifier: GPL-2.0

//! How many users something has that several threads share: who may free it.
//!
//! The count says only who was last. What is freed is taken out of a table under the table's lock, by
//! whoever finds it there first: the last user, or a collector that the last user has left it to.

/// A number that several threads change.
pub(crate) trait Counter {
    /// Adds 1. Orders nothing.
    fn increase(&self);

    /// Subtracts 1, and returns what it was before. What came before it in this thread is seen by
    /// whoever decreases the number later.
    fn decrease(&self) -> usize;
}

/// The users of something.
///
/// # Invariants
///
/// Never rises again from 0: only a user brings in another one.
pub(crate) struct Users<C>(C);

impl<C: Counter> Users<C> {
    /// Begins with one user; `one` is a counter that is 1.
    pub(crate) const fn new(one: C) -> Self {
        Self(one)
    }

    /// Called by a user, for another one.
    pub(crate) fn join(&self) {
        self.0.increase();
    }

    /// Called by a user, which is none any more. Returns whether it was the last.
    pub(crate) fn leave(&self) -> bool {
        self.0.decrease() == 1
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Transfers that are passed on together.

use core::mem::ManuallyDrop;

use kernel::prelude::*;

use super::Transfer;
use crate::pure::ring::fill;

/// Transfers on top of each other. Never allocates.
#[derive(Default)]
pub(crate) struct Pile {
    /// Dropped by [`Drop`], and not a second time: that would be a call, mostly for nothing.
    top: ManuallyDrop<Option<KBox<Transfer>>>,
    count: usize,
}

impl Pile {
    /// Returns how many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Puts one on top.
    pub(crate) fn push(&mut self, mut transfer: KBox<Transfer>) {
        if let Some(top) = self.top.take() {
            fill(&mut transfer.below, top);
        }
        fill(&mut self.top, transfer);
        self.count += 1;
    }

    /// Takes the one on top.
    pub(crate) fn pop(&mut self) -> Option<KBox<Transfer>> {
        let mut top = self.top.take()?;
        if let Some(below) = top.below.take() {
            fill(&mut self.top, below);
        }
        self.count -= 1;
        Some(top)
    }

    /// Looks at all, from the top down.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Transfer> {
        core::iter::successors(self.top.as_deref(), |transfer| transfer.below.as_deref())
    }

    /// Puts all of `other` on top, in their order.
    pub(crate) fn append(&mut self, mut other: Self) {
        if let Some(top) = self.top.take() {
            let mut end = &mut *other.top;
            while let Some(transfer) = end {
                end = &mut transfer.below;
            }
            fill(end, top);
        }
        if let Some(top) = other.top.take() {
            fill(&mut self.top, top);
        }
        self.count += core::mem::take(&mut other.count);
    }
}

impl Drop for Pile {
    // One by one: a chain of boxes would be dropped by as deep a recursion.
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

// SPDX-License-Identifier: GPL-2.0

//! A double-ended queue of fixed capacity in storage that the caller brings.

use core::{
    mem,
    ops::DerefMut, //
};

/// Fills a place that is empty. (To assign would call the function that drops what was there.)
pub(crate) fn fill<T>(place: &mut Option<T>, value: T) {
    if place.is_none() {
        mem::forget(mem::replace(place, Some(value)));
    } else {
        *place = Some(value);
    }
}

/// A queue that never allocates: its capacity is the length of the storage.
///
/// # Invariants
///
/// The `length` slots from `head` on, modulo the capacity, are `Some`; all others are `None`.
pub(crate) struct Ring<S> {
    slots: S,
    head: usize,
    length: usize,
}

impl<T, S: DerefMut<Target = [Option<T>]>> Ring<S> {
    /// Makes an empty queue of `slots`, which must all be `None`.
    pub(crate) fn new(slots: S) -> Self {
        Self {
            slots,
            head: 0,
            length: 0,
        }
    }

    /// Returns whether nothing is queued.
    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Returns how many are queued.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Returns whether there is no room.
    pub(crate) fn is_full(&self) -> bool {
        self.length == self.slots.len()
    }

    /// Returns the slot that is `at` behind the first, `at` being at most the capacity.
    fn index(&self, at: usize) -> usize {
        let (index, capacity) = (self.head + at, self.slots.len());
        // To divide takes long.
        if index < capacity {
            index
        } else {
            index - capacity
        }
    }

    /// Returns the first element.
    pub(crate) fn front(&self) -> Option<&T> {
        self.slots.get(self.head)?.as_ref()
    }

    /// Returns the first element.
    pub(crate) fn front_mut(&mut self) -> Option<&mut T> {
        self.slots.get_mut(self.head)?.as_mut()
    }

    /// Returns the last element.
    pub(crate) fn back(&self) -> Option<&T> {
        let last = self.length.checked_sub(1)?;
        self.slots.get(self.index(last))?.as_ref()
    }

    /// Calls for each element, from the first to the last.
    pub(crate) fn iter_mut<'a>(&'a mut self) -> impl Iterator<Item = &'a mut T>
    where
        T: 'a,
    {
        let head = self.head.min(self.slots.len());
        let (behind, before) = self.slots.split_at_mut(head);
        // What is not queued is `None`, wherever it is.
        before.iter_mut().chain(behind).flatten()
    }

    /// Appends `value`, or gives it back if the queue is full.
    pub(crate) fn push_back(&mut self, value: T) -> Result<(), T> {
        if self.is_full() {
            return Err(value);
        }
        let index = self.index(self.length);
        match self.slots.get_mut(index) {
            Some(slot) => fill(slot, value),
            None => return Err(value),
        }
        self.length += 1;
        Ok(())
    }

    /// Puts `value` before all others, or gives it back if the queue is full.
    pub(crate) fn push_front(&mut self, value: T) -> Result<(), T> {
        if self.is_full() {
            return Err(value);
        }
        let index = self.index(self.slots.len() - 1);
        match self.slots.get_mut(index) {
            Some(slot) => fill(slot, value),
            None => return Err(value),
        }
        self.head = index;
        self.length += 1;
        Ok(())
    }

    /// Takes the first element.
    pub(crate) fn pop_front(&mut self) -> Option<T> {
        if self.length == 0 {
            return None;
        }
        let value = self.slots.get_mut(self.head)?.take();
        self.head = self.index(1);
        self.length -= 1;
        value
    }

    /// Takes the first element, counted from the front, that `wanted` accepts.
    ///
    /// The others keep their order.
    pub(crate) fn remove_first(&mut self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        let at = (0..self.length).find(|i| {
            self.slots
                .get(self.index(*i))
                .and_then(Option::as_ref)
                .is_some_and(&wanted)
        })?;
        let mut gap = self.index(at);
        let value = self.slots.get_mut(gap)?.take();
        for i in at + 1..self.length {
            let index = self.index(i);
            let next = self.slots.get_mut(index)?.take();
            *self.slots.get_mut(gap)? = next;
            gap = index;
        }
        self.length -= 1;
        value
    }
}

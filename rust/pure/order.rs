// SPDX-License-Identifier: GPL-2.0

//! Which of several things under way began first, whatever the order in which they end.

/// The place of a thing that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    slot: usize,
    number: u64,
}

/// Up to `N` things under way, numbered in the order in which they began.
///
/// # Invariants
///
/// The first `unused` elements of `free` are the slots whose `live` is 0, each once.
pub(crate) struct Order<const N: usize> {
    /// Numbers, from 1 on; 0 in a free slot.
    live: [u64; N],
    free: [usize; N],
    unused: usize,
    last: u64,
}

impl<const N: usize> Order<N> {
    /// Begins with nothing under way.
    pub(crate) fn new() -> Self {
        let mut free = [0; N];
        for (slot, place) in free.iter_mut().enumerate() {
            *place = slot;
        }
        Self {
            live: [0; N],
            free,
            unused: N,
            last: 0,
        }
    }

    /// Called when a thing begins, behind all others. `None` if there are `N`.
    pub(crate) fn begin(&mut self) -> Option<Ticket> {
        let unused = self.unused.checked_sub(1)?;
        let slot = *self.free.get(unused)?;
        self.last += 1;
        *self.live.get_mut(slot)? = self.last;
        self.unused = unused;
        Some(Ticket {
            slot,
            number: self.last,
        })
    }

    /// Called when it ends. Does nothing the second time.
    pub(crate) fn end(&mut self, ticket: Ticket) {
        match self.live.get_mut(ticket.slot) {
            Some(live) if *live == ticket.number => *live = 0,
            _ => return,
        }
        if let Some(place) = self.free.get_mut(self.unused) {
            *place = ticket.slot;
            self.unused += 1;
        }
    }

    /// Returns whether all that began before it have ended.
    pub(crate) fn is_first(&self, ticket: Ticket) -> bool {
        self.live
            .iter()
            .all(|&number| number == 0 || number >= ticket.number)
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Fair sharing of a channel between open files, by bytes: start-time fair queueing.
//!
//! Each file has a virtual time that grows with the bytes it was given. The file furthest behind
//! goes next. A file that was idle catches up with the channel's virtual time first: it gains
//! nothing by having waited, and loses nothing.

/// The virtual time, in bytes, of a channel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock(u64);

/// The virtual time, in bytes, of one file on a channel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share(u64);

impl Clock {
    /// Begins at 0.
    pub(crate) const fn new() -> Self {
        Self(0)
    }

    /// Called when a file that had nothing queued gets its first transfer.
    pub(crate) fn wake(&self, share: &mut Share) {
        share.0 = share.0.max(self.0);
    }

    /// Charges a file for the transfer that it begins now.
    pub(crate) fn charge(&mut self, share: &mut Share, bytes: u64) {
        self.0 = self.0.max(share.0);
        share.0 = share.0.saturating_add(bytes);
    }
}

/// Returns which of the files that have something queued goes next.
///
/// Among equals the first behind `last`, the one that went before, is taken.
pub(crate) fn pick(waiting: impl Iterator<Item = (usize, Share)>, last: usize) -> Option<usize> {
    waiting
        .min_by_key(|&(index, share)| (share.0, index <= last, index))
        .map(|(index, _)| index)
}

// SPDX-License-Identifier: GPL-2.0

//! The way of transfers into the queue, and out of it again.

use kernel::{
    prelude::*,
    sync::atomic::ordering::Acquire, //
};

use super::{
    Channel,
    Engine, //
};
use crate::queue::{
    Entry,
    Transfer, //
};

impl Engine<'_> {
    /// Queues a transfer, and gives it to the card if that takes it.
    ///
    /// # Errors
    ///
    /// The transfer, and [`ENODEV`] after unbind has begun, [`EIO`] while the card does not answer.
    pub(crate) fn submit_one(
        &self,
        channel: u16,
        lane: usize,
        transfer: KBox<Transfer>,
    ) -> Result<(), (KBox<Transfer>, Error)> {
        let Some(channel) = self.channels.get(usize::from(channel)) else {
            return Err((transfer, EINVAL));
        };
        let mut channel = channel.lock();
        self.queue(&mut channel, lane, transfer)?;
        self.start_next(&mut channel, false);
        Ok(())
    }

    /// Queues entries in order, and gives them to the card: it is told once of those in a row for one
    /// channel. Returns how many, at least one; they are gone from `entries`, the others stay.
    ///
    /// # Errors
    ///
    /// As [`Engine::submit_one`], of the first entry.
    pub(crate) fn submit(&self, entries: &mut [Option<Entry>]) -> Result<u32> {
        let mut count = 0;
        let mut entries = entries.iter_mut().peekable();
        while let Some(index) = entries.peek().and_then(|e| Some(e.as_ref()?.channel)) {
            let channel = self.channels.get(usize::from(index)).ok_or(EINVAL)?;
            let mut channel = channel.lock();
            let mut failed = None;
            while let Some(place) =
                entries.next_if(|e| e.as_ref().is_some_and(|e| e.channel == index))
            {
                let Some(mut entry) = place.take() else {
                    break;
                };
                let lane = entry.lane;
                let queued = match entry.take() {
                    Some(transfer) => self.queue(&mut channel, lane, transfer),
                    // No place was free for it.
                    None => {
                        failed = Some(EAGAIN);
                        Ok(())
                    }
                };
                if let Err((transfer, error)) = queued {
                    entry.put_back(transfer);
                    failed = Some(error);
                }
                if failed.is_some() {
                    // Not dropped here, under the lock.
                    *place = Some(entry);
                    break;
                }
                count += 1;
            }
            self.start_next(&mut channel, false);
            match failed {
                Some(error) if count == 0 => return Err(error),
                Some(_) => break,
                None => {}
            }
        }
        Ok(count)
    }

    fn queue(
        &self,
        channel: &mut Channel<'_>,
        lane: usize,
        transfer: KBox<Transfer>,
    ) -> Result<(), (KBox<Transfer>, Error)> {
        if channel.stopped {
            return Err((transfer, ENODEV));
        }
        if self.lost.load(Acquire) != 0 {
            return Err((transfer, EIO));
        }
        if let Err(transfer) = channel.lanes.push(lane, transfer) {
            return Err((transfer, ENODEV));
        }
        self.stats.submitted.add(1);
        Ok(())
    }

    /// Withdraws what of a file's queue is `wanted`. Returns how many transfers. What the card was given ends
    /// with the chain that it has.
    pub(crate) fn cancel(
        &self,
        channel: usize,
        lane: usize,
        wanted: impl Fn(&Transfer) -> bool,
    ) -> u32 {
        let Some(channel) = self.channels.get(channel) else {
            return 0;
        };
        let mut channel = channel.lock();
        for given in channel.given.iter_mut() {
            given.last |= given.lane == Some(lane) && wanted(&given.transfer);
        }
        let mut count = 0;
        while let Some(transfer) = channel.lanes.withdraw(lane, &wanted) {
            self.finish(&mut channel, Some(lane), transfer, Err(ECANCELED));
            count += 1;
        }
        // What stood behind a barrier that was withdrawn.
        self.start_next(&mut channel, false);
        count
    }
}

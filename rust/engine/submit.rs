// SPDX-License-Identifier: GPL-2.0

//! The way of transfers into the queue, and out of it again.

use kernel::{
    prelude::*,
    sync::atomic::ordering::{
        Acquire,
        Relaxed, //
    }, //
};

use super::{
    bit,
    Channel,
    Engine,
    Told, //
};
use crate::{
    queue::Transfer,
    service::now, //
};

impl Engine<'_> {
    /// Queues transfers in order, and gives them to the card: it is told once of those in a row for one
    /// channel, or in [`Engine::tell`]. Returns how many, at least one; they are gone from `batch`, the others stay.
    ///
    /// # Errors
    ///
    /// Of the first: [`ENODEV`] after unbind has begun, [`EIO`] while the card does not answer.
    pub(crate) fn submit(&self, batch: &mut [Option<KBox<Transfer>>], told: Told) -> Result<u32> {
        let now = now();
        let mut count = 0;
        let mut batch = batch.iter_mut().peekable();
        while let Some(index) = batch.peek().and_then(|next| Some(next.as_ref()?.channel)) {
            let channel = self.channels.get(usize::from(index)).ok_or(EINVAL)?;
            let mut channel = channel.lock();
            let before = count;
            let mut failed = None;
            while let Some(place) =
                batch.next_if(|next| next.as_ref().is_some_and(|t| t.channel == index))
            {
                let Some(mut transfer) = place.take() else {
                    break;
                };
                transfer.submit_ns = now;
                if let Err((transfer, error)) = self.queue(&mut channel, transfer) {
                    // Not dropped here, under the lock.
                    *place = Some(transfer);
                    failed = Some(error);
                    break;
                }
                count += 1;
            }
            self.stats.submitted.add(u64::from(count - before));
            self.start_next_at(&mut channel, false, told, Some(now));
            match failed {
                Some(error) if count == 0 => return Err(error),
                Some(_) => break,
                None => {}
            }
        }
        Ok(count)
    }

    /// Tells the card of what it was given and is to be told later. May be called by schedule().
    pub(crate) fn tell(&self) {
        let busy = self.busy.load(Relaxed);
        for (index, channel) in (0..).zip(&self.channels) {
            if busy & bit(index) != 0 {
                let mut channel = channel.lock();
                if channel.untold {
                    self.start_next(&mut channel, true);
                }
            }
        }
    }

    fn queue(
        &self,
        channel: &mut Channel<'_>,
        transfer: KBox<Transfer>,
    ) -> Result<(), (KBox<Transfer>, Error)> {
        if channel.stopped {
            return Err((transfer, ENODEV));
        }
        if self.lost.load(Acquire) != 0 {
            return Err((transfer, EIO));
        }
        let queued = channel.lanes.push(transfer);
        queued.map_err(|transfer| (transfer, ENODEV))
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

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
        let mut count = 0;
        while let Some(index) = batch
            .get(count)
            .and_then(|next| Some(next.as_ref()?.channel))
        {
            let channel = self.channels.get(usize::from(index)).ok_or(EINVAL)?;
            let rest = batch.get_mut(count..).unwrap_or_default();
            let same =
                |next: &Option<KBox<Transfer>>| next.as_ref().is_some_and(|t| t.channel == index);
            let run = rest.iter().take_while(|next| same(next)).count();
            let run = rest.get_mut(..run).unwrap_or_default();
            let mut channel = channel.lock();
            let queued = self.queue_all(&mut channel, run, told);
            count += queued.0;
            match queued {
                (_, Ok(())) => {}
                (_, Err(error)) if count == 0 => return Err(error),
                (_, Err(_)) => break,
            }
        }
        Ok(u32::try_from(count)?)
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

    /// Queues transfers of one file for one channel. Returns how many, and why not all.
    fn queue_all(
        &self,
        channel: &mut Channel<'_>,
        run: &mut [Option<KBox<Transfer>>],
        told: Told,
    ) -> (usize, Result) {
        let now = now();
        if channel.stopped {
            return (0, Err(ENODEV));
        }
        if self.lost.load(Acquire) != 0 {
            return (0, Err(EIO));
        }
        let lane = run.iter().flatten().next().map_or(0, |first| first.lane);
        if let Some(port) = channel.lanes.port(lane) {
            port.begin(run);
        }
        let (mut count, mut result) = (0, Ok(()));
        for place in run {
            let Some(mut transfer) = place.take() else {
                break;
            };
            transfer.submit_ns = now;
            if let Err(transfer) = channel.lanes.push(transfer) {
                // Not dropped here, under the lock.
                *place = Some(transfer);
                result = Err(ENODEV);
                break;
            }
            count += 1;
        }
        self.stats.submitted.add(count as u64);
        self.start_next_at(channel, false, told, Some(now));
        (count, result)
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

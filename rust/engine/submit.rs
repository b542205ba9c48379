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
    Told,
    MOST_CHAIN, //
};
use crate::{
    queue::Transfer,
    service::now, //
};

impl Engine<'_> {
    /// Queues transfers in order, and gives them to the card: it is told once of those for one channel. Returns how
    /// many, at least one; they are gone from `batch`, the others stay.
    ///
    /// # Errors
    ///
    /// Of the first: [`ENODEV`] after unbind has begun, [`EIO`] while the card does not answer.
    pub(crate) fn submit(&self, batch: &mut [Option<KBox<Transfer>>]) -> Result<u32> {
        let mut count = 0;
        let mut told = Told::Now;
        while let Some(index) = batch
            .get(count)
            .and_then(|next| Some(next.as_ref()?.channel))
        {
            let channel = self.channels.get(usize::from(index)).ok_or(EINVAL)?;
            let rest = batch.get_mut(count..).unwrap_or_default();
            let mut channel = channel.lock();
            let queued = self.queue_all(&mut channel, rest, &mut told);
            count += queued.0;
            match queued {
                (_, Ok(())) => {}
                (_, Err(error)) if count == 0 => return Err(error),
                (_, Err(_)) => break,
            }
        }
        if told == Told::Later {
            self.tell();
        }
        Ok(u32::try_from(count)?)
    }

    /// The same with one transfer, which is given back if it is not queued. The card may be told in [`Engine::tell`].
    pub(crate) fn submit_one(
        &self,
        mut transfer: KBox<Transfer>,
        told: Told,
    ) -> Result<(), (Error, KBox<Transfer>)> {
        let Some(channel) = self.channels.get(usize::from(transfer.channel)) else {
            return Err((EINVAL, transfer));
        };
        let mut channel = channel.lock();
        if let Err(error) = self.may_queue(&channel) {
            return Err((error, transfer));
        }
        let now = now();
        transfer.submit_ns = now;
        match channel.lanes.port(transfer.lane) {
            Some(port) => port.begin_one(&mut transfer),
            None => return Err((ENODEV, transfer)),
        }
        let news = match self.queue(&mut channel, transfer) {
            Ok(news) => news,
            Err(transfer) => return Err((ENODEV, transfer)),
        };
        self.stats.submitted.add(1);
        self.start_next_at(&mut channel, news, told, Some(now));
        Ok(())
    }

    /// Queues a transfer, or gives it to the card at once: whether it did is returned. Gives it back if its lane
    /// is full or gone.
    fn queue(
        &self,
        channel: &mut Channel<'_>,
        transfer: KBox<Transfer>,
    ) -> Result<bool, KBox<Transfer>> {
        let straight = channel.lanes.is_empty()
            && !transfer.barrier
            && !channel.again
            && self.may_start(channel)
            && channel.has_room();
        if straight && channel.lanes.pass(&transfer) {
            return Ok(self.give(channel, Some(transfer.lane), transfer, MOST_CHAIN, false));
        }
        channel.lanes.push(transfer)?;
        Ok(false)
    }

    /// Returns why nothing can be queued on a channel.
    fn may_queue(&self, channel: &Channel<'_>) -> Result {
        if channel.stopped {
            return Err(ENODEV);
        }
        match self.lost.load(Acquire) {
            0 => Ok(()),
            _ => Err(EIO),
        }
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

    /// Queues the first transfers of one file, as many as are for this channel. Returns how many, and why not all.
    /// The card is told later if more are behind them.
    fn queue_all(
        &self,
        channel: &mut Channel<'_>,
        batch: &mut [Option<KBox<Transfer>>],
        told: &mut Told,
    ) -> (usize, Result) {
        let now = now();
        if let Err(error) = self.may_queue(channel) {
            return (0, Err(error));
        }
        let Some(Some(first)) = batch.first() else {
            return (0, Err(EINVAL));
        };
        let Some(port) = channel.lanes.port(first.lane) else {
            return (0, Err(ENODEV));
        };
        let most = port.begin(batch, channel.index);
        if most < batch.len() {
            *told = Told::Later;
        }
        let (mut count, mut news, mut result) = (0, false, Ok(()));
        for place in batch.iter_mut().take(most) {
            let Some(mut transfer) = place.take() else {
                break;
            };
            transfer.submit_ns = now;
            match self.queue(channel, transfer) {
                Ok(given) => news |= given,
                Err(transfer) => {
                    // Not dropped here, under the lock.
                    *place = Some(transfer);
                    result = Err(ENODEV);
                    break;
                }
            }
            count += 1;
        }
        self.stats.submitted.add(count as u64);
        self.start_next_at(channel, news, *told, Some(now));
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

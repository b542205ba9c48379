// SPDX-License-Identifier: GPL-2.0

//! The way of a transfer over the card: a chain is given, it ends, the next one. All of it may run in an
//! interrupt.

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
    Given,
    Told,
    MOST_CHAIN, //
};
use crate::{
    hw::{
        Direction,
        End,
        State, //
    },
    queue::Transfer,
    service::{
        self,
        now,
        NEVER, //
    }, //
};

impl Channel<'_> {
    /// Returns whether the card takes another transfer now.
    pub(super) fn has_room(&self) -> bool {
        let Some(newest) = self.given.back() else {
            return self.hw.room() > 0;
        };
        // Copied data have but one buffer to pass through.
        self.bounce.is_none()
            && !self.given.is_full()
            && self.hw.room() > 0
            && self.ahead.allows(self.given.len(), self.bytes)
            && newest.transfer.rest() == newest.length
    }

    /// Keeps the buffers of a transfer that is given up while the card may still use them.
    pub(super) fn hold(&mut self, transfer: &mut Transfer) {
        if let Some(work) = transfer.work.take() {
            for buffer in [Some(work.buffer), work.second].into_iter().flatten() {
                // There is room: nothing is given while something is held. If not, the card has the memory.
                if let Err(buffer) = self.held.push_back(buffer) {
                    core::mem::forget(buffer);
                }
            }
        }
    }
}

impl Engine<'_> {
    /// Gives the card what goes next, as much as it takes; and tells it, if there was `news` before.
    pub(super) fn start_next(&self, channel: &mut Channel<'_>, news: bool) {
        self.start_next_at(channel, news, Told::Now, None);
    }

    /// The same, by a caller who has just asked the clock, or will see that the card is told later.
    pub(super) fn start_next_at(
        &self,
        channel: &mut Channel<'_>,
        mut news: bool,
        told: Told,
        now: Option<u64>,
    ) {
        let may = self.may_start(channel);
        if may {
            if channel.again {
                news |= self.give_again(channel);
            }
            while !channel.lanes.is_empty() && channel.has_room() {
                let Some((lane, transfer)) = channel.lanes.next() else {
                    break;
                };
                news |= self.give(channel, Some(lane), transfer, MOST_CHAIN, false);
            }
        }
        self.mark_busy(channel);
        if !may && self.is_stranded(channel) {
            // Not by an interrupt: `tick()` ends it.
            self.kick.watch(service::now());
        }
        news |= channel.untold;
        channel.untold = news && (told == Told::Later || !may);
        if news && !channel.untold {
            channel.hw.submit();
            self.stats.doorbells.add(1);
            let (chains, bytes) = (channel.given.len(), channel.bytes);
            let clock = || now.unwrap_or_else(service::now);
            channel.ahead.given(chains, bytes, clock);
        }
        if channel.deadline == NEVER {
            self.set_deadline(channel, now);
        }
    }

    /// Returns whether a channel has something that a lost card does not know of.
    fn is_stranded(&self, channel: &Channel<'_>) -> bool {
        self.lost.load(Acquire) != 0
            && (channel.again || channel.given.is_empty())
            && !(channel.given.is_empty() && channel.lanes.is_empty())
    }

    /// Returns whether the card may be given anything.
    pub(super) fn may_start(&self, channel: &Channel<'_>) -> bool {
        channel.draining.is_none() && !channel.stopped && self.cut_off.load(Acquire) == 0
    }

    /// Lets interrupts look at the channel, or pass it by. Before the card is told: it may interrupt at once.
    fn mark_busy(&self, channel: &mut Channel<'_>) {
        let busy = !channel.given.is_empty() || channel.draining.is_some();
        if core::mem::replace(&mut channel.busy, busy) == busy {
            return;
        }
        match busy {
            true => self.busy.fetch_add(bit(channel.index), Relaxed),
            false => self.busy.fetch_sub(bit(channel.index), Relaxed),
        };
    }

    /// Sets the time limit of the oldest chain, which the card begins now.
    fn set_deadline(&self, channel: &mut Channel<'_>, now: Option<u64>) {
        let Some(given) = channel.given.front_mut() else {
            return;
        };
        let now = now.unwrap_or_else(service::now);
        if given.transfer.start_ns == 0 {
            given.transfer.start_ns = now;
        }
        channel.deadline = now.saturating_add(self.timeout_ns);
        match given.transfer.work.as_ref().map(|work| work.timeout_ns) {
            None | Some(0) => {}
            Some(limit) => {
                let end = given.transfer.start_ns.saturating_add(limit);
                channel.deadline = channel.deadline.min(end);
            }
        }
        self.kick.watch_channel(channel.deadline);
    }

    /// Puts down the next chain of a transfer, of at most `most` bytes, or ends the transfer if that cannot
    /// be. Returns whether the card must be told.
    pub(super) fn give(
        &self,
        channel: &mut Channel<'_>,
        lane: Option<usize>,
        transfer: KBox<Transfer>,
        most: u64,
        last: bool,
    ) -> bool {
        let Some(work) = &transfer.work else {
            self.finish(channel, lane, transfer, Err(EIO));
            return false;
        };
        let bounce = channel.bounce.as_ref();
        let put = self.put_down(&mut *channel.hw, bounce, work, transfer.bytes, most);
        let length = match put {
            Ok(length) => length,
            Err(error) => {
                self.finish(channel, lane, transfer, Err(error));
                return false;
            }
        };
        channel.bytes += length;
        let given = Given {
            transfer,
            lane,
            length,
            last,
            cuts: self.cuts.load(Acquire),
        };
        // There is room, see `has_room()`, or one has just been taken out. If not, the card has the memory.
        if let Err(given) = channel.given.push_back(given) {
            core::mem::forget(given);
        }
        true
    }

    /// Gives the card again what it has forgotten. Returns whether it must be told.
    fn give_again(&self, channel: &mut Channel<'_>) -> bool {
        channel.hw.start(self.vector(channel.index));
        channel.again = false;
        channel.deadline = NEVER;
        channel.bytes = 0;
        channel.ahead.forget();
        let mut news = false;
        for _ in 0..channel.given.len() {
            // The same memory in as many descriptors: there is room for all.
            let Some(given) = channel.given.pop_front() else {
                break;
            };
            news |= self.give(
                channel,
                given.lane,
                given.transfer,
                given.length,
                given.last,
            );
        }
        news
    }

    /// Takes what the card has done, and gives it what goes next. Returns whether there was anything.
    pub(super) fn collect(&self, channel: &mut Channel<'_>) -> bool {
        if channel.draining.is_some() {
            if channel.hw.state() == State::Idle {
                self.resume(channel);
                return true;
            }
            return false;
        }
        match self.collect_ended(channel) {
            Some(more) => self.start_next(channel, more),
            None => return false,
        }
        true
    }

    /// Takes what the card has done. `None` if there was nothing, else whether it must be told of more.
    pub(super) fn collect_ended(&self, channel: &mut Channel<'_>) -> Option<bool> {
        let (mut news, mut clock) = (None, None);
        // Chains and bytes.
        let mut ended = (0, 0);
        while !channel.again {
            let Some(end) = channel.hw.pop() else {
                break;
            };
            let mut more = false;
            if let Some(given) = channel.given.pop_front() {
                channel.bytes -= given.length;
                ended = (ended.0 + 1, ended.1 + given.length);
                // Once for all that have ended since we looked last.
                let now = *clock.get_or_insert_with(now);
                more = self.ended(channel, given, end, now);
            }
            news = Some(news.unwrap_or(false) | more);
        }
        if news.is_some() {
            channel.deadline = NEVER;
            let clock = || clock.unwrap_or_else(now);
            channel.ahead.ended(ended.0, ended.1, clock);
        }
        news
    }

    /// Called when a chain has ended. Returns whether the card was given the next one of the transfer.
    fn ended(&self, channel: &mut Channel<'_>, given: Given, end: End, now: u64) -> bool {
        let Given {
            mut transfer,
            lane,
            length,
            last,
            cuts,
        } = given;
        let bytes = end.bytes.min(length);
        if transfer.start_ns == 0 {
            // It began and ended since we looked last.
            transfer.start_ns = now;
        }
        let failed = end.failed || cuts != self.cuts.load(Acquire);
        let moved = match &transfer.work {
            Some(work) => self
                .retire(channel.bounce.as_ref(), work, transfer.bytes, bytes)
                .map(|()| work.direction),
            None => Err(EIO),
        };
        let result = match moved {
            Err(error) => Err(error),
            Ok(direction) => {
                transfer.bytes += bytes;
                match direction {
                    Direction::ToCard => self.stats.bytes_to_card.add(bytes),
                    Direction::FromCard => self.stats.bytes_from_card.add(bytes),
                    Direction::HostToHost => self.stats.bytes_host_to_host.add(bytes),
                }
                // A chain that ends well and short is the end of its transfer, too.
                match (failed, transfer.rest()) {
                    (true, _) => Err(EIO),
                    (false, 0) => Ok(()),
                    (false, _) if bytes < length => Ok(()),
                    (false, _) if channel.stopped => Err(ENODEV),
                    (false, _) if last => Err(ECANCELED),
                    (false, _) => return self.give(channel, lane, transfer, MOST_CHAIN, false),
                }
            }
        };
        transfer.end_ns = now;
        self.finish(channel, lane, transfer, result);
        false
    }

    /// Ends a transfer: now, if it did not before.
    pub(super) fn finish(
        &self,
        channel: &mut Channel<'_>,
        lane: Option<usize>,
        mut transfer: KBox<Transfer>,
        result: Result,
    ) {
        if transfer.end_ns == 0 {
            transfer.end_ns = now();
        }
        let end_ns = transfer.end_ns;
        transfer.result = result.err().map_or(0, |error| error.to_errno());
        match transfer.result {
            0 => self.stats.completed.add(1),
            _ => self.stats.failed.add(1),
        }
        // The card is done with the memory.
        if let Some(work) = transfer.work.take() {
            work.put_atomic();
        }
        if channel.lanes.complete(lane, transfer) {
            // Perhaps on a channel whose lock cannot be had here: `tick()` looks.
            self.kick.watch(end_ns);
        }
    }
}

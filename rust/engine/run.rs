// SPDX-License-Identifier: GPL-2.0

//! The way of a transfer over the card: a piece is started, it ends, the next one. All of it may run in
//! an interrupt.

use kernel::{
    prelude::*,
    sync::atomic::ordering::Acquire, //
};

use super::{
    Channel,
    Engine,
    Running,
    Slot, //
};
use crate::{
    hw::{
        Descriptor,
        Direction,
        State, //
    },
    queue::Transfer,
    service::now, //
};

impl Engine<'_> {
    /// Starts what goes next, if the channel is free.
    pub(super) fn start_next(&self, slot: &Slot, channel: &mut Channel) {
        while channel.running.is_none()
            && channel.draining.is_none()
            && !channel.stopped
            && self.cut_off.load(Acquire) == 0
        {
            let Some((lane, mut transfer)) = channel.lanes.next() else {
                return;
            };
            transfer.start_ns = now();
            self.start_piece(slot, channel, Some(lane), transfer);
        }
    }

    /// Gives the card the next piece of a transfer, or ends the transfer if that cannot be.
    fn start_piece(
        &self,
        slot: &Slot,
        channel: &mut Channel,
        lane: Option<usize>,
        transfer: KBox<Transfer>,
    ) {
        let Some(work) = &transfer.work else {
            return self.finish(channel, lane, transfer, Err(EIO));
        };
        let piece = match self.prepare(channel.bounce.as_ref(), work, transfer.bytes) {
            Ok(piece) => piece,
            Err(error) => return self.finish(channel, lane, transfer, Err(error)),
        };
        let now = now();
        let mut deadline = now.saturating_add(self.timeout_ns);
        if work.timeout_ns != 0 {
            deadline = deadline.min(transfer.start_ns.saturating_add(work.timeout_ns));
        }
        let descriptor = Descriptor {
            direction: work.direction,
            bus: piece.bus,
            // Cannot wrap: the range was checked against the card's memory.
            card_offset: work.card_offset + transfer.bytes,
            length: piece.length,
        };
        if let Err(error) = self.hw.start(slot.index, &descriptor, true) {
            return self.finish(channel, lane, transfer, Err(error));
        }
        self.stats.descriptors.add(1);
        channel.running = Some(Running {
            transfer,
            lane,
            piece,
            deadline,
            last: false,
        });
        self.kick.watch(deadline);
    }

    /// Called when the card says that a channel's piece has ended.
    pub(super) fn ended(&self, slot: &Slot, channel: &mut Channel, failed: bool) {
        if self.hw.state(slot.index) != State::Idle {
            // Late news of a piece that was given up, or a card that has gone: `tick()` sees to it.
            self.stats.spurious_interrupts.add(1);
            return;
        }
        if channel.draining.is_some() {
            return self.resume(slot, channel);
        }
        let Some(Running {
            mut transfer,
            lane,
            piece,
            last,
            ..
        }) = channel.running.take()
        else {
            self.stats.spurious_interrupts.add(1);
            return;
        };
        // What ended while the card was cut off did not move anything.
        let failed = failed || self.cut_off.load(Acquire) != 0;
        let result = match (&transfer.work, failed) {
            (Some(work), false) => self
                .retire(channel.bounce.as_ref(), work, transfer.bytes, piece)
                .map(|()| (work.direction, transfer.bytes + piece.length == work.length)),
            _ => Err(EIO),
        };
        match result {
            Err(error) => self.finish(channel, lane, transfer, Err(error)),
            Ok((direction, whole)) => {
                transfer.bytes += piece.length;
                match direction {
                    Direction::ToCard => self.stats.bytes_to_card.add(piece.length),
                    Direction::FromCard => self.stats.bytes_from_card.add(piece.length),
                }
                if whole {
                    self.finish(channel, lane, transfer, Ok(()));
                } else if channel.stopped {
                    self.finish(channel, lane, transfer, Err(ENODEV));
                } else if last {
                    self.finish(channel, lane, transfer, Err(ECANCELED));
                } else {
                    self.start_piece(slot, channel, lane, transfer);
                }
            }
        }
        self.start_next(slot, channel);
    }

    /// Ends a transfer.
    pub(super) fn finish(
        &self,
        channel: &mut Channel,
        lane: Option<usize>,
        mut transfer: KBox<Transfer>,
        result: Result,
    ) {
        transfer.end_ns = now();
        transfer.result = result.err().map_or(0, |error| error.to_errno());
        match transfer.result {
            0 => self.stats.completed.add(1),
            _ => self.stats.failed.add(1),
        }
        // The card is done with the buffer.
        if let Some(work) = transfer.work.take() {
            work.buffer.put_atomic();
        }
        drop(channel.lanes.complete(lane, transfer));
    }
}

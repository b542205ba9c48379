// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Which channel is given the next transfer.

/// What is in flight on the channels that are used.
pub(super) struct Queue {
    channels: Vec<(u16, usize)>,
    next: u64,
}

impl Queue {
    pub(super) fn new(channels: &[u16]) -> Self {
        Self {
            channels: channels.iter().map(|channel| (*channel, 0)).collect(),
            next: 0,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.channels.iter().map(|(_, count)| count).sum()
    }

    /// Gives the number of the next transfer, and the channel that it is for: the one
    /// that has least to do.
    pub(super) fn next(&mut self) -> (u64, u16) {
        let number = self.next;
        self.next += 1;
        let least = self.channels.iter_mut().min_by_key(|(_, count)| *count);
        let channel = least.map_or(0, |(channel, count)| {
            *count += 1;
            *channel
        });
        (number, channel)
    }

    /// One of a channel has ended.
    pub(super) fn ended(&mut self, channel: u32) {
        let mut channels = self.channels.iter_mut();
        if let Some((_, count)) = channels.find(|(it, _)| u32::from(*it) == channel) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channel_with_least_to_do_is_next() {
        let mut queue = Queue::new(&[1, 3]);
        let channels: Vec<_> = (0..4).map(|_| queue.next()).collect();
        assert_eq!(channels, [(0, 1), (1, 3), (2, 1), (3, 3)]);
        queue.ended(3);
        assert_eq!((queue.in_flight(), queue.next()), (3, (4, 3)));
        queue.ended(1);
        queue.ended(1);
        assert_eq!((queue.next(), queue.next()), ((5, 1), (6, 1)));
        assert_eq!(queue.in_flight(), 4);
    }
}

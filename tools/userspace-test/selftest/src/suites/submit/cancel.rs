// SPDX-License-Identifier: GPL-2.0 OR MIT
//! CANCEL of what waits.

use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::event::PollFlags;
use userdma::sys;

use crate::child::{sleeps_in, spawn, Gate};
use crate::device::{from_card, tagged, Device, COHERENT};
use crate::memory::{Mapping, PAGE};
use crate::outcome::{all_bytes, same_bytes, Context as _, Outcome};
use crate::poll::{now, ready, until, LONG};
use crate::queue::{until_in_time, Front, FRONT};
use crate::raw::{size, wide};
use crate::registry::Context;

/// Bytes of a transfer that waits.
const LENGTH: usize = 64;
/// What is in its memory before.
const BEFORE: u8 = 0x11;

/// Transfers on one channel of a file: long ones, and behind them short ones, each
/// from the beginning of the card to a place of its own.
struct Queue<'a> {
    front: Front,
    channel: u32,
    tags: &'a [u64],
    map: Mapping,
    all: Vec<sys::userdma_transfer>,
}

impl<'a> Queue<'a> {
    /// Queued at once.
    fn new(device: &Device, channel: u32, tags: &'a [u64]) -> Outcome<Self> {
        let queue = Self::prepare(device, channel, tags)?;
        queue.start(device)?;
        Ok(queue)
    }

    /// Not queued yet.
    fn prepare(device: &Device, channel: u32, tags: &'a [u64]) -> Outcome<Self> {
        let channel = u16::try_from(channel)?;
        let front = Front::new(device, channel)?;
        let buffer = device.alloc(COHERENT, PAGE)?;
        let map = device.map(&buffer)?;
        map.fill(0..PAGE, BEFORE);
        let mut all = front.transfers.clone();
        for (place, tag) in tags.iter().enumerate() {
            let read = from_card(buffer.handle, place * LENGTH, LENGTH, 0);
            all.push(sys::userdma_transfer {
                channel,
                ..tagged(read, *tag)
            });
        }
        Ok(Self {
            front,
            channel: channel.into(),
            tags,
            map,
            all,
        })
    }

    /// Queues them in one call.
    fn start(&self, device: &Device) -> Outcome {
        check_eq!(device.submit(&self.all)?, self.all.len());
        Ok(())
    }

    fn len(&self) -> usize {
        self.all.len()
    }

    /// Of the records of all channels those that are its own; one for each
    /// transfer.
    fn mine(&self, records: &[sys::userdma_completion]) -> Outcome<Vec<sys::userdma_completion>> {
        let mine = records.iter().filter(|r| r.channel == self.channel);
        let mine: Vec<_> = mine.copied().collect();
        let mut tags: Vec<_> = mine.iter().map(|r| r.user_data).collect();
        let front = self.front.transfers.iter().map(|t| t.user_data);
        let mut want: Vec<_> = front.chain(self.tags.iter().copied()).collect();
        tags.sort_unstable();
        want.sort_unstable();
        check_eq!(tags, want, "one record for each transfer");
        Ok(mine)
    }

    /// Requires that those that are `gone` were withdrawn, that nothing happened
    /// to the others, and that these ran in order.
    fn check(
        &self,
        records: &[sys::userdma_completion],
        gone: impl Fn(u64) -> bool,
        card: &[u8],
    ) -> Outcome {
        let mut order = Vec::new();
        for record in self.mine(records)? {
            if gone(record.user_data) {
                check_withdrawn(&record)?;
            } else {
                check_eq!(record.result, 0, "{record:?}");
                order.push(record.user_data);
            }
        }
        let front = self.front.transfers.iter().map(|t| t.user_data);
        let all = front.chain(self.tags.iter().copied());
        check_eq!(order, all.filter(|tag| !gone(*tag)).collect::<Vec<_>>());
        for (place, tag) in self.tags.iter().enumerate() {
            let bytes = self.map.read(place * LENGTH, LENGTH);
            if gone(*tag) {
                all_bytes(&bytes, BEFORE, "memory of one that was withdrawn")?;
            } else {
                same_bytes(&bytes, card, "memory of another")?;
            }
        }
        Ok(())
    }
}

/// Requires a record of a transfer that the card never saw.
fn check_withdrawn(record: &sys::userdma_completion) -> Outcome {
    check_eq!(
        (record.result, record.bytes, record.start_ns),
        (-libc::ECANCELED, 0, 0),
        "{record:?}"
    );
    check!(record.submit_ns > 0 && record.submit_ns <= record.end_ns);
    Ok(())
}

/// Puts bytes at the beginning of the card.
fn fill(context: &mut Context) -> Outcome<Vec<u8>> {
    let bytes = context.bytes(LENGTH);
    context.open()?.file().write_all_at(&bytes, 0)?;
    Ok(bytes)
}

/// By name: in the middle, the first, the last, and two that have the same name.
pub(super) fn named(context: &mut Context) -> Outcome {
    let card = fill(context)?;
    for (tags, victim) in [
        ([1, 2, 3, 4, 5], 3),
        ([1, 2, 3, 4, 5], 1),
        ([1, 2, 3, 4, 5], 5),
        ([1, 7, 2, 7, 3], 7),
    ] {
        until_in_time(|| {
            let device = context.open()?;
            let queue = Queue::new(&device, 0, &tags)?;
            let count = device.cancel(0, victim)?;
            let time = now();
            let records = device.collect(queue.len())?;
            device.check_idle()?;
            if !queue.front.kept_until(time, &records) {
                return Ok(false);
            }
            check_eq!(
                size(count.into()),
                tags.iter().filter(|t| **t == victim).count()
            );
            queue.check(&records, |tag| tag == victim, &card)?;
            // At once, and not when its turn came.
            for record in records.iter().filter(|r| r.user_data == victim) {
                check!(
                    record.end_ns <= time,
                    "{record:?}, CANCEL returned at {time}"
                );
            }
            let counters = crate::guest::fdinfo(&device)?;
            check_eq!(crate::guest::number(&counters, "failed")?, u64::from(count));
            Ok(true)
        })
        .context(|| format!("{victim} of {tags:?}"))?;
    }
    wakes(context).context(|| "a sleeper in WAIT".to_owned())
}

/// Who sleeps in WAIT is woken by what is withdrawn, not by the card.
fn wakes(context: &Context) -> Outcome {
    let device = context.open()?;
    let tags = [1, 2];
    if !Front::new(&device, 0)?.is_slow() {
        println!("the card is too quick for anybody to fall asleep");
        return Ok(());
    }
    until_in_time(|| {
        let queue = Queue::new(&device, 0, &tags)?;
        let thread = AtomicI32::new(0);
        let (count, early, time) = std::thread::scope(|scope| -> Outcome<_> {
            let waiter = scope.spawn(|| {
                thread.store(nix::unistd::gettid().as_raw(), Ordering::Release);
                let record = device.wait(1, 1, u64::MAX);
                (record, now())
            });
            let number = || thread.load(Ordering::Acquire);
            until("the thread's number", || Ok(number() != 0))?;
            let own = nix::unistd::getpid().as_raw();
            // Not if the card was quicker, and it is gone.
            let asleep = sleeps_in(own, number(), &[libc::SYS_ioctl]).is_ok();
            let count = device.cancel(0, 2);
            let Ok((records, time)) = waiter.join() else {
                fail!("the thread panicked");
            };
            let records = records?;
            let its =
                |r: &sys::userdma_completion| (r.user_data, r.result) == (2, -libc::ECANCELED);
            check_eq!(records.len(), 1);
            Ok((count?, asleep && records.iter().all(its), time))
        })?;
        let rest = device.collect(queue.len() - 1)?;
        device.check_idle()?;
        // Else it was the card that woke it.
        Ok(early && count == 1 && rest.iter().all(|record| record.end_ns > time))
    })
}

/// All of a channel, and not those of other channels and files.
pub(super) fn all(context: &mut Context) -> Outcome {
    let card = fill(context)?;
    let channels = context.open()?.info()?.out_channels;
    let tags = [1, 2, 3, 4, 5];
    for channel in 0..channels {
        until_in_time(|| {
            let (device, other) = (context.open()?, context.open()?);
            let mine = Queue::prepare(&device, channel, &tags)?;
            let beside = match channels {
                1 => None,
                _ => Some(Queue::prepare(&device, (channel + 1) % channels, &tags)?),
            };
            let theirs = Queue::prepare(&other, channel, &tags)?;
            // With nothing in between, for a quick card.
            mine.start(&device)?;
            theirs.start(&other)?;
            if let Some(beside) = &beside {
                beside.start(&device)?;
            }
            let count = device.cancel_all(channel)?;
            let time = now();
            let beside_length = beside.as_ref().map_or(0, |queue| queue.len());
            let records = device.collect(mine.len() + beside_length)?;
            let their_records = other.collect(theirs.len())?;
            device.check_idle()?;
            other.check_idle()?;
            let kept = beside
                .as_ref()
                .is_none_or(|q| q.front.kept_until(time, &records));
            if !kept
                || !mine.front.kept_until(time, &records)
                || !theirs.front.kept_until(time, &their_records)
            {
                return Ok(false);
            }
            // What the card had ends well; it is what was in front.
            let ended = mine.mine(&records)?;
            let ended = ended.iter().filter(|r| r.result == 0).count();
            check!(ended < mine.front.transfers.len(), "{ended} ended");
            check_eq!(size(count.into()), mine.len() - ended);
            mine.check(
                &records,
                |tag| tag < FRONT || tag >= FRONT + wide(ended),
                &card,
            )?;
            if let Some(beside) = &beside {
                beside.check(&records, |_| false, &card)?;
            }
            theirs.check(&their_records, |_| false, &card)?;
            // And the channel goes on.
            let again = Queue::new(&device, channel, &tags[..1])?;
            again.check(&device.collect(again.len())?, |_| false, &card)?;
            Ok(true)
        })
        .context(|| format!("channel {channel}"))?;
    }
    Ok(())
}

/// Nothing of that name, nothing at all, another file's, another channel's; and
/// one that has ended, whose record waits.
pub(super) fn none(context: &mut Context) -> Outcome {
    let card = fill(context)?;
    let (device, other) = (context.open()?, context.open()?);
    let channels = device.info()?.out_channels;
    for channel in 0..channels {
        check_eq!(device.cancel(channel, 1), Ok(0));
        check_eq!(device.cancel_all(channel), Ok(0));
    }
    let tags = [1, 2, 3];
    until_in_time(|| {
        let queue = Queue::new(&device, 0, &tags)?;
        // All 64 bits of the name count.
        for name in [0, 4, (1 << 40) | 1, 1 << 63] {
            check_eq!(device.cancel(0, name), Ok(0), "{name:#x}");
        }
        for channel in 1..channels {
            check_eq!(device.cancel(channel, 1), Ok(0));
            check_eq!(device.cancel_all(channel), Ok(0));
        }
        check_eq!(other.cancel(0, 1), Ok(0), "another file's");
        check_eq!(other.cancel_all(0), Ok(0), "another file's");
        let time = now();
        let records = device.collect(queue.len())?;
        queue.check(&records, |_| false, &card)?;
        device.check_idle()?;
        Ok(queue.front.kept_until(time, &records))
    })?;
    let queue = Queue::new(&device, 0, &[])?;
    device.wait(
        u32::try_from(queue.len() - 1)?,
        u32::try_from(queue.len() - 1)?,
        u64::MAX,
    )?;
    check_eq!(ready(&device, PollFlags::IN, LONG)?, PollFlags::IN);
    let last = FRONT + wide(queue.len() - 1);
    check_eq!(device.cancel(0, last), Ok(0), "it has ended");
    check_eq!(device.cancel_all(0), Ok(0), "it has ended");
    let record = device.collect(1)?[0];
    check_eq!((record.user_data, record.result), (last, 0));
    requests(context, &card)
}

/// A read that waits for its turn is no transfer, whatever name it has inside.
fn requests(context: &Context, card: &[u8]) -> Outcome {
    let device = context.open()?;
    let queue = Queue::new(&device, 0, &[])?;
    let begun = Gate::new()?;
    let reader = spawn(|| {
        let mut bytes = [0; LENGTH];
        begun.open()?;
        device.file().read_exact_at(&mut bytes, 0)?;
        same_bytes(&bytes, card, "a read")
    })?;
    begun.pass()?;
    if queue.front.is_slow() {
        reader.sleeps_in(&[libc::SYS_pread64])?;
    }
    check_eq!(device.cancel(0, 0), Ok(0), "a read");
    device.cancel_all(0)?;
    reader.join(LONG)?;
    device.collect(queue.len())?;
    device.check_idle()
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! All channels full: transfers long and short, of coherent, huge and registered
//! memory, both ways and from one to another, by SUBMIT and by io_uring; and a waiter, a
//! poller and a reader asleep.

use std::time::Duration;

use nix::errno::Errno;
use rand::rngs::SmallRng;
use rand::Rng as _;
use rustix::event::PollFlags;
use rustix::pipe::{pipe_with, PipeFlags};
use userdma::sys;

use crate::child::{spawn, Child, Gate};
use crate::device::{from_card, host_to_host, tagged, to_card, Device, COHERENT, HUGE};
use crate::guest::Card;
use crate::kinds::{Kind, Memory};
use crate::memory::{Mapping, PAGE};
use crate::model::CHANNELS;
use crate::outcome::{all_bytes, Outcome};
use crate::poll::ready;
use crate::raw::{self, size, wide};
use crate::requests::pread;
use crate::suites::inject::on;
use crate::suites::uring::Ring;

/// Huge pages of the pool that a load takes.
pub(crate) const POOL_PAGES: usize = 2;

/// Transfers of each file by SUBMIT and by io_uring: all its places but one.
const SUBMITTED: usize = 96;
const RUNG: usize = 31;

/// Bytes of each piece of memory.
const LENGTH: usize = 64 * PAGE;

/// Longer than a load lasts.
const LIFE: Duration = Duration::from_secs(120);
/// Longer than anything takes that the card may still be doing.
const WATCH: Duration = Duration::from_millis(150);

/// An open file for each channel, and who sleeps.
pub(crate) struct Full {
    files: Vec<File>,
    children: Vec<Child>,
}

struct File {
    ring: Ring,
    maps: Vec<Mapping>,
    memory: Vec<Memory>,
    device: Device,
}

impl Full {
    /// Puts it on a card that is slow; the sleepers sleep when this returns. A pool
    /// of [`POOL_PAGES`] must be there.
    pub(crate) fn new(card: &Card, rng: &mut SmallRng) -> Outcome<Self> {
        let files: Outcome<Vec<_>> = (0..CHANNELS)
            .map(|channel| File::new(card, channel, rng))
            .collect();
        let files = files?;
        let children = vec![waiter(card)?, poller(card)?, reader(card)?];
        Ok(Self { files, children })
    }

    /// Collects all: each has ended once and in order, well or with one of `results`.
    pub(crate) fn check_ended(&mut self, results: &[i32]) -> Outcome {
        for file in &mut self.files {
            file.check_ended(results)?;
        }
        Ok(())
    }

    /// Looks at everything else when the card has gone.
    pub(crate) fn check_gone(&mut self) -> Outcome {
        // Whatever the card was doing, it does no more.
        for memory in self.files.iter().flat_map(|file| &file.memory) {
            memory.fill(0..memory.length(), 0x5a);
        }
        for file in &self.files {
            file.check_refused()?;
        }
        self.check_quiet()?;
        for child in self.children.drain(..) {
            child.join(LIFE)?;
        }
        Ok(())
    }

    fn check_quiet(&self) -> Outcome {
        std::thread::sleep(WATCH);
        for memory in self.files.iter().flat_map(|file| &file.memory) {
            let bytes = memory.read(0, memory.length());
            all_bytes(&bytes, 0x5a, "memory that was registered")?;
        }
        Ok(())
    }

    /// Requires that a card that does not answer takes nothing more.
    pub(crate) fn check_lost(&self) -> Outcome {
        for (channel, file) in (0..).zip(&self.files) {
            file.check_lost(channel)?;
        }
        Ok(())
    }
}

/// A transfer of any length, from anywhere to anywhere.
fn any(
    handles: &[u32],
    channel: u16,
    card_size: usize,
    rng: &mut SmallRng,
) -> sys::userdma_transfer {
    let number = rng.random_range(0..handles.len());
    let (handle, next) = (handles[number], handles[(number + 1) % handles.len()]);
    let length = match rng.random() {
        true => rng.random_range(1..=PAGE),
        false => rng.random_range(PAGE..=LENGTH),
    };
    let offset = rng.random_range(0..=LENGTH - length);
    let place = rng.random_range(0..=card_size - length);
    // Writing to memory is what must not come too late.
    on(
        channel,
        match rng.random_range(0..5) {
            0 => to_card(handle, offset, length, place),
            1 => {
                let to = rng.random_range(0..=LENGTH - length);
                host_to_host((handle, offset), (next, to), length)
            }
            _ => from_card(handle, offset, length, place),
        },
    )
}

impl File {
    fn new(card: &Card, channel: u16, rng: &mut SmallRng) -> Outcome<Self> {
        let device = Device::open(&card.path)?;
        let card_size = size(device.info()?.out_card_size);
        let (mut maps, mut memory, mut handles) = (Vec::new(), Vec::new(), Vec::new());
        for kind in [COHERENT, HUGE] {
            let buffer = device.alloc(kind, LENGTH)?;
            let map = device.map(&buffer)?;
            map.fill(0..LENGTH, 0x12);
            maps.push(map);
            handles.push(buffer.handle);
        }
        let second = match channel {
            0 => Kind::HugetlbAnonymous,
            1 => Kind::HugetlbMemfd,
            _ => Kind::Memfd,
        };
        for kind in [Kind::Anonymous, second] {
            let own = kind.make(LENGTH)?;
            handles.push(device.register(own.address(), LENGTH, 0)?.handle);
            memory.push(own);
        }
        let mut ring = Ring::new(&device)?;
        let mut transfers = (0..SUBMITTED + RUNG)
            .map(|tag| tagged(any(&handles, channel, card_size, rng), wide(tag)))
            .collect::<Vec<_>>();
        let rung = transfers.split_off(SUBMITTED);
        check_eq!(device.submit(&transfers)?, SUBMITTED);
        ring.transfers(&rung)?;
        check_eq!(ring.ring.submit()?, RUNG);
        Ok(Self {
            ring,
            maps,
            memory,
            device,
        })
    }

    fn check_ended(&mut self, results: &[i32]) -> Outcome {
        let records = self.device.collect(SUBMITTED)?;
        let tags: Vec<_> = records.iter().map(|record| record.user_data).collect();
        check_eq!(tags, (0..wide(SUBMITTED)).collect::<Vec<_>>());
        let known = |result: i32| result == 0 || results.contains(&result);
        let wrong = records.iter().find(|record| !known(record.result));
        check!(wrong.is_none(), "{wrong:?}");
        let mut ends = self.ring.ends(RUNG)?;
        let wrong = ends.iter().find(|end| !known(end.result.min(0)));
        check!(wrong.is_none(), "{wrong:?}");
        ends.sort_by_key(|end| end.tag);
        let tags: Vec<_> = ends.iter().map(|end| end.tag).collect();
        check_eq!(
            tags,
            (wide(SUBMITTED)..wide(SUBMITTED + RUNG)).collect::<Vec<_>>()
        );
        Ok(())
    }

    /// The card does not answer any more.
    fn check_lost(&self, channel: u16) -> Outcome {
        self.device.info()?;
        let buffer = self.device.alloc(COHERENT, PAGE)?;
        let one = on(channel, from_card(buffer.handle, 0, PAGE, 0));
        // Nobody has noticed where nothing was under way: then it is taken, and ends so.
        if self.device.submit(&[one]) == Ok(1) {
            check_eq!(self.device.collect(1)?[0].result, -libc::EIO);
        }
        check_err!(self.device.submit(&[one]), EIO);
        let memory = Mapping::anonymous(PAGE)?;
        check_err!(pread(&self.device, memory.address(), PAGE, 0), EIO);
        // The program's memory is its own all the same, and the driver's too.
        let map = self.device.map(&buffer)?;
        map.set_byte(0, 1);
        check_eq!(map.byte(0), 1);
        Ok(self.device.free(buffer.handle)?)
    }

    /// The card is gone.
    fn check_refused(&self) -> Outcome {
        check_err!(self.device.info(), ENODEV);
        check_err!(self.device.wait(1, 1, 0), ENODEV);
        check_err!(self.device.register(self.memory[0].address(), 1, 0), ENODEV);
        let events = ready(&self.device, PollFlags::IN, LIFE)?;
        check!(
            events.contains(PollFlags::HUP | PollFlags::ERR),
            "{events:?}"
        );
        // The kernel touches it: a signal would end the test.
        let (_reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        for map in &self.maps {
            for offset in [0, map.length() - 1] {
                let address = map.address() + offset;
                // SAFETY: the kernel only reads it.
                let result = unsafe { raw::transfer(libc::SYS_write, &writer, address, 1, 0) };
                check_err!(result, EFAULT, "a mapping that is gone");
            }
        }
        Ok(())
    }
}

/// Sleeps in WAIT until all its transfers have ended.
fn waiter(card: &Card) -> Outcome<Child> {
    // As much as others have queued before, by bytes: so it sleeps for about as long.
    const COUNT: u32 = 32;
    let asleep = spawn(|| {
        let device = Device::open(&card.path)?;
        let memory = Kind::Anonymous.make(LENGTH)?;
        let all = device.register(memory.address(), LENGTH, 0)?;
        let reads = vec![from_card(all.handle, 0, LENGTH, 0); size(COUNT.into())];
        check_eq!(device.submit(&reads)?, reads.len());
        let records = device.wait(COUNT, COUNT, u64::MAX)?;
        check_eq!(records.len(), reads.len());
        Ok(())
    })?;
    asleep.sleeps_in(&[libc::SYS_ioctl])?;
    Ok(asleep)
}

/// Sleeps in poll() until the card hangs up.
fn poller(card: &Card) -> Outcome<Child> {
    let asleep = spawn(|| {
        let device = Device::open(&card.path)?;
        let events = ready(&device, PollFlags::IN, LIFE)?;
        check_eq!(events, PollFlags::HUP | PollFlags::ERR);
        Ok(())
    })?;
    asleep.sleeps_in(&[libc::SYS_ppoll, libc::SYS_poll])?;
    Ok(asleep)
}

/// Reads the card's memory with its own pages until that is refused.
fn reader(card: &Card) -> Outcome<Child> {
    let begun = Gate::new()?;
    let asleep = spawn(|| {
        let device = Device::open(&card.path)?;
        let memory = Mapping::anonymous(2 * PAGE)?;
        begun.open()?;
        loop {
            match pread(&device, memory.address(), PAGE, 0) {
                Ok(bytes) => check!(bytes > 0 && bytes <= PAGE, "{bytes} bytes"),
                Err(Errno::ENODEV | Errno::EIO) => break,
                Err(error) => fail!("{error:?}"),
            }
        }
        let seen = memory.read(0, 2 * PAGE);
        all_bytes(&seen[PAGE..], 0, "behind the request's memory")?;
        std::thread::sleep(WATCH);
        check!(
            memory.read(0, 2 * PAGE) == seen,
            "it changed after the call"
        );
        Ok(())
    })?;
    begun.pass()?;
    Ok(asleep)
}

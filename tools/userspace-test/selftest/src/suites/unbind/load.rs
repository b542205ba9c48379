// SPDX-License-Identifier: GPL-2.0 OR MIT
//! All that a card can be in the middle of when it goes, at once: open files,
//! mappings of coherent and huge buffers, registered memory, transfers moving
//! and queued, eventfds of records and interrupts, a reader, a waiter and a poller
//! asleep.

use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use rustix::event::PollFlags;
use rustix::pipe::{pipe_with, PipeFlags};

use crate::account::locked;
use crate::child::{spawn, Child, Gate};
use crate::device::{from_card, tagged, Device, COHERENT, HUGE};
use crate::eventfd::Counter;
use crate::guest::Card;
use crate::kinds::{Kind, Memory};
use crate::memory::{Mapping, PAGE};
use crate::outcome::{all_bytes, Outcome};
use crate::poll::{ready, LONG};
use crate::raw::{self, wide};
use crate::requests::pread;

/// Longer than anything takes that the card may still be doing.
const WATCH: Duration = Duration::from_millis(150);
/// Transfers of the file.
const TRANSFERS: usize = 6;
/// Huge pages of the pool that a load takes.
pub(crate) const POOL_PAGES: usize = 2;

/// See the module's documentation.
pub(crate) struct Load {
    device: Device,
    maps: Vec<Mapping>,
    memory: Vec<Memory>,
    children: Vec<Child>,
    /// Of the file's records.
    records: Counter,
    /// How much of VmLck is its registered memory.
    locked: u64,
}

impl Load {
    /// Puts it on a card; the sleepers sleep when this returns. A pool of
    /// [`POOL_PAGES`] must be there.
    pub(crate) fn new(card: &Card) -> Outcome<Self> {
        let before = locked()?;
        let device = Device::open(&card.path)?;
        let mut maps = Vec::new();
        for kind in [COHERENT, HUGE] {
            let buffer = device.alloc(kind, 4 * PAGE)?;
            let map = device.map(&buffer)?;
            map.fill(0..4 * PAGE, 0x12);
            maps.push(map);
        }
        let kinds = [
            Kind::Anonymous,
            Kind::Memfd,
            Kind::HugetlbAnonymous,
            Kind::HugetlbMemfd,
        ];
        let (mut memory, mut transfers) = (Vec::new(), Vec::new());
        for kind in kinds {
            let own = kind.make(8 * PAGE)?;
            let all = device.register(own.address() + 8, own.length() - 16, 0)?;
            transfers.push(from_card(all.handle, 0, PAGE, 0));
            memory.push(own);
        }
        transfers.resize(TRANSFERS, transfers[2]);
        for (number, transfer) in (0..).zip(&mut transfers) {
            *transfer = tagged(*transfer, number);
        }
        let children = vec![
            waiter(&card.path)?,
            poller(&card.path)?,
            reader(&card.path)?,
        ];
        let (records, interrupts) = (Counter::new()?, Counter::new()?);
        device.tell(records.number(), None)?;
        // Closed at once: only the driver has it.
        device.tell(interrupts.number(), Some(0))?;
        check_eq!(device.submit(&transfers)?, TRANSFERS);
        Ok(Self {
            device,
            maps,
            memory,
            children,
            records,
            locked: locked()? - before,
        })
    }

    /// Looks at everything when the card has gone: who slept is awake, each
    /// transfer has ended once, mappings are gone, and the program's own memory
    /// is its own.
    pub(crate) fn check_gone(&mut self) -> Outcome {
        // Whatever the card was doing, it does no more.
        for memory in &self.memory {
            memory.fill(0..memory.length(), 0x5a);
        }
        for child in self.children.drain(..) {
            child.join(LONG)?;
        }
        check_err!(self.device.info(), ENODEV);
        check_err!(self.device.register(self.memory[0].address(), 1, 0), ENODEV);
        let mut tags = Vec::new();
        loop {
            match self.device.wait(1, 4, 0) {
                Ok(records) if records.is_empty() => fail!("success and no record"),
                Ok(records) => {
                    for record in records {
                        check!(matches!(record.result, 0 | -19), "{record:?}");
                        tags.push(record.user_data);
                    }
                }
                Err(Errno::ENODEV) => break,
                Err(error) => fail!("{error:?}"),
            }
        }
        check_eq!(tags, (0..wide(TRANSFERS)).collect::<Vec<_>>());
        check_eq!(self.records.take()?, wide(TRANSFERS), "records counted");
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
        std::thread::sleep(WATCH);
        for memory in &self.memory {
            let bytes = memory.read(0, memory.length());
            all_bytes(&bytes, 0x5a, "memory that was registered")?;
        }
        Ok(())
    }

    /// Closes the file: nothing is locked any more.
    pub(crate) fn close(self) -> Outcome {
        let (open, memory) = (locked()?, self.memory);
        drop((self.maps, self.device));
        check_eq!(locked()? + self.locked, open, "VmLck after close");
        drop(memory);
        Ok(())
    }
}

/// Sleeps in WAIT until all its transfers have ended, and then, on a quick card, in
/// poll() until that goes.
fn waiter(path: &Path) -> Outcome<Child> {
    const COUNT: u32 = 40;
    let asleep = spawn(|| {
        let device = Device::open(path)?;
        let memory = Kind::Anonymous.make(PAGE)?;
        let all = device.register(memory.address(), PAGE, 0)?;
        let reads = vec![from_card(all.handle, 0, 64, 0); usize::try_from(COUNT)?];
        check_eq!(device.submit(&reads)?, reads.len());
        let records = device.wait(COUNT, COUNT, u64::MAX)?;
        check_eq!(records.len(), reads.len());
        // On a slow machine, or a quick card, they have all ended before that goes.
        ready(&device, PollFlags::IN, LONG)?;
        check_err!(device.wait(1, 1, u64::MAX), ENODEV);
        Ok(())
    })?;
    asleep.sleeps_in(&[libc::SYS_ioctl, libc::SYS_ppoll, libc::SYS_poll])?;
    Ok(asleep)
}

/// Sleeps in poll() until the card hangs up.
fn poller(path: &Path) -> Outcome<Child> {
    let asleep = spawn(|| {
        let device = Device::open(path)?;
        let events = ready(&device, PollFlags::IN, LONG)?;
        check_eq!(events, PollFlags::HUP | PollFlags::ERR);
        Ok(())
    })?;
    asleep.sleeps_in(&[libc::SYS_ppoll, libc::SYS_poll])?;
    Ok(asleep)
}

/// Reads the card's memory, with its own pages where the card allows it: only
/// into the memory of the request, and not a byte when the call has returned.
fn reader(path: &Path) -> Outcome<Child> {
    const PLACE: usize = 64;
    let begun = Gate::new()?;
    let asleep = spawn(|| {
        let device = Device::open(path)?;
        let memory = Mapping::anonymous(2 * PAGE)?;
        begun.open()?;
        loop {
            memory.fill(0..2 * PAGE, 0x4e);
            let result = pread(&device, memory.address() + PLACE, PAGE, 0);
            let seen = memory.read(0, 2 * PAGE);
            all_bytes(&seen[..PLACE], 0x4e, "before the request's memory")?;
            all_bytes(&seen[PLACE + PAGE..], 0x4e, "behind the request's memory")?;
            match result {
                Ok(PAGE) => continue,
                // The card went in the middle: what had come is told, or that nothing had.
                Ok(done) => check!(done < PAGE, "{done} bytes"),
                Err(error) => check_eq!(error, Errno::ENODEV),
            }
            std::thread::sleep(WATCH);
            check!(
                memory.read(0, 2 * PAGE) == seen,
                "it changed after the call"
            );
            return Ok(());
        }
    })?;
    begun.pass()?;
    asleep.sleeps_in(&[libc::SYS_pread64])?;
    Ok(asleep)
}

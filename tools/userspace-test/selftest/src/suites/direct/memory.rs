// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What memory the requests are for.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use io_uring::squeue::Flags;
use io_uring::{opcode, types, IoUring};
use nix::sys::resource::{setrlimit, Resource};
use rustix::event::PollFlags;

use super::{is_direct, Ways};
use crate::account::{locked, Account};
use crate::child::spawn;
use crate::device::{from_card, Device, COHERENT, HUGE};
use crate::disk;
use crate::kinds::All;
use crate::memory::{Mapping, Window, HUGE as HUGE_PAGE, PAGE, RO, RW};
use crate::outcome::{all_bytes, same_bytes, Context as _, Outcome};
use crate::poll::{ready, LONG};
use crate::raw::size;
use crate::registry::Context;
use crate::requests::{contents, pread, pwrite, set_contents};

const LENGTH: usize = 2048;

/// Reads into and writes from a part of memory, directly, with the bytes around
/// it watched.
fn both_ways(context: &mut Context, device: &Device, memory: &Window, place: usize) -> Outcome {
    let card = context.bytes(size(device.info()?.out_card_size));
    set_contents(device, &card)?;
    let mut want = context.bytes(memory.length());
    memory.write(0, &want);
    let address = memory.address() + place;
    let before = Ways::of(device)?;
    check_eq!(pread(device, address, LENGTH, 1000), Ok(LENGTH));
    want[place..place + LENGTH].copy_from_slice(&card[1000..1000 + LENGTH]);
    same_bytes(&memory.read(0, memory.length()), &want, "read")?;
    check_eq!(pwrite(device, address, LENGTH, 0), Ok(LENGTH));
    let direct = is_direct(device, address, LENGTH, 0)?;
    check_eq!(
        Ways::of(device)?,
        before.and(direct, LENGTH).and(direct, LENGTH)
    );
    same_bytes(
        &contents(device)?[..LENGTH],
        &want[place..place + LENGTH],
        "written",
    )
}

pub(super) fn kinds(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = Account::now()?;
    let all = All::make(4 * PAGE)?;
    for memory in &all.memory {
        let place = (2 * PAGE - memory.address() % PAGE) - 1000;
        both_ways(context, &device, memory, place).context(|| format!("{:?}", memory.kind()))?;
        before.settle().context(|| format!("{:?}", memory.kind()))?;
    }
    // Memory that nobody has touched: zeros to the card, and the card's bytes into new pages.
    let memory = Mapping::anonymous(4 * PAGE)?;
    check_eq!(pwrite(&device, memory.address() + 8, LENGTH, 0), Ok(LENGTH));
    let card = contents(&device)?;
    all_bytes(&card[..LENGTH], 0, "out of memory that nobody has touched")?;
    let address = memory.address() + 2 * PAGE;
    check_eq!(pread(&device, address, LENGTH, 1024), Ok(LENGTH));
    same_bytes(
        &memory.read(2 * PAGE, LENGTH),
        &card[1024..1024 + LENGTH],
        "new pages",
    )?;
    all_bytes(&memory.read(2 * PAGE + LENGTH, PAGE), 0, "behind")?;
    before.settle()
}

/// A huge buffer is ordinary memory; a coherent one cannot be pinned, and its
/// bytes are copied.
pub(super) fn own(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(HUGE, HUGE_PAGE)?;
    let map = device.map(&buffer)?;
    both_ways(context, &device, &map, 5 * PAGE - 1000)?;
    // The buffer may go in the middle of it: the request has the pages.
    device.free(buffer.handle)?;
    both_ways(context, &device, &map, HUGE_PAGE - LENGTH)?;
    let buffer = device.alloc(COHERENT, 4 * PAGE)?;
    let map = device.map(&buffer)?;
    let card = context.bytes(size(device.info()?.out_card_size));
    set_contents(&device, &card)?;
    let before = Ways::of(&device)?;
    check_eq!(pread(&device, map.address() + 8, LENGTH, 16), Ok(LENGTH));
    check_eq!(
        Ways::of(&device)?,
        before.and(false, LENGTH),
        "coherent memory"
    );
    same_bytes(
        &map.read(8, LENGTH),
        &card[16..16 + LENGTH],
        "into coherent memory",
    )?;
    check_eq!(pwrite(&device, map.address(), LENGTH, 0), Ok(LENGTH));
    device.run_well(&[from_card(buffer.handle, 2 * PAGE, LENGTH, 0)])?;
    same_bytes(
        &map.read(2 * PAGE, LENGTH),
        &map.read(0, LENGTH),
        "out of coherent memory",
    )
}

pub(super) fn read_only(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let card = context.bytes(size(device.info()?.out_card_size));
    set_contents(&device, &card)?;
    let before = Account::now()?;
    let memory = Mapping::anonymous(4 * PAGE)?;
    let bytes = context.bytes(4 * PAGE);
    memory.write(0, &bytes);
    memory.protect(0..2 * PAGE, RO)?;
    memory.protect(3 * PAGE..4 * PAGE, RO)?;
    for length in [512, 2048, 4096] {
        let result = pread(&device, memory.address(), length, 0);
        check_err!(result, EFAULT, "{length} bytes");
        same_bytes(&memory.read(0, 4 * PAGE), &bytes, "read-only memory")?;
    }
    // From what may be written into what may not: no byte beyond.
    let result = pread(&device, memory.address() + 3 * PAGE - 1024, 2048, 0);
    let done = match result {
        Ok(done @ 1..=1024) => done,
        Err(nix::errno::Errno::EFAULT) => 0,
        other => fail!("{other:?}"),
    };
    let mut want = bytes.clone();
    want[3 * PAGE - 1024..3 * PAGE - 1024 + done].copy_from_slice(&card[..done]);
    same_bytes(&memory.read(0, 4 * PAGE), &want, "over the end")?;
    // The other way it is as good as any.
    let ways = Ways::of(&device)?;
    check_eq!(pwrite(&device, memory.address(), 2048, 0), Ok(2048));
    let direct = is_direct(&device, 0, 2048, 0)?;
    check_eq!(Ways::of(&device)?, ways.and(direct, 2048));
    same_bytes(
        &contents(&device)?[..2048],
        &bytes[..2048],
        "out of read-only memory",
    )?;
    before.settle()
}

/// Pinned for a moment only, a file's pages are as good as any; the file sees
/// what was written.
pub(super) fn shared_file(context: &mut Context) -> Outcome {
    let mounted = disk::mount_files("requests")?;
    let path = mounted.path().join("requests");
    let open = || OpenOptions::new().read(true).write(true).open(&path);
    std::fs::write(&path, context.bytes(4 * PAGE))?;
    let device = context.open()?;
    let file = open()?;
    let before = Account::now()?;
    let map = Mapping::of(&file, 0, 4 * PAGE, RW)?;
    both_ways(context, &device, &map, PAGE - 1000)?;
    let want = map.read(0, 4 * PAGE);
    drop(map);
    file.sync_all()?;
    std::fs::write("/proc/sys/vm/drop_caches", "3")?;
    let mut got = vec![0; 4 * PAGE];
    open()?.read_exact_at(&mut got, 0)?;
    same_bytes(&got, &want, "the file on disk")?;
    before.settle()
}

pub(super) fn unlocked(context: &mut Context) -> Outcome {
    let path = context.card().path.clone();
    spawn(|| {
        let mut sets = rustix::thread::capabilities(None)?;
        sets.effective
            .remove(rustix::thread::CapabilitySet::IPC_LOCK);
        rustix::thread::set_capabilities(None, sets)?;
        setrlimit(Resource::RLIMIT_MEMLOCK, 0, 0)?;
        let device = Device::open(&path)?;
        let memory = Mapping::anonymous(PAGE)?;
        let before = Account::now()?;
        let ways = Ways::of(&device)?;
        for _ in 0..3 {
            check_eq!(pread(&device, memory.address(), PAGE, 0), Ok(PAGE));
            check_eq!(locked()?, 0);
        }
        let all = ways.and(true, PAGE).and(true, PAGE).and(true, PAGE);
        check_eq!(Ways::of(&device)?, all);
        before.check()
    })?
    .join(LONG)
}

/// Memory that the kernel names by pages and not by an address goes another
/// way; the bytes are the same. io_uring reads of a file that can be polled only
/// when POLLIN is there, which is about records: so one waits all the while.
pub(super) fn uring(context: &mut Context) -> Outcome {
    let mut ring = match IoUring::new(4) {
        Ok(ring) => ring,
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            skip!("needs a kernel with io_uring")
        }
        Err(error) => return Err(error.into()),
    };
    let device = context.open()?;
    let fd = types::Fd(device.file().as_raw_fd());
    let memory = Mapping::anonymous(4 * PAGE)?;
    let card = context.bytes(size(device.info()?.out_card_size));
    set_contents(&device, &card)?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    check_eq!(device.submit(&[from_card(buffer.handle, 0, 8, 0)])?, 1);
    check_eq!(ready(&device, PollFlags::IN, LONG)?, PollFlags::IN);
    let vector = libc::iovec {
        iov_base: std::ptr::with_exposed_provenance_mut(memory.address()),
        iov_len: memory.length(),
    };
    // SAFETY: the mapping outlives the ring's use of it; no reference to it exists.
    unsafe { ring.submitter().register_buffers(&[vector]) }?;
    let pointer = |offset: usize| -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(memory.address() + offset)
    };
    let length = u32::try_from(LENGTH)?;
    let place = PAGE - 1000;
    let entries = [
        opcode::Read::new(fd, pointer(place), length)
            .offset(100)
            .build(),
        opcode::ReadFixed::new(fd, pointer(place), length, 0)
            .offset(200)
            .build(),
        opcode::Write::new(fd, pointer(place), length)
            .offset(300)
            .build(),
        opcode::WriteFixed::new(fd, pointer(place), length, 0)
            .offset(1000)
            .build(),
    ];
    for (number, entry) in entries.iter().enumerate() {
        memory.fill(0..4 * PAGE, 0x70);
        if number >= 2 {
            memory.write(place, &card[..LENGTH]);
        }
        // SAFETY: the entry names memory and a file that outlive the wait below.
        unsafe { ring.submission().push(&entry.clone().flags(Flags::ASYNC)) }?;
        ring.submit_and_wait(1)?;
        let Some(completion) = ring.completion().next() else {
            fail!("no completion");
        };
        check_eq!(
            completion.result(),
            i32::try_from(LENGTH)?,
            "entry {number}"
        );
        if number < 2 {
            let from = 100 * (number + 1);
            let want = &card[from..from + LENGTH];
            same_bytes(&memory.read(place, LENGTH), want, "by the ring")?;
            all_bytes(&memory.read(place + LENGTH, PAGE), 0x70, "behind")?;
        } else {
            let at = if number == 2 { 300 } else { 1000 };
            let now = contents(&device)?;
            same_bytes(&now[at..at + LENGTH], &card[..LENGTH], "by the ring")?;
        }
    }
    check_eq!(device.collect(1)?[0].result, 0);
    Ok(())
}

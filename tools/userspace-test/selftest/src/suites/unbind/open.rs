// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Open files of a card that has gone.

use std::time::Duration;

use rustix::event::PollFlags;

use super::{check_works, cycles, unbind};
use crate::device::{tagged, to_card, Device, COHERENT};
use crate::memory::{Mapping, PAGE, RO};
use crate::outcome::{all_bytes, Context as _, Outcome};
use crate::poll::{after, ready, LONG};
use crate::raw;
use crate::registry::Context;
use crate::suites::abi;

/// The whole table of calls, each on a file whose card has gone.
pub(super) fn errno(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    let calls = abi::all_calls(&card)?;
    unbind(&card)?;
    for (call, scene, what) in calls.calls() {
        let done = call.make(&scene.device)?;
        check_eq!(done.result, Err(nix::errno::Errno::ENODEV), "{what}");
        check!(
            done.bytes.is_empty() || done.bytes == call.bytes,
            "output was written: {what}"
        );
    }
    let Some((_, scene, _)) = calls.calls().next() else {
        fail!("the table is empty");
    };
    for number in [0, 0x5401, 0xda0a, 0xda10, 0xffff_ffff] {
        // SAFETY: NULL is none of this program's memory.
        let result = unsafe { raw::ioctl(&scene.device, number, 0) };
        check_err!(result, ENODEV, "unknown command {number:#x}");
    }
    Ok(())
}

/// read, write, mmap, poll of a file whose card has gone.
fn check_dead(device: &Device, cookie: u64) -> Outcome {
    check_dead_calls(device, cookie, true)
}

fn check_dead_calls(device: &Device, cookie: u64, writable: bool) -> Outcome {
    let memory = Mapping::anonymous(PAGE)?;
    memory.fill(0..PAGE, 0x44);
    let address = memory.address();
    // Writing to a read-only file is EBADF before the driver is asked.
    let calls = [
        libc::SYS_read,
        libc::SYS_pread64,
        libc::SYS_write,
        libc::SYS_pwrite64,
    ];
    for call in &calls[..if writable { 4 } else { 2 }] {
        for (address, length) in [(address, 8), (0, 8)] {
            // SAFETY: the memory is for it.
            let result = unsafe { raw::transfer(*call, device, address, length, 0) };
            check_err!(result, ENODEV, "call {call} with {address:#x}");
        }
    }
    all_bytes(&memory.read(0, PAGE), 0x44, "memory of calls that failed")?;
    check_err!(Mapping::of(device, cookie, PAGE, RO), ENODEV, "mmap");
    check_err!(
        Mapping::of(device, 0, PAGE, RO),
        ENODEV,
        "mmap of what never was"
    );
    let events = ready(device, PollFlags::IN | PollFlags::OUT, Duration::ZERO)?;
    check!(
        events.contains(PollFlags::HUP | PollFlags::ERR),
        "{events:?}"
    );
    check!(
        !events.intersects(PollFlags::IN | PollFlags::OUT),
        "{events:?}"
    );
    check_err!(device.wait(0, 1, 0), ENODEV, "WAIT");
    check_err!(device.alloc(COHERENT, PAGE), ENODEV, "BUF_ALLOC");
    Ok(())
}

pub(super) fn open_file(context: &mut Context) -> Outcome {
    let mut card = context.card().clone();
    for _ in 0..cycles(context) {
        let device = Device::open(&card.path)?;
        let reader = Device::open_with(&card.path, libc::O_RDONLY | libc::O_NONBLOCK)?;
        let buffer = device.alloc(COHERENT, PAGE)?;
        let theirs = reader.alloc(COHERENT, PAGE)?;
        // Records that nobody has collected are not lost.
        let sent = [
            tagged(to_card(buffer.handle, 0, 8, 0), 1),
            tagged(to_card(buffer.handle, 0, 8, 0), 2),
        ];
        check_eq!(device.submit(&sent)?, 2);
        check_eq!(device.wait(1, 1, u64::MAX)?[0].user_data, 1);
        check_eq!(ready(&device, PollFlags::IN, LONG)?, PollFlags::IN);
        unbind(&card)?;
        let events = ready(&device, PollFlags::IN, Duration::ZERO)?;
        check_eq!(events, PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
        let records = device.wait(1, 8, after(LONG))?;
        check_eq!(records.len(), 1);
        check_eq!((records[0].user_data, records[0].result), (2, 0));
        check_dead(&device, buffer.cookie)?;
        check_dead_calls(&reader, theirs.cookie, false)
            .context(|| "O_RDONLY and O_NONBLOCK".to_owned())?;
        check_err!(device.buffer_info(buffer.handle), ENODEV);
        check_err!(device.free(buffer.handle), ENODEV);
        let gone = crate::guest::fdinfo(&device)?;
        check_eq!(crate::guest::number(&gone, "gone")?, 1);
        drop((device, reader));
        card = card.bind()?;
        check_works(&card)?;
    }
    Ok(())
}

/// CVE-2023-52439: the old file is closed after the new card was bound.
pub(super) fn late_close(context: &mut Context) -> Outcome {
    let mut card = context.card().clone();
    let mut old: Vec<(Device, Mapping, u64)> = Vec::new();
    for round in 0..cycles(context) {
        let device = Device::open(&card.path)?;
        let buffer = device.alloc(COHERENT, PAGE)?;
        let map = device.map(&buffer)?;
        map.set_byte(0, 1);
        unbind(&card)?;
        card = card.bind()?;
        let new = Device::open(&card.path)?;
        let other = new.alloc(COHERENT, PAGE)?;
        // The old file has nothing to do with the new card, nor its handles with the new ones.
        check_dead(&device, buffer.cookie)?;
        check_dead(&device, other.cookie)?;
        map.check_gone(0..PAGE)?;
        old.push((device, map, buffer.cookie));
        // Closed now, one round later, or all at the end.
        if round % 3 == 1 {
            old.remove(0);
        }
        new.run_well(&[to_card(other.handle, 0, 64, 0)])?;
        drop(new);
        check_works(&card)?;
    }
    for (device, map, cookie) in &old {
        check_dead(device, *cookie)?;
        map.check_gone(0..PAGE)?;
    }
    drop(old);
    check_works(&card)
}

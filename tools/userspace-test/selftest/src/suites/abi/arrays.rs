// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Arrays of entries: what is accepted, what is written, what is kept.

use std::mem::offset_of;

use nix::errno::Errno;
use userdma::sys;
use zerocopy::{FromBytes as _, FromZeros as _, IntoBytes as _};

use crate::device::{from_card, tagged, to_card, Device, COHERENT};
use crate::memory::{Mapping, PAGE, RO, RW};
use crate::outcome::{all_bytes, same_bytes, Context as _, Outcome};
use crate::poll::{after, LONG};
use crate::raw::{self, wide, Sys};
use crate::registry::Context;

const ENTRY: usize = size_of::<sys::userdma_transfer>();

/// SUBMIT of an array anywhere; gives `out_count`.
fn submit(device: &Device, address: usize, entry_size: u32, count: u32) -> Sys<u32> {
    let mut submit = sys::userdma_submit::new_zeroed();
    submit.size = sys::size_of::<sys::userdma_submit>();
    submit.entries = wide(address);
    submit.entry_size = entry_size;
    submit.count = count;
    device.ioctl(sys::USERDMA_IOCTL_SUBMIT, &mut submit)?;
    Ok(submit.out_count)
}

/// WAIT into an array anywhere; gives `out_count`.
fn wait(device: &Device, address: usize, entry_size: u32, min: u32, max: u32) -> Sys<u32> {
    let mut wait = sys::userdma_wait::new_zeroed();
    wait.size = sys::size_of::<sys::userdma_wait>();
    wait.entries = wide(address);
    wait.entry_size = entry_size;
    wait.min = min;
    wait.max = max;
    wait.deadline_ns = after(LONG);
    device.ioctl(sys::USERDMA_IOCTL_WAIT, &mut wait)?;
    Ok(wait.out_count)
}

/// A bad entry at each place: those before it are accepted, its error is what
/// a retry from there gives.
pub(super) fn prefix(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    for bad in 0..3 {
        let mut batch: Vec<_> = (0..3)
            .map(|number| tagged(to_card(buffer.handle, 0, 8, 0), number))
            .collect();
        batch[bad].length = 0;
        let accepted = device.submit(&batch);
        if bad == 0 {
            check_eq!(accepted, Err(Errno::EINVAL));
        } else {
            check_eq!(accepted, Ok(bad));
            check_err!(device.submit(&batch[bad..]), EINVAL);
        }
        let records = device.collect(bad)?;
        let numbers: Vec<_> = records.iter().map(|record| record.user_data).collect();
        let want: Vec<_> = (0..wide(bad)).collect();
        check_eq!(numbers, want);
        device.check_idle()?;
    }
    Ok(())
}

/// Entry k partly or wholly in an unmapped page: k are accepted.
pub(super) fn pointer(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let memory = Mapping::anonymous(2 * PAGE)?;
    memory.unmap(PAGE..2 * PAGE)?;
    for (good, spare) in [(0, 0), (0, 1), (0, 63), (1, 0), (2, 32)] {
        let begin = PAGE - good * ENTRY - spare;
        let transfer = to_card(buffer.handle, 0, 8, 0);
        for entry in 0..good {
            memory.write(begin + entry * ENTRY, transfer.as_bytes());
        }
        memory.write(PAGE - spare, &transfer.as_bytes()[..spare]);
        let result = submit(&device, memory.address() + begin, 64, 4);
        let what = || format!("{good} good entries and {spare} bytes");
        if good == 0 {
            check_err!(result, EFAULT, "{}", what());
        } else {
            check_eq!(result, Ok(u32::try_from(good)?), "{}", what());
        }
        device.collect(good)?;
        device.check_idle().context(what)?;
    }
    Ok(())
}

/// count * entry_size wraps 32 bits, or is more than any address space.
pub(super) fn count(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let memory = Mapping::anonymous(PAGE)?;
    // The second entry is all zero and so wrong: operation 0.
    memory.write(0, to_card(buffer.handle, 0, 8, 0).as_bytes());
    for count in [0x0400_0001, 0x8000_0000, u32::MAX] {
        check_eq!(
            submit(&device, memory.address(), 64, count),
            Ok(1),
            "count {count:#x}"
        );
        check_eq!(
            wait(&device, memory.address() + 2048, 64, 1, count),
            Ok(1),
            "max {count:#x}"
        );
        device.check_idle()?;
    }
    Ok(())
}

/// What WAIT writes and keeps.
pub(super) fn records(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let send = |number| device.submit(&[tagged(to_card(buffer.handle, 0, 8, 0), number)]);
    let memory = Mapping::anonymous(2 * PAGE)?;
    memory.unmap(PAGE..2 * PAGE)?;
    let address = memory.address();

    // Larger entries: the record, then zeros; nothing behind the last.
    send(71)?;
    send(72)?;
    memory.fill(0..PAGE, 0xa5);
    check_eq!(wait(&device, address, 80, 2, 4), Ok(2));
    for (place, number) in [(0, 71_u64), (80, 72)] {
        same_bytes(&memory.read(place, 8), &number.to_ne_bytes(), "user_data")?;
        all_bytes(&memory.read(place + 64, 16), 0, "the tail of a record")?;
    }
    all_bytes(&memory.read(160, PAGE - 160), 0xa5, "behind the records")?;

    // Places that cannot be written: EFAULT, and the record is still there.
    send(73)?;
    check_ready(&device)?;
    memory.protect(0..PAGE, RO)?;
    check_err!(wait(&device, address, 64, 1, 1), EFAULT, "read-only memory");
    memory.protect(0..PAGE, RW)?;
    check_err!(wait(&device, 0, 64, 1, 1), EFAULT, "NULL");
    check_err!(
        wait(&device, 0xffff_8880_0010_0000, 64, 1, 1),
        EFAULT,
        "kernel address"
    );
    for mapped in [0, 1, 63] {
        let result = wait(&device, address + PAGE - mapped, 64, 1, 1);
        check_err!(result, EFAULT, "{mapped} bytes mapped");
    }
    check_eq!(wait(&device, address, 64, 1, 1), Ok(1));
    same_bytes(
        &memory.read(0, 8),
        &73_u64.to_ne_bytes(),
        "the record that was kept",
    )?;

    // Room for one, the second in no memory: one is given, the other kept.
    send(74)?;
    send(75)?;
    let result = wait(&device, address + PAGE - 64, 64, 2, 2);
    check_eq!(result, Ok(1), "the second record has no memory");
    same_bytes(
        &memory.read(PAGE - 64, 8),
        &74_u64.to_ne_bytes(),
        "the first",
    )?;
    check_eq!(device.collect(1)?[0].user_data, 75);

    // The structure itself read-only: EFAULT, nothing lost.
    send(76)?;
    check_ready(&device)?;
    let mut argument = sys::userdma_wait::new_zeroed();
    argument.size = sys::size_of::<sys::userdma_wait>();
    argument.entries = wide(address);
    argument.entry_size = 64;
    argument.max = 1;
    memory.write(1024, argument.as_bytes());
    memory.protect(0..PAGE, RO)?;
    // SAFETY: the memory is for this call.
    let result = unsafe { raw::ioctl(&device, sys::USERDMA_IOCTL_WAIT, address + 1024) };
    memory.protect(0..PAGE, RW)?;
    check_err!(result, EFAULT, "WAIT's structure in read-only memory");
    // With the array writable and only the structure not: as much.
    let other = Mapping::anonymous(PAGE)?;
    argument.entries = wide(other.address());
    memory.write(1024, argument.as_bytes());
    memory.protect(0..PAGE, RO)?;
    // SAFETY: as above.
    let result = unsafe { raw::ioctl(&device, sys::USERDMA_IOCTL_WAIT, address + 1024) };
    memory.protect(0..PAGE, RW)?;
    check_err!(result, EFAULT, "only WAIT's structure in read-only memory");
    check_eq!(device.collect(1)?[0].user_data, 76);
    device.check_idle()
}

fn check_ready(device: &Device) -> Outcome {
    let events = crate::poll::ready(device, rustix::event::PollFlags::IN, LONG)?;
    check!(events.contains(rustix::event::PollFlags::IN));
    Ok(())
}

/// The memory of the entries is free again as soon as SUBMIT returns.
pub(super) fn overlap(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let memory = Mapping::anonymous(PAGE)?;
    for number in 0..3 {
        let transfer = tagged(from_card(buffer.handle, 0, 8, 0), 100 + wide(number));
        memory.write(number * ENTRY, transfer.as_bytes());
    }
    check_eq!(submit(&device, memory.address(), 64, 3), Ok(3));
    // The first record overwrites the entries while two are still queued.
    check_eq!(wait(&device, memory.address() + 32, 64, 1, 1), Ok(1));
    memory.fill(0..PAGE, 0xff);
    check_eq!(wait(&device, memory.address(), 64, 2, 2), Ok(2));
    for number in 0..2 {
        let record = memory.read(number * 64, 64);
        let Ok(record) = sys::userdma_completion::read_from_bytes(&record) else {
            fail!("a record is not 64 bytes");
        };
        check_eq!(record.user_data, 101 + wide(number));
        check_eq!(record.result, 0);
        check_eq!(record.bytes, 8);
    }
    check_eq!(offset_of!(sys::userdma_completion, user_data), 0);
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The argument changes while the kernel reads it (CVE-2016-6480).

use std::collections::BTreeSet;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::errno::Errno;
use userdma::sys;
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::call::{Access, Command};
use super::scene::Scene;
use crate::device::{from_card, host_to_host, Device, COHERENT};
use crate::memory::{Mapping, PAGE};
use crate::outcome::{all_bytes, Outcome};
use crate::raw::{self, wide};
use crate::registry::Context;

/// Flips a word between a good and a bad value as fast as it can.
fn flip(word: &AtomicU64, good: u64, bad: u64, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        word.store(bad, Ordering::Relaxed);
        std::hint::spin_loop();
        word.store(good, Ordering::Relaxed);
    }
}

/// The word of `memory` at `offset`, as an atomic.
fn word(memory: &Mapping, offset: usize) -> &AtomicU64 {
    let pointer = std::ptr::with_exposed_provenance_mut(memory.address() + offset);
    // SAFETY: the mapping is aligned, lives as long as the reference, and the word is written by
    // the kernel and through this atomic only.
    unsafe { AtomicU64::from_ptr(pointer) }
}

/// Each call acts on the good or on the bad value, never on a mixture: it
/// succeeds in full or gives the error of the bad value.
pub(super) fn double_fetch(context: &mut Context) -> Outcome {
    let rounds = context.times(5_000);
    let scene = Scene::new(context.card(), Access::ReadWrite)?;
    // (command, place of a 64-bit word, its bad value, the errors that it gives)
    let first = |size: usize, flags: u64| wide(size) | (flags << 32);
    let size = |command: Command| first(command.size(), 0);
    let hole = scene.valid(Command::BufRegister)?.targets.hole;
    let eventfd = scene.valid(Command::Eventfd)?.targets.eventfd;
    let cases: [(Command, usize, u64, &[Errno]); 12] = [
        // The kernel writes the size back too, byte by byte: 4097 and 200 may mix to 1.
        (
            Command::Info,
            0,
            first(PAGE + 1, 0),
            &[Errno::E2BIG, Errno::EINVAL],
        ),
        (
            Command::Info,
            0,
            first(Command::Info.first_size() - 1, 1 << 31),
            &[Errno::EINVAL, Errno::EOPNOTSUPP],
        ),
        (
            Command::BufAlloc,
            offset_of!(sys::userdma_buf_alloc, length),
            0,
            &[Errno::EINVAL],
        ),
        // As above: a length of 0 is a mixture.
        (
            Command::BufAlloc,
            offset_of!(sys::userdma_buf_alloc, length),
            1 << 63,
            &[Errno::EDQUOT, Errno::EINVAL],
        ),
        (Command::BufInfo, 8, 0, &[Errno::ENOENT]),
        (
            Command::BufRegister,
            offset_of!(sys::userdma_buf_register, address),
            hole,
            &[Errno::EFAULT],
        ),
        (
            Command::BufRegister,
            offset_of!(sys::userdma_buf_register, length),
            0,
            &[Errno::EINVAL],
        ),
        (
            Command::BufRegister,
            0,
            first(Command::BufRegister.size(), 1 << 31),
            &[Errno::EOPNOTSUPP],
        ),
        (
            Command::BufSync,
            offset_of!(sys::userdma_buf_sync, offset),
            u64::MAX,
            // A mixture lies beyond the buffer too.
            &[Errno::EOVERFLOW, Errno::ERANGE],
        ),
        (
            Command::BufSync,
            offset_of!(sys::userdma_buf_sync, length),
            wide(3 * PAGE),
            &[Errno::ERANGE, Errno::EINVAL],
        ),
        // With the output beside it: what that holds does not matter.
        (
            Command::Cancel,
            offset_of!(sys::userdma_cancel, channel),
            1 << 31,
            &[Errno::EINVAL],
        ),
        // One bit more than the number of an eventfd, so that there is no mixture.
        (
            Command::Eventfd,
            offset_of!(sys::userdma_eventfd, fd),
            (1 << 30) | u64::try_from(eventfd)?,
            &[Errno::EBADF],
        ),
    ];
    for (command, place, bad, errors) in cases {
        let call = scene.valid(command)?;
        let memory = Mapping::anonymous(2 * PAGE)?;
        memory.write(0, &call.bytes);
        let mut good = [0; 8];
        good.copy_from_slice(&call.bytes[place..place + 8]);
        let good = u64::from_ne_bytes(good);
        check!(place != 0 || good == size(command));
        let stop = AtomicBool::new(false);
        let held = scene.held()?;
        let mut seen = BTreeSet::new();
        std::thread::scope(|scope| -> Outcome {
            scope.spawn(|| flip(word(&memory, place), good, bad, &stop));
            let outcome = calls(&scene, &memory, command, rounds, errors, &mut seen);
            stop.store(true, Ordering::Relaxed);
            outcome
        })?;
        check_eq!(scene.held()?, held);
        println!("{} at {place}: {seen:?}", command.name());
    }
    Ok(())
}

fn calls(
    scene: &Scene,
    memory: &Mapping,
    command: Command,
    rounds: u32,
    errors: &[Errno],
    seen: &mut BTreeSet<String>,
) -> Outcome {
    for _ in 0..rounds {
        // SAFETY: the memory is for this call and the thread that flips a word of it.
        let result = unsafe { raw::ioctl(&scene.device, command.number(), memory.address()) };
        match result {
            Ok(_) => {
                let place = match command {
                    Command::BufAlloc => offset_of!(sys::userdma_buf_alloc, out_handle),
                    Command::BufRegister => offset_of!(sys::userdma_buf_register, out_handle),
                    _ => continue,
                };
                let mut handle = [0; 4];
                handle.copy_from_slice(&memory.read(place, 4));
                scene.device.free(u32::from_ne_bytes(handle))?;
            }
            Err(errno) => {
                check!(errors.contains(&errno), "{} gave {errno:?}", command.name());
            }
        }
        seen.insert(format!("{:?}", result.map(drop)));
    }
    Ok(())
}

/// An entry of a buffer that writes 8 bytes at 16.
type Entry = fn(u32) -> sys::userdma_transfer;

/// The same of an entry of SUBMIT: what was checked is what is done.
pub(super) fn entries(context: &mut Context) -> Outcome {
    /// As many as there are places for, and a few fewer.
    const MOST: usize = 100;
    let rounds = context.times(1_500);
    let path = context.card().path.clone();
    let memory = Mapping::anonymous(PAGE)?;
    // One byte of the word differs, so that there is no mixture of the two.
    let length = offset_of!(sys::userdma_transfer, length);
    let buffer_offset = offset_of!(sys::userdma_transfer, buffer_offset);
    let card_offset = offset_of!(sys::userdma_transfer, card_offset);
    // Two words of 32 bits: the handle, and buffer2.
    let handles = offset_of!(sys::userdma_transfer, buffer);
    let read: Entry = |buffer| from_card(buffer, 16, 8, 0);
    let copy: Entry = |buffer| host_to_host((buffer, 64), (buffer, 16), 8);
    let mut cases = vec![
        (read, length, 0x20 << 8, Errno::ERANGE),
        (read, buffer_offset, 1 << 40, Errno::ERANGE),
        (read, card_offset, 1 << 62, Errno::ERANGE),
        (read, handles, 1 << 31, Errno::ENOENT),
    ];
    if context.open()?.can(sys::USERDMA_CAP_HOST_TO_HOST)? {
        cases.push((copy, card_offset, 1 << 40, Errno::ERANGE));
        cases.push((copy, handles, 1 << 63, Errno::ENOENT));
    }
    for (entry, place, mask, error) in cases {
        let stop = AtomicBool::new(false);
        let (mut seen, mut left) = (BTreeSet::new(), rounds);
        while left > 0 {
            // A new file: what is queued goes with the old one.
            let device = Device::open(&path)?;
            let buffer = device.alloc(COHERENT, PAGE)?;
            let map = device.map(&buffer)?;
            map.fill(0..PAGE, 0x3e);
            memory.write(0, entry(buffer.handle).as_bytes());
            let mut good = [0; 8];
            good.copy_from_slice(&memory.read(place, 8));
            let good = u64::from_ne_bytes(good);
            stop.store(false, Ordering::Relaxed);
            let mut accepted = 0;
            std::thread::scope(|scope| -> Outcome {
                scope.spawn(|| flip(word(&memory, place), good, good ^ mask, &stop));
                let outcome = (|| -> Outcome {
                    while left > 0 && accepted < MOST {
                        left -= 1;
                        let result = submit(&device, &memory);
                        match result {
                            Ok(count) => accepted += count,
                            Err(other) => check_eq!(other, error, "at {place}"),
                        }
                        seen.insert(format!("{result:?}"));
                    }
                    Ok(())
                })();
                stop.store(true, Ordering::Relaxed);
                outcome
            })?;
            if accepted > 0 {
                let record = device.collect(1)?[0];
                check_eq!((record.result, record.bytes), (0, 8));
            }
            all_bytes(&map.read(0, 16), 0x3e, "before")?;
            all_bytes(&map.read(24, PAGE - 24), 0x3e, "behind")?;
        }
        println!("entry at {place}: {seen:?}");
    }
    Ok(())
}

/// SUBMIT of the entry in `memory`.
fn submit(device: &Device, memory: &Mapping) -> raw::Sys<usize> {
    let mut submit = sys::userdma_submit::new_zeroed();
    submit.size = sys::size_of::<sys::userdma_submit>();
    submit.entries = wide(memory.address());
    submit.entry_size = sys::size_of::<sys::userdma_transfer>();
    submit.count = 1;
    device.ioctl(sys::USERDMA_IOCTL_SUBMIT, &mut submit)?;
    Ok(raw::size(submit.out_count.into()))
}

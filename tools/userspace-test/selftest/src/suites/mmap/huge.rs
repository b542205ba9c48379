// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Huge buffers are ordinary memory to everything else in the kernel.

use std::io::Read as _;
use std::os::fd::AsRawFd as _;

use io_uring::{opcode, types, IoUring};
use nix::errno::Errno;
use nix::sys::resource::{getrusage, UsageWho};
use rustix::pipe::{pipe_with, PipeFlags};
use userdma::sys;

use super::smaps;
use crate::child::{spawn, Gate};
use crate::device::{from_card, Buffer, Device, COHERENT, HUGE};
use crate::guest::number;
use crate::memory::{Mapping, HUGE as HUGE_PAGE, PAGE};
use crate::outcome::{all_bytes, same_bytes, Outcome};
use crate::poll::LONG;
use crate::raw::{self, wide};
use crate::registry::Context;

/// 64 MiB, or what the guest's limit allows.
fn large(device: &Device) -> Outcome<Buffer> {
    let limit = raw::size(device.info()?.out_limit_file) / HUGE_PAGE * HUGE_PAGE;
    let length = limit.min(64 << 20);
    if length < 16 << 20 {
        skip!("needs a guest of at least 64 MiB: the limit is a quarter of it");
    }
    Ok(device.alloc(HUGE, length)?)
}

fn minor_faults() -> Outcome<i64> {
    Ok(getrusage(UsageWho::RUSAGE_THREAD)?.minor_page_faults())
}

/// Touches each page, and gives what it cost.
fn faults_of(map: &Mapping, write: bool) -> Outcome<i64> {
    let before = minor_faults()?;
    for offset in (0..map.length()).step_by(PAGE) {
        if write {
            map.set_byte(offset, 0x42);
        } else if map.byte(offset) != 0x42 {
            fail!("byte {offset} is not what was written");
        }
    }
    Ok(minor_faults()? - before)
}

pub(super) fn faults(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = large(&device)?;
    let most = i64::try_from(buffer.length / HUGE_PAGE)?;
    // The program's own pages are in memory after the first time.
    let own = Mapping::anonymous(PAGE)?;
    faults_of(&own, true)?;
    faults_of(&own, false)?;
    // Writing and reading, each page of 4 KiB, in two fresh mappings.
    for write in [true, false] {
        let map = device.map(&buffer)?;
        let faults = faults_of(&map, write)?;
        println!("{faults} faults for {} MiB", map.length() >> 20);
        check!(faults <= most, "{faults} faults, want at most {most}");
    }
    Ok(())
}

pub(super) fn pmd(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(HUGE, 4 * HUGE_PAGE)?;
    let map = device.map(&buffer)?;
    check_eq!(map.address() % HUGE_PAGE, 0, "where the kernel put it");
    map.fill(0..map.length(), 1);
    let kib = u64::try_from(map.length() / 1024)?;
    let entry = smaps(map.address())?;
    check_eq!(number(&entry, "FilePmdMapped")?, kib);
    check_eq!(number(&entry, "Rss")?, kib);
    // Half of a huge page unmapped: it is split, the rest still counts.
    let second = device.map(&buffer)?;
    second.fill(0..second.length(), 2);
    second.unmap(0..HUGE_PAGE / 2)?;
    let rest = smaps(second.address() + HUGE_PAGE / 2)?;
    check_eq!(number(&rest, "FilePmdMapped")?, kib - 2048);
    check_eq!(second.byte(HUGE_PAGE / 2), 2);
    Ok(())
}

/// The pipe holds references to the pages themselves.
pub(super) fn vmsplice(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(HUGE, HUGE_PAGE)?;
    let map = device.map(&buffer)?;
    let bytes = context.bytes(4 * PAGE);
    map.write(0, &bytes);
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the range is mapped, and its bytes may change in the pipe.
    let length = unsafe { raw::vmsplice(&writer, map.address(), 4 * PAGE) }?;
    check_eq!(length, 4 * PAGE);
    let changed = context.bytes(PAGE);
    map.write(PAGE, &changed);
    let mut got = vec![0; 4 * PAGE];
    std::fs::File::from(reader).read_exact(&mut got)?;
    same_bytes(&got[..PAGE], &bytes[..PAGE], "the first page")?;
    same_bytes(&got[PAGE..2 * PAGE], &changed, "a page changed in the pipe")?;
    same_bytes(&got[2 * PAGE..], &bytes[2 * PAGE..], "the others")
}

pub(super) fn process_vm(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(HUGE, HUGE_PAGE)?;
    let map = device.map(&buffer)?;
    let bytes = context.bytes(3 * PAGE);
    map.write(100, &bytes);
    let parent = nix::unistd::getpid().as_raw();
    let done = Gate::new()?;
    let address = map.address();
    let child = spawn(|| {
        let local = Mapping::anonymous(4 * PAGE)?;
        let (here, there, length) = (local.address(), address + 100, bytes.len());
        let (read, write) = (libc::SYS_process_vm_readv, libc::SYS_process_vm_writev);
        // SAFETY: `local` is for this.
        let got = unsafe { raw::process_vm(read, parent, here, there, length) }?;
        check_eq!(got, length);
        same_bytes(
            &local.read(0, length),
            &bytes,
            "read from the other process",
        )?;
        local.fill(0..PAGE, 0x99);
        // SAFETY: the parent's mapping is for this.
        let put = unsafe { raw::process_vm(write, parent, here, there, PAGE) }?;
        check_eq!(put, PAGE);
        done.open()
    })?;
    done.pass()?;
    child.join(LONG)?;
    all_bytes(&map.read(100, PAGE), 0x99, "written by the other process")
}

/// A ring with one fixed buffer: the mapping, which it pins.
fn ring(map: &Mapping) -> Outcome<IoUring> {
    let ring = match IoUring::new(4) {
        Ok(ring) => ring,
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            skip!("needs a kernel with io_uring")
        }
        Err(error) => return Err(error.into()),
    };
    let vector = libc::iovec {
        iov_base: std::ptr::with_exposed_provenance_mut(map.address()),
        iov_len: map.length(),
    };
    // SAFETY: callers keep the memory mapped while the ring uses it, or want to see what comes of
    // it; no reference to it exists.
    unsafe { ring.submitter().register_buffers(&[vector]) }?;
    Ok(ring)
}

/// Runs one entry and gives its result.
fn complete(ring: &mut IoUring, entry: &io_uring::squeue::Entry) -> Outcome<i32> {
    // SAFETY: the entry names memory and files that outlive the wait below.
    unsafe { ring.submission().push(entry) }?;
    ring.submit_and_wait(1)?;
    match ring.completion().next() {
        Some(completion) => Ok(completion.result()),
        None => fail!("no completion"),
    }
}

pub(super) fn uring_fixed(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(HUGE, 2 * HUGE_PAGE)?;
    let map = device.map(&buffer)?;
    let mut ring = ring(&map)?;
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    // Out of one huge page, over a pipe, into the other.
    let bytes = context.bytes(PAGE);
    map.write(HUGE_PAGE - 100, &bytes);
    let pointer = |offset: usize| -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(map.address() + offset)
    };
    let fd = types::Fd(writer.as_raw_fd());
    let length = u32::try_from(PAGE)?;
    let write = opcode::WriteFixed::new(fd, pointer(HUGE_PAGE - 100), length, 0);
    check_eq!(complete(&mut ring, &write.build())?, i32::try_from(PAGE)?);
    let fd = types::Fd(reader.as_raw_fd());
    let read = opcode::ReadFixed::new(fd, pointer(3 * PAGE), length, 0);
    check_eq!(complete(&mut ring, &read.build())?, i32::try_from(PAGE)?);
    same_bytes(&map.read(3 * PAGE, PAGE), &bytes, "through the ring")
}

/// What is pinned stays what it was: not freed, not given to anybody.
pub(super) fn pin_outlives(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(HUGE, HUGE_PAGE)?;
    let map = device.map(&buffer)?;
    let bytes = context.bytes(PAGE);
    map.write(5 * PAGE, &bytes);
    let address = map.address();
    let mut ring = ring(&map)?;
    device.free(buffer.handle)?;
    drop(map);
    // Whoever gets memory now does not get this.
    for _ in 0..8 {
        let other = device.alloc(HUGE, 4 * HUGE_PAGE)?;
        let map = device.map(&other)?;
        all_bytes(&map.read(0, map.length()), 0, "somebody else's new memory")?;
        map.fill(0..map.length(), 0xee);
        drop(map);
        device.free(other.handle)?;
    }
    drop(device);
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let pointer: *const u8 = std::ptr::without_provenance(address + 5 * PAGE);
    let fd = types::Fd(writer.as_raw_fd());
    let write = opcode::WriteFixed::new(fd, pointer, u32::try_from(PAGE)?, 0);
    check_eq!(complete(&mut ring, &write.build())?, i32::try_from(PAGE)?);
    let mut got = vec![0; PAGE];
    std::fs::File::from(reader).read_exact(&mut got)?;
    same_bytes(&got, &bytes, "pinned memory after its buffer has gone")
}

/// PINNABLE is the truth: with it memory can be spliced, without it not.
pub(super) fn coherent_pin(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, 4 * PAGE)?;
    let map = device.map(&buffer)?;
    // Mapped before it is pinned, as a program would have it.
    map.fill(0..4 * PAGE, 0x21);
    let state = device.buffer_info(buffer.handle)?.out_state;
    let (_reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the range is mapped, and its bytes may change in the pipe.
    let result = unsafe { raw::vmsplice(&writer, map.address(), PAGE) };
    if state & sys::USERDMA_BUF_PINNABLE != 0 {
        check_eq!(result, Ok(PAGE));
    } else {
        check_eq!(result, Err(Errno::EFAULT));
    }
    // The card reaches it all the same.
    device.run_well(&[from_card(buffer.handle, PAGE, 64, 0)])?;
    check_eq!(
        device.buffer_info(buffer.handle)?.out_length,
        wide(4 * PAGE)
    );
    Ok(())
}

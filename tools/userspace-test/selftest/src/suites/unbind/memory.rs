// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Mappings, pins and freed memory of a card that has gone.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{FileType, Mode};
use rustix::pipe::{pipe_with, PipeFlags};
use userdma::sys;

use super::{check_works, cycles, unbind};
use crate::child::{spawn, Gate};
use crate::device::{from_card, Buffer, Device, COHERENT, HUGE};
use crate::memory::{Mapping, HUGE as HUGE_PAGE, PAGE, RW};
use crate::outcome::{all_bytes, same_bytes, Outcome};
use crate::poll::LONG;
use crate::raw::{self, wide};
use crate::registry::Context;

fn each_kind(device: &Device) -> Outcome<Vec<Buffer>> {
    let mut buffers = vec![device.alloc(COHERENT, 4 * PAGE)?];
    if device.info()?.out_capabilities & u64::from(sys::USERDMA_CAP_HUGE) != 0 {
        buffers.push(device.alloc(HUGE, 2 * HUGE_PAGE)?);
    }
    Ok(buffers)
}

pub(super) fn mapping(context: &mut Context) -> Outcome {
    let mut card = context.card().clone();
    for _ in 0..cycles(context) {
        let device = Device::open(&card.path)?;
        let mut maps = Vec::new();
        for buffer in each_kind(&device)? {
            // Touched whole, not touched at all, a part, locked, and with a hole.
            let touched = device.map(&buffer)?;
            touched.fill(0..buffer.length, 0x11);
            let untouched = device.map(&buffer)?;
            let part = Mapping::of(&device, buffer.cookie + wide(PAGE), 2 * PAGE, RW)?;
            part.set_byte(0, 1);
            let locked = device.map_read(&buffer)?;
            raw::mlock(locked.address(), locked.length())?;
            let holed = device.map(&buffer)?;
            holed.unmap(PAGE..2 * PAGE)?;
            holed.cover(PAGE..2 * PAGE)?;
            holed.fill(PAGE..2 * PAGE, 0x22);
            device.free(buffer.handle)?;
            maps.push((touched, untouched, part, locked, holed));
        }
        // A child that inherited them looks for itself.
        let (go, begun) = (Gate::new()?, Gate::new()?);
        let child = spawn(|| {
            begun.open()?;
            go.pass()?;
            for (touched, untouched, ..) in &maps {
                touched.check_gone(0..touched.length())?;
                untouched.check_gone(0..untouched.length())?;
            }
            Ok(())
        })?;
        begun.pass()?;
        unbind(&card)?;
        go.open()?;
        child.join(LONG)?;
        let look = || -> Outcome {
            for (touched, untouched, part, locked, holed) in &maps {
                touched.check_gone(0..touched.length())?;
                untouched.check_gone(0..untouched.length())?;
                part.check_gone(0..2 * PAGE)?;
                check_eq!(
                    locked.touch(0, None)?,
                    crate::memory::Touch::Signal(libc::SIGBUS)
                );
                holed.check_gone(0..PAGE)?;
                holed.check_gone(2 * PAGE..holed.length())?;
                all_bytes(&holed.read(PAGE, PAGE), 0x22, "other memory over a part")?;
            }
            Ok(())
        };
        look()?;
        // The kernel's own access fails too, and says so.
        let (_reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let address = maps[0].0.address();
        // SAFETY: the kernel only reads it.
        let result = unsafe { raw::transfer(libc::SYS_write, &writer, address, 8, 0) };
        check_err!(result, EFAULT, "write() from a mapping that is gone");
        card = card.bind()?;
        // Not even a new card brings them back.
        look()?;
        drop(maps);
        drop(device);
        check_works(&card)?;
    }
    Ok(())
}

/// A node made by hand, in another place.
struct Node(std::path::PathBuf);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

pub(super) fn second_inode(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    // On the same file system: others may refuse device nodes.
    let node = Node(card.path.with_file_name("userdma-selftest"));
    let _ = fs::remove_file(&node.0);
    let number = fs::metadata(&card.path)?.rdev();
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &node.0,
        FileType::CharacterDevice,
        mode,
        number,
    )?;
    let devices = [Device::open(&card.path)?, Device::open(&node.0)?];
    let mut maps = Vec::new();
    for device in &devices {
        for buffer in each_kind(device)? {
            let map = device.map(&buffer)?;
            map.fill(0..PAGE, 1);
            maps.push(map);
        }
    }
    unbind(&card)?;
    for map in &maps {
        map.check_gone(0..map.length())?;
    }
    for device in &devices {
        check_err!(device.info(), ENODEV);
    }
    check!(
        Device::open(&node.0).is_err(),
        "a node of nothing could be opened"
    );
    drop(maps);
    drop(devices);
    check_works(&card.bind()?)
}

/// What is in a pipe stays readable; it is memory, not the card's.
pub(super) fn pinned(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    let device = Device::open(&card.path)?;
    let buffer = device.alloc(HUGE, HUGE_PAGE)?;
    let map = device.map(&buffer)?;
    let bytes = context.bytes(8 * PAGE);
    map.write(0, &bytes);
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the range is mapped, and its bytes may change in the pipe.
    let spliced = unsafe { raw::vmsplice(&writer, map.address(), 8 * PAGE) };
    check_eq!(spliced, Ok(8 * PAGE));
    unbind(&card)?;
    map.check_gone(0..HUGE_PAGE)?;
    drop(map);
    drop(device);
    let card = card.bind()?;
    // Memory is taken meanwhile: it must not be that.
    let next = Device::open(&card.path)?;
    for _ in 0..8 {
        let other = next.alloc(HUGE, 2 * HUGE_PAGE)?;
        let theirs = next.map(&other)?;
        all_bytes(&theirs.read(0, theirs.length()), 0, "new memory")?;
        theirs.fill(0..theirs.length(), 0xcc);
        drop(theirs);
        next.free(other.handle)?;
    }
    let mut got = vec![0; 8 * PAGE];
    fs::File::from(reader).read_exact(&mut got)?;
    same_bytes(
        &got,
        &bytes,
        "pages in a pipe, after the card and the buffer have gone",
    )
}

/// Unbound in the middle of a transfer into memory that is free afterwards:
/// whoever has it then sees nothing of it.
pub(super) fn quiet(context: &mut Context) -> Outcome {
    let mut card = context.card().clone();
    for _ in 0..cycles(context) {
        let device = Device::open(&card.path)?;
        let buffer = device.alloc(COHERENT, 64 * PAGE)?;
        let transfers: Vec<_> = (0..64)
            .map(|page| from_card(buffer.handle, page * PAGE, PAGE, 0))
            .collect();
        device.submit(&transfers)?;
        check_eq!(device.wait(1, 1, u64::MAX)?.len(), 1);
        unbind(&card)?;
        drop(device);
        let ours = Mapping::anonymous(24 << 20)?;
        ours.fill(0..ours.length(), 0x5a);
        card = card.bind()?;
        let next = Device::open(&card.path)?;
        let mut maps = Vec::new();
        for _ in 0..64 {
            let map = next.map(&next.alloc(COHERENT, PAGE)?)?;
            all_bytes(&map.read(0, PAGE), 0, "new memory")?;
            map.fill(0..PAGE, 0x5a);
            maps.push(map);
        }
        // The card does one transfer at a time: behind this one, nothing old is left of it.
        check_works(&card)?;
        all_bytes(&ours.read(0, ours.length()), 0x5a, "memory after unbind")?;
        for map in &maps {
            all_bytes(&map.read(0, PAGE), 0x5a, "the next file's memory")?;
        }
    }
    Ok(())
}

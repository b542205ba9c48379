// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Mappings and what they belong to: children, files, buffers, the module.

use super::each_kind;
use crate::child::{spawn, Gate};
use crate::device::{from_card, to_card, Device, COHERENT};
use crate::guest;
use crate::memory::{Mapping, PAGE, RW};
use crate::outcome::{all_bytes, same_bytes, Outcome};
use crate::passing::{receive, send, sockets};
use crate::poll::LONG;
use crate::registry::Context;

pub(super) fn fork(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for buffer in each_kind(&device)? {
        let map = device.map(&buffer)?;
        map.set_byte(0, 1);
        let (go, ready) = (Gate::new()?, Gate::new()?);
        let child = spawn(|| {
            check_eq!(map.byte(0), 1);
            map.set_byte(PAGE, 2);
            // The child's own mapping, and a page that the parent has not touched.
            map.set_byte(2 * PAGE, 3);
            ready.open()?;
            go.pass()?;
            check_eq!(map.byte(1), 4);
            // The card is the child's as well.
            device.run_well(&[
                to_card(buffer.handle, 0, 64, 0),
                from_card(buffer.handle, 3 * PAGE, 64, 0),
            ])
        })?;
        ready.pass()?;
        check_eq!(map.byte(PAGE), 2);
        check_eq!(map.byte(2 * PAGE), 3);
        check_eq!(device.buffer_info(buffer.handle)?.out_mappings, 2);
        map.set_byte(1, 4);
        go.open()?;
        child.join(LONG)?;
        same_bytes(
            &map.read(3 * PAGE, 64),
            &map.read(0, 64),
            "what the child had moved",
        )?;
        check_eq!(device.buffer_info(buffer.handle)?.out_mappings, 1);
    }
    Ok(())
}

pub(super) fn partial_unmap(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for buffer in each_kind(&device)? {
        let map = device.map(&buffer)?;
        let bytes = context.bytes(buffer.length);
        map.write(0, &bytes);
        map.unmap(PAGE..2 * PAGE)?;
        check_eq!(
            map.touch(PAGE, None)?,
            crate::memory::Touch::Signal(libc::SIGSEGV)
        );
        same_bytes(&map.read(0, PAGE), &bytes[..PAGE], "before the hole")?;
        let rest = buffer.length - 2 * PAGE;
        same_bytes(
            &map.read(2 * PAGE, rest),
            &bytes[2 * PAGE..],
            "behind the hole",
        )?;
        map.fill(2 * PAGE..3 * PAGE, 0x3c);
        // All of the buffer is still there for the card and for another mapping.
        let again = device.map(&buffer)?;
        same_bytes(
            &again.read(PAGE, PAGE),
            &bytes[PAGE..2 * PAGE],
            "the hole's bytes",
        )?;
        all_bytes(&again.read(2 * PAGE, PAGE), 0x3c, "through the rest")?;
        drop(again);
        device.run_well(&[from_card(buffer.handle, PAGE, 64, 0)])?;
        // Freed with holes: the parts stay until the last is gone.
        device.free(buffer.handle)?;
        map.unmap(0..PAGE)?;
        same_bytes(
            &map.read(3 * PAGE, PAGE),
            &bytes[3 * PAGE..4 * PAGE],
            "the last part",
        )?;
    }
    Ok(())
}

/// CVE-2026-43434: what lies over a part now is not the driver's.
pub(super) fn covered(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for buffer in each_kind(&device)? {
        let map = device.map(&buffer)?;
        map.fill(0..buffer.length, 0x10);
        map.cover(PAGE..2 * PAGE)?;
        map.fill(PAGE..2 * PAGE, 0x20);
        let other = device.map(&buffer)?;
        all_bytes(
            &other.read(0, buffer.length),
            0x10,
            "the buffer under other memory",
        )?;
        drop(other);
        device.free(buffer.handle)?;
        all_bytes(&map.read(PAGE, PAGE), 0x20, "other memory over the buffer")?;
        all_bytes(&map.read(2 * PAGE, PAGE), 0x10, "the buffer beside it")?;
    }
    Ok(())
}

pub(super) fn free_while_mapped(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let held = device.info()?.out_used_file;
    for buffer in each_kind(&device)? {
        let map = device.map(&buffer)?;
        let bytes = context.bytes(buffer.length);
        map.write(0, &bytes);
        device.free(buffer.handle)?;
        check_err!(device.buffer_info(buffer.handle), ENOENT);
        check_err!(
            Mapping::of(&device, buffer.cookie, PAGE, RW),
            EINVAL,
            "mapped again"
        );
        // It still counts: it still is memory.
        check!(device.info()?.out_used_file >= held + crate::raw::wide(buffer.length));
        for _ in 0..context.times(6) {
            let other = device.alloc(
                if buffer.page_size > 4096 {
                    crate::device::HUGE
                } else {
                    COHERENT
                },
                buffer.length,
            )?;
            let theirs = device.map(&other)?;
            all_bytes(
                &theirs.read(0, other.length),
                0,
                "somebody else's new memory",
            )?;
            theirs.fill(0..other.length, 0xbb);
            drop(theirs);
            device.free(other.handle)?;
        }
        same_bytes(
            &map.read(0, buffer.length),
            &bytes,
            "memory whose buffer is free",
        )?;
        let child = spawn(|| same_bytes(&map.read(0, 64), &bytes[..64], "in a child"))?;
        child.join(LONG)?;
    }
    check_eq!(device.info()?.out_used_file, 0);
    Ok(())
}

pub(super) fn after_close(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let maps: Vec<_> = each_kind(&device)?
        .iter()
        .map(|buffer| device.map(buffer))
        .collect::<Result<_, _>>()?;
    let watcher = context.open()?;
    let total = watcher.info()?.out_used_total;
    drop(device);
    check_eq!(
        watcher.info()?.out_used_total,
        total,
        "mapped memory counts"
    );
    for map in &maps {
        let bytes = context.bytes(map.length());
        map.write(0, &bytes);
        same_bytes(
            &map.read(0, map.length()),
            &bytes,
            "a mapping without a file",
        )?;
    }
    drop(maps);
    check!(watcher.info()?.out_used_total < total);
    Ok(())
}

pub(super) fn module_busy(context: &mut Context) -> Outcome {
    if !guest::is_loaded() || !std::path::Path::new("/sys/module/userdma/refcnt").exists() {
        skip!("needs userdma as a module");
    }
    let device = context.open()?;
    // EAGAIN is what delete_module() gives for a module in use, when asked not to wait.
    check_err!(guest::unload(), EAGAIN, "with an open file");
    for buffer in each_kind(&device)? {
        let map = {
            let other = context.open()?;
            let buffer = other.alloc(
                if buffer.page_size > 4096 {
                    crate::device::HUGE
                } else {
                    COHERENT
                },
                buffer.length,
            )?;
            other.map(&buffer)?
        };
        device.free(buffer.handle)?;
        map.set_byte(0, 1);
    }
    let map = device.map(&device.alloc(COHERENT, PAGE)?)?;
    drop(device);
    check_err!(guest::unload(), EAGAIN, "with a mapping and no open file");
    map.set_byte(0, 1);
    check!(guest::is_loaded());
    Ok(())
}

pub(super) fn passed_file(context: &mut Context) -> Outcome {
    let (ours, theirs) = sockets()?;
    let path = context.card().path.clone();
    // The receiver is there before the file is open, so it has not inherited it.
    let child = spawn(|| {
        let device = receive(&theirs)?;
        let before = device.info()?.out_used_file;
        check_eq!(before, crate::raw::wide(PAGE));
        let buffer = device.alloc(COHERENT, PAGE)?;
        let map = device.map(&buffer)?;
        map.fill(0..64, 0x5d);
        device.run_well(&[to_card(buffer.handle, 0, 64, 0)])?;
        device.free(buffer.handle)?;
        Ok(())
    })?;
    let device = Device::open(&path)?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    send(&ours, &device)?;
    child.join(LONG)?;
    device.run_well(&[from_card(buffer.handle, 0, 64, 0)])?;
    all_bytes(
        &device.map_read(&buffer)?.read(0, 64),
        0x5d,
        "what the other process sent",
    )
}

/// Nothing in the driver needs the process that opened the file.
pub(super) fn owner_died(context: &mut Context) -> Outcome {
    let (ours, theirs) = sockets()?;
    let path = context.card().path.clone();
    let child = spawn(|| {
        let device = Device::open(&path)?;
        let buffer = device.alloc(COHERENT, PAGE)?;
        let transfers: Vec<_> = (0..3).map(|_| to_card(buffer.handle, 0, 64, 0)).collect();
        send(&theirs, &device)?;
        device.submit(&transfers)?;
        // Ends with transfers in flight.
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL)?;
        Ok(())
    })?;
    let device = receive(&ours)?;
    let mut child = child;
    check_eq!(child.wait()?, crate::child::Exit::Signal(libc::SIGKILL));
    // They are the file's, not the process's.
    for record in device.collect(3)? {
        check_eq!(record.result, 0);
    }
    device.check_idle()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    device.run_well(&[from_card(buffer.handle, 0, 64, 0)])
}

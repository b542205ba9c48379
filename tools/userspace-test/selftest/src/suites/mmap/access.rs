// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who may do what to a mapping.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use nix::errno::Errno;

use super::{each_kind, smaps};
use crate::device::{from_card, Device, COHERENT};
use crate::memory::{Mapping, PAGE, RO, RW};
use crate::outcome::{all_bytes, same_bytes, Outcome};
use crate::raw::{self, wide};
use crate::registry::Context;

pub(super) fn refused(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for buffer in each_kind(&device)? {
        let map = |protection, flags| {
            Mapping::with(&device, buffer.cookie, PAGE, protection, flags).map(drop)
        };
        check_err!(map(RO, libc::MAP_PRIVATE), EINVAL, "private, read-only");
        check_err!(map(RW, libc::MAP_PRIVATE), EINVAL, "private, writable");
        check_err!(
            map(RO | libc::PROT_EXEC, libc::MAP_SHARED),
            EPERM,
            "executable"
        );
        check_err!(
            map(RW | libc::PROT_EXEC, libc::MAP_SHARED),
            EPERM,
            "writable, executable"
        );
        check_err!(
            map(libc::PROT_EXEC, libc::MAP_SHARED),
            EPERM,
            "only executable"
        );
        check_eq!(map(libc::PROT_NONE, libc::MAP_SHARED), Ok(()));
        check_eq!(map(RW, libc::MAP_SHARED_VALIDATE), Ok(()));
        for odd in [1, 8, 512, wide(PAGE) - 1] {
            let result = Mapping::of(&device, buffer.cookie + odd, PAGE, RW);
            check_err!(result, EINVAL, "{odd} bytes misaligned");
        }
        let good = device.map(&buffer)?;
        for protection in [libc::PROT_EXEC, RO | libc::PROT_EXEC, RW | libc::PROT_EXEC] {
            check_err!(
                good.protect(0..PAGE, protection),
                EACCES,
                "made executable later"
            );
        }
        good.set_byte(0, 1);
        check_eq!(device.buffer_info(buffer.handle)?.out_mappings, 1);
    }
    Ok(())
}

/// CVE-2020-0009: a file opened for reading only never gives writable memory.
pub(super) fn read_only_file(context: &mut Context) -> Outcome {
    let path = context.card().path.clone();
    // So that there is something to see.
    let bytes = context.bytes(PAGE);
    context.open()?.file().write_all_at(&bytes, 0)?;
    let device = Device::open_with(&path, libc::O_RDONLY)?;
    for buffer in each_kind(&device)? {
        check_err!(
            Mapping::of(&device, buffer.cookie, PAGE, RW),
            EACCES,
            "writable"
        );
        let result = Mapping::of(&device, buffer.cookie, PAGE, libc::PROT_WRITE);
        check_err!(result, EACCES, "only writable");
        let mut map = Mapping::of(&device, buffer.cookie, PAGE, RO)?;
        device.run_well(&[from_card(buffer.handle, 0, PAGE, 0)])?;
        same_bytes(&map.read(0, PAGE), &bytes, "what the card brought")?;
        for protection in [RW, libc::PROT_WRITE, libc::PROT_EXEC, RW | libc::PROT_EXEC] {
            check_err!(
                map.protect(0..PAGE, protection),
                EACCES,
                "mprotect {protection}"
            );
        }
        check_eq!(map.protect(0..PAGE, libc::PROT_NONE), Ok(()));
        check_eq!(map.protect(0..PAGE, RO), Ok(()));
        map.resize(PAGE)?;
        check_err!(map.protect(0..PAGE, RW), EACCES, "after mremap");
        check_eq!(
            map.touch(0, Some(1))?,
            crate::memory::Touch::Signal(libc::SIGSEGV)
        );
        same_bytes(&map.read(0, PAGE), &bytes, "after all that")?;
    }
    Ok(())
}

pub(super) fn write_only_file(context: &mut Context) -> Outcome {
    let device = Device::open_with(&context.card().path, libc::O_WRONLY)?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    for protection in [RO, RW, libc::PROT_WRITE, libc::PROT_NONE] {
        let result = Mapping::of(&device, buffer.cookie, PAGE, protection);
        check_err!(result, EACCES, "protection {protection}");
    }
    Ok(())
}

/// The file may write, so the mapping may be made writable again.
pub(super) fn read_only_map(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for buffer in each_kind(&device)? {
        let map = device.map_read(&buffer)?;
        check_eq!(
            map.touch(0, Some(1))?,
            crate::memory::Touch::Signal(libc::SIGSEGV)
        );
        check_eq!(map.byte(0), 0);
        check_eq!(map.protect(0..PAGE, RW), Ok(()));
        map.set_byte(0, 9);
        check_eq!(map.protect(0..PAGE, RO), Ok(()));
        check_eq!(
            map.touch(0, Some(1))?,
            crate::memory::Touch::Signal(libc::SIGSEGV)
        );
        check_eq!(map.byte(0), 9);
    }
    Ok(())
}

/// A debugger's way to write does not get through either.
pub(super) fn proc_mem(context: &mut Context) -> Outcome {
    let memory = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/proc/self/mem")?;
    let reader = Device::open_with(&context.card().path, libc::O_RDONLY)?;
    for buffer in each_kind(&reader)? {
        let map = reader.map_read(&buffer)?;
        check!(
            memory.write_at(&[1; 64], wide(map.address())).is_err(),
            "it was written"
        );
        all_bytes(&map.read(0, PAGE), 0, "after the attempt")?;
    }
    // Where it may write, a huge buffer behaves as memory does.
    let device = context.open()?;
    if let Some(buffer) = each_kind(&device)?.get(1) {
        let map = device.map(buffer)?;
        check_eq!(memory.write_at(&[7; 64], wide(map.address()))?, 64);
        all_bytes(&map.read(0, 64), 7, "through /proc/self/mem")?;
    }
    Ok(())
}

pub(super) fn vm_flags(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for (number, buffer) in each_kind(&device)?.iter().enumerate() {
        let map = device.map(buffer)?;
        map.set_byte(0, 1);
        let entry = smaps(map.address())?;
        let text = entry.get("VmFlags").cloned().unwrap_or_default();
        let flags: Vec<_> = text.split_whitespace().collect();
        for (flag, name) in [("dd", "not in core dumps"), ("de", "not to be expanded")] {
            check!(flags.contains(&flag), "{name} is missing in '{text}'");
        }
        for (flag, name) in [("dc", "not for children"), ("me", "may be made executable")] {
            check!(!flags.contains(&flag), "{name} is set in '{text}'");
        }
        // Ordinary memory: nothing that keeps get_user_pages away.
        for flag in ["io", "pf", "mm"] {
            check!(
                number == 0 || !flags.contains(&flag),
                "{flag} is set in '{text}'"
            );
        }
    }
    Ok(())
}

pub(super) fn mlock(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for buffer in each_kind(&device)? {
        let map = device.map(&buffer)?;
        let bytes = context.bytes(buffer.length);
        map.write(0, &bytes);
        raw::mlock(map.address(), map.length())?;
        let advices = [
            libc::MADV_DONTNEED,
            libc::MADV_WILLNEED,
            libc::MADV_COLD,
            libc::MADV_FREE,
        ];
        for advice in advices {
            // Whether advice is taken is the kernel's to say; the bytes are ours.
            let _ = raw::madvise(map.address(), map.length(), advice);
        }
        same_bytes(
            &map.read(0, buffer.length),
            &bytes,
            "after mlock and advice",
        )?;
        // Not locked, pages are let go and come back.
        let second = device.map(&buffer)?;
        match raw::madvise(second.address(), second.length(), libc::MADV_DONTNEED) {
            // Frames without reference counts are not advised about.
            Err(Errno::EINVAL) if buffer.page_size == wide(PAGE) => {}
            other => other?,
        }
        same_bytes(
            &second.read(0, buffer.length),
            &bytes,
            "after MADV_DONTNEED",
        )?;
        check!(raw::madvise(map.address(), map.length(), libc::MADV_REMOVE).is_err());
        same_bytes(&map.read(0, buffer.length), &bytes, "after MADV_REMOVE")?;
    }
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Memory that is named by a memfd and an offset in it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use rustix::fs::{
    fallocate, fcntl_add_seals, ftruncate, ioctl_getflags, ioctl_setflags, FallocateFlags, IFlags,
    SealFlags,
};
use userdma::sys;

use super::set_card;
use crate::account::{whole_pages, Account};
use crate::device::{from_card, to_card};
use crate::hugepool::Pool;
use crate::kinds::memfd;
use crate::memory::{Mapping, HUGE, PAGE, RW};
use crate::outcome::{all_bytes, same_bytes, Context as _, Outcome};
use crate::raw::wide;
use crate::registry::Context;
use crate::requests::contents;

/// Any part, whether anybody has mapped it, or even touched it, or not.
pub(super) fn parts(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let _pool = Pool::of(3)?;
    for huge in [false, true] {
        let page = if huge { HUGE } else { PAGE };
        let length = 3 * page;
        let fd = memfd(huge, length)?;
        let there = set_card(context, &device)?;
        let before = Account::now()?;
        // Nobody has touched it yet. Over the end of a page.
        for (offset, bytes) in [
            (page - 300, 1000),
            (0, page),
            (page + 1, page - 1),
            (0, length),
        ] {
            let what = || format!("{bytes} bytes at {offset}, pages of {page}");
            let registered = device.register_memfd(&fd, offset, bytes, 0)?;
            check_eq!(registered.pinned, whole_pages(offset, bytes), "{}", what());
            check_eq!(registered.page_size, wide(page), "{}", what());
            let now = Account::now()?;
            check_eq!(now.locked, before.locked + registered.pinned, "{}", what());
            let count = bytes.min(1000);
            device.run_well(&[from_card(registered.handle, bytes - count, count, 3)])?;
            // Mapped only now.
            let map = Mapping::of(&fd, 0, length, RW)?;
            let end = offset + bytes;
            same_bytes(
                &map.read(end - count, count),
                &there[3..3 + count],
                "the bytes",
            )
            .context(what)?;
            all_bytes(&map.read(0, end - count), 0, "before").context(what)?;
            all_bytes(&map.read(end, length - end), 0, "behind").context(what)?;
            map.fill(0..length, 0);
            device.free(registered.handle)?;
            before.settle().context(what)?;
        }
        // The number may be closed, and name something else.
        let registered = device.register_memfd(&fd, 10, 200, 0)?;
        let map = Mapping::of(&fd, 0, PAGE.max(page), RW)?;
        map.write(10, &there[..200]);
        drop(fd);
        device.run_well(&[to_card(registered.handle, 0, 200, 1000)])?;
        same_bytes(
            &contents(&device)?[1000..1200],
            &there[..200],
            "after close",
        )?;
        device.free(registered.handle)?;
        before.settle()?;
    }
    Ok(())
}

/// A seal against writing is a promise to others, which the card would break.
pub(super) fn sealed(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let _pool = Pool::of(4)?;
    let before = Account::now()?;
    for huge in [false, true] {
        let page = if huge { HUGE } else { PAGE };
        let fd = memfd(huge, 2 * page)?;
        let registered = device.register_memfd(&fd, 0, 2 * page, 0)?;
        let seal = fcntl_add_seals(&fd, SealFlags::WRITE);
        check_eq!(
            seal.map_err(|error| Errno::from_raw(error.raw_os_error())),
            Err(Errno::EBUSY),
            "while the card may write"
        );
        device.free(registered.handle)?;
        before.settle()?;
        fcntl_add_seals(&fd, SealFlags::WRITE)?;
        check_err!(device.register_memfd(&fd, 0, page, 0), EPERM, "sealed");
        let source = sys::USERDMA_REGISTER_SOURCE;
        let registered = device.register_memfd(&fd, 0, page, source)?;
        check_err!(
            device.submit(&[from_card(registered.handle, 0, 1, 0)]),
            EACCES
        );
        device.run_well(&[to_card(registered.handle, 0, 64, 0)])?;
        device.free(registered.handle)?;
        // Against writing that begins from now on.
        let fd = memfd(huge, page)?;
        let registered = device.register_memfd(&fd, 0, page, 0)?;
        fcntl_add_seals(&fd, SealFlags::FUTURE_WRITE)?;
        device.run_well(&[from_card(registered.handle, 0, 64, 0)])?;
        check_err!(
            device.register_memfd(&fd, 0, page, 0),
            EPERM,
            "FUTURE_WRITE"
        );
        device.free(registered.handle)?;
        // The size may be sealed.
        let fd = memfd(huge, page)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let registered = device.register_memfd(&fd, 0, page, 0)?;
        device.run_well(&[from_card(registered.handle, 0, 64, 0)])?;
        device.free(registered.handle)?;
    }
    before.settle()
}

/// What is in it may not change, whoever writes.
pub(super) fn append_only(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let path = "/dev/shm/userdma-append";
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)?;
    std::fs::remove_file(path)?;
    (&file).write_all(&[7; PAGE])?;
    let flags = match ioctl_getflags(&file) {
        Err(rustix::io::Errno::NOTTY) => {
            skip!("needs a tmpfs whose files have flags (CONFIG_TMPFS_XATTR)")
        }
        flags => flags?,
    };
    ioctl_setflags(&file, flags | IFlags::APPEND)?;
    let fd = OwnedFd::from(file);
    let result = device.register_memfd(&fd, 0, PAGE, 0).map(drop);
    let source = sys::USERDMA_REGISTER_SOURCE;
    let read = device.register_memfd(&fd, 0, PAGE, source);
    check_eq!(result, Err(Errno::EPERM));
    let registered = read?;
    device.run_well(&[to_card(registered.handle, 0, 64, 0)])?;
    all_bytes(&contents(&device)?[..64], 7, "what was appended")?;
    Ok(device.free(registered.handle)?)
}

/// The pages leave the file, and the card keeps to the pages: what is in the
/// file afterwards is none of its.
pub(super) fn cut(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let pool = Pool::of(4)?;
    let before = Account::now()?;
    for huge in [false, true] {
        let page = if huge { HUGE } else { PAGE };
        for punch in [false, true] {
            let what = || format!("pages of {page}, punched {punch}");
            let fd = memfd(huge, 2 * page)?;
            let map = Mapping::of(&fd, 0, 2 * page, RW)?;
            let bytes = context.bytes(3000);
            map.write(page, &bytes);
            let registered = device.register_memfd(&fd, page, page, 0)?;
            let there = set_card(context, &device)?;
            if punch {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                fallocate(&fd, flags, wide(page), wide(page))?;
            } else {
                ftruncate(&fd, wide(page))?;
                ftruncate(&fd, wide(2 * page))?;
            }
            all_bytes(&map.read(page, page), 0, "new pages").context(what)?;
            map.fill(page..2 * page, 0x3a);
            device.run_well(&[
                from_card(registered.handle, 1000, 500, 0),
                to_card(registered.handle, 0, 3000, 800),
            ])?;
            let mut want = bytes;
            want[1000..1500].copy_from_slice(&there[..500]);
            same_bytes(&contents(&device)?[800..3800], &want, "the old pages").context(what)?;
            all_bytes(&map.read(page, page), 0x3a, "the file").context(what)?;
            check_err!(
                device.register_memfd(&fd, page, page + 1, 0),
                ERANGE,
                "{}",
                what()
            );
            device.free(registered.handle)?;
            before.settle().context(what)?;
        }
        if huge {
            pool.wait_free(4)?;
        }
    }
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Memory so fragmented that no huge page is left.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nix::mount::{mount, umount2, MntFlags, MsFlags};
use nix::sched::{unshare, CloneFlags};
use userdma::sys;

use crate::device::{Device, HUGE};
use crate::guest::{debug_kernel, meminfo};
use crate::memory::{HUGE as HUGE_PAGE, PAGE};
use crate::outcome::{all_bytes, Outcome};
use crate::raw::{size, wide};
use crate::registry::Context;

/// What stays free above the kernel's own reserve while memory is filled, so
/// that nothing is killed for want of it; in KiB.
const MARGIN: u64 = 24 << 10;

/// A file system whose pages can be neither reclaimed nor moved out of the way.
struct RamFs {
    path: PathBuf,
}

impl RamFs {
    fn mount() -> Outcome<Self> {
        let path = std::env::temp_dir().join("userdma-selftest-ramfs");
        fs::create_dir_all(&path)?;
        let none: Option<&str> = None;
        // For this process alone: if it is killed, the memory is free again.
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("ramfs"), &path, Some("ramfs"), MsFlags::empty(), none)?;
        Ok(Self { path })
    }

    fn create(&self, name: &str) -> Outcome<File> {
        Ok(File::create(self.path.join(name))?)
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RamFs {
    fn drop(&mut self) {
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.path);
    }
}

/// Fills memory with the pages of two files in turns and removes one of them:
/// half of memory is free then, and no two neighbouring pages of it.
pub(in crate::suites) fn fallback(context: &mut Context) -> Outcome {
    if debug_kernel() {
        skip!(
            "KASAN takes pages of its own for what is allocated, and processes are killed for them"
        );
    }
    let device = context.open()?;
    let reserve: u64 = fs::read_to_string("/proc/sys/vm/min_free_kbytes")?
        .trim()
        .parse()?;
    // More than could hide in what stays free, and in what the CPUs keep for themselves.
    let wanted = size((reserve + MARGIN) << 10).next_multiple_of(HUGE_PAGE) + (64 << 20);
    let limit = device.info()?.out_limit_file;
    if limit < wide(wanted) {
        skip!("needs a larger guest: its limit is {limit} bytes, {wanted} are wanted");
    }
    // If something must be killed for memory after all, then this process.
    fs::write("/proc/self/oom_score_adj", "1000")?;
    // Page cache that could be dropped would make room for huge pages.
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    let ram = RamFs::mount()?;
    let (mut keep, mut give) = (ram.create("keep")?, ram.create("give")?);
    let page = vec![0x66; PAGE];
    // These pages cannot lie where contiguous memory is kept.
    while meminfo("MemFree")?.saturating_sub(meminfo("CmaFree").unwrap_or(0)) > reserve + MARGIN {
        for _ in 0..1024 {
            keep.write_all(&page)?;
            give.write_all(&page)?;
        }
    }
    drop(give);
    fs::remove_file(ram.path().join("give"))?;
    let free = meminfo("MemFree")?;
    check!(free > 3 * wide(wanted) / 2048, "only {free} KiB free");

    let plain = device.alloc(HUGE, wanted);
    check_err!(plain, ENOMEM, "{free} KiB are free, in pieces");
    check_eq!(device.info()?.out_used_file, 0);
    let mut request = Device::request(HUGE, wide(wanted), sys::USERDMA_ALLOC_FALLBACK);
    let buffer = device.alloc_with(&mut request)?;
    check_eq!(buffer.length, wanted);
    check!(
        buffer.page_size < wide(HUGE_PAGE),
        "page size {}",
        buffer.page_size
    );
    check!(buffer.page_size >= wide(PAGE) && buffer.page_size.is_power_of_two());
    let info = device.buffer_info(buffer.handle)?;
    check!(info.out_state & sys::USERDMA_BUF_FELL_BACK != 0);
    check_eq!(info.out_page_size, buffer.page_size);
    println!(
        "got pages of {} bytes, {} segments",
        buffer.page_size, buffer.segments
    );

    // It is a buffer like any other.
    let map = device.map(&buffer)?;
    for offset in (0..wanted).step_by(HUGE_PAGE) {
        all_bytes(&map.read(offset, PAGE), 0, "new memory")?;
    }
    let bytes = context.bytes(1024);
    map.write(wanted - 1000, &bytes[..1000]);
    let write = crate::device::to_card(buffer.handle, wanted - 1000, 1000, 8);
    let read = crate::device::from_card(buffer.handle, PAGE - 500, 1000, 8);
    device.run_well(&[write, read])?;
    crate::outcome::same_bytes(
        &map.read(PAGE - 500, 1000),
        &bytes[..1000],
        "over a page's end",
    )?;
    drop(map);
    device.free(buffer.handle)?;

    // With room again, huge pages again.
    drop(keep);
    drop(ram);
    crate::poll::until("huge pages to be had again", || {
        match device.alloc(HUGE, HUGE_PAGE) {
            Ok(buffer) => Ok(device.free(buffer.handle).map(|()| true)?),
            Err(nix::errno::Errno::ENOMEM) => Ok(false),
            Err(error) => fail!("{error:?}"),
        }
    })
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! O_DIRECT: the disk writes into the buffer, past the page cache.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::device::{from_card, to_card, Device, HUGE};
use crate::disk::{mount_files, scratch};
use crate::memory::{Mapping, HUGE as HUGE_PAGE};
use crate::outcome::{same_bytes, Outcome};
use crate::raw;
use crate::registry::Context;

/// What is written and read.
const LENGTH: usize = 4 << 20;

/// Writes random bytes to `path` and reads them back with O_DIRECT, into the
/// middle of a huge buffer, at once and in pieces.
fn read_back(context: &mut Context, path: &Path) -> Outcome {
    let bytes = context.bytes(LENGTH);
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    drop(file);
    // So that only the disk has them.
    fs::write("/proc/sys/vm/drop_caches", "3")?;

    let device = context.open()?;
    let buffer = device.alloc(HUGE, 8 << 20)?;
    let map = device.map(&buffer)?;
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)?;
    // Over the ends of huge pages.
    let place = HUGE_PAGE / 2;
    read_into(&file, &map, place, LENGTH)?;
    same_bytes(
        &map.read(place, LENGTH),
        &bytes,
        "what the disk wrote into the buffer",
    )?;
    file.seek(SeekFrom::Start(0))?;
    map.fill(0..map.length(), 0);
    let (place, mut done) = (2 * HUGE_PAGE - 8192, 0);
    for piece in [512, 4096, 1 << 20, 65536, 3 << 19] {
        read_into(&file, &map, place + done, piece)?;
        done += piece;
    }
    let got = map.read(place, done);
    same_bytes(&got, &bytes[..done], "the same in pieces")?;
    through_card(&device, buffer.handle, &map, place)
}

fn read_into(file: &File, map: &Mapping, place: usize, length: usize) -> Outcome {
    let mut done = 0;
    check!(place + length <= map.length());
    while done < length {
        let address = map.address() + place + done;
        // SAFETY: the range is in the mapping, to which nothing refers.
        let got = unsafe { raw::transfer(libc::SYS_read, file, address, length - done, 0) }?;
        check!(got > 0, "end of file after {done} of {length} bytes");
        done += got;
    }
    Ok(())
}

/// From the disk to the card without a copy by the CPU: the point of it all.
fn through_card(device: &Device, handle: u32, map: &Mapping, place: usize) -> Outcome {
    let bytes = map.read(place + 4096, 1024);
    device.run_well(&[
        to_card(handle, place + 4096, 1024, 0),
        from_card(handle, 0, 1024, 0),
    ])?;
    same_bytes(
        &map.read(0, 1024),
        &bytes,
        "from the disk, through the card",
    )
}

pub(super) fn block_device(context: &mut Context) -> Outcome {
    let path = scratch()?;
    read_back(context, &path)
}

pub(super) fn file(context: &mut Context) -> Outcome {
    let mounted = mount_files("direct")?;
    let path = mounted.path().join("direct");
    File::create(&path)?;
    let outcome = read_back(context, &path);
    fs::remove_file(&path)?;
    outcome
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The file position and the end of the card's memory.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use crate::memory::{Mapping, PAGE};
use crate::outcome::{all_bytes, same_bytes, Outcome};
use crate::raw::{self, size, Sys};
use crate::registry::Context;
use crate::requests::{contents, pread, pwrite, set_contents};

fn read(device: &crate::device::Device, memory: &Mapping, length: usize) -> Sys<usize> {
    // SAFETY: the memory is for it.
    unsafe { raw::transfer(libc::SYS_read, device, memory.address(), length, 0) }
}

fn write(device: &crate::device::Device, memory: &Mapping, length: usize) -> Sys<usize> {
    // SAFETY: the kernel only reads it.
    unsafe { raw::transfer(libc::SYS_write, device, memory.address(), length, 0) }
}

pub(super) fn position(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let mut file = device.file();
    let bytes = context.bytes(48);
    file.write_all(&bytes[..16])?;
    file.write_all(&bytes[16..])?;
    check_eq!(file.stream_position()?, 48);
    // The p forms leave it alone.
    let memory = Mapping::anonymous(PAGE)?;
    check_eq!(pread(&device, memory.address(), 8, 0), Ok(8));
    check_eq!(pwrite(&device, memory.address(), 8, 200), Ok(8));
    check_eq!(file.stream_position()?, 48);
    file.seek(SeekFrom::Start(0))?;
    let mut got = [0; 48];
    file.read_exact(&mut got[..20])?;
    file.read_exact(&mut got[20..])?;
    same_bytes(&got, &bytes, "read in other pieces than written")?;
    // A call that fails or does nothing does not move it.
    // SAFETY: NULL is none of this program's memory.
    let result = unsafe { raw::transfer(libc::SYS_read, &device, 0, 8, 0) };
    check_err!(result, EFAULT);
    check_eq!(read(&device, &memory, 0), Ok(0));
    check_eq!(file.stream_position()?, 48);
    Ok(())
}

pub(super) fn ends(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let end = size(device.info()?.out_card_size);
    let last = i64::try_from(end)?;
    let mut card = context.bytes(end);
    set_contents(&device, &card)?;
    let memory = Mapping::anonymous(4 * PAGE)?;
    let address = memory.address();

    // Short counts before the end, nothing at it and past it.
    for (before, length) in [(1, 1), (1, 2), (1, 4096), (10, 4096), (4095, 8192)] {
        memory.fill(0..4 * PAGE, 0xaa);
        let offset = last - i64::try_from(before)?;
        let want = before.min(length);
        check_eq!(
            pread(&device, address, length, offset),
            Ok(want),
            "{length} at end-{before}"
        );
        same_bytes(
            &memory.read(0, want),
            &card[end - before..][..want],
            "at the end",
        )?;
        all_bytes(&memory.read(want, PAGE), 0xaa, "behind a short read")?;
    }
    for past in [0, 1, 4096, 1 << 32, i64::MAX - last - 4096] {
        check_eq!(
            pread(&device, address, 8, last + past),
            Ok(0),
            "read at end+{past}"
        );
        check_err!(
            pwrite(&device, address, 8, last + past),
            ENOSPC,
            "write at end+{past}"
        );
        check_eq!(
            pread(&device, address, 0, last + past),
            Ok(0),
            "read nothing"
        );
        check_eq!(
            pwrite(&device, address, 0, last + past),
            Ok(0),
            "write nothing"
        );
    }
    for (before, length) in [(1, 2), (7, 4096)] {
        memory.fill(0..PAGE, 0x70 + u8::try_from(before)?);
        let offset = last - i64::try_from(before)?;
        check_eq!(
            pwrite(&device, address, length, offset),
            Ok(before),
            "{length} at end-{before}"
        );
        card[end - before..].fill(0x70 + u8::try_from(before)?);
    }
    // Nothing wrapped around to the beginning.
    same_bytes(&contents(&device)?, &card, "the card")?;

    // The same by position: a loop as every program has it comes to an end.
    let mut file = device.file();
    file.seek(SeekFrom::End(-100))?;
    check_eq!(read(&device, &memory, 60), Ok(60));
    check_eq!(read(&device, &memory, 60), Ok(40));
    check_eq!(read(&device, &memory, 60), Ok(0));
    check_err!(write(&device, &memory, 1), ENOSPC);
    check_eq!(file.stream_position()?, u64::try_from(end)?);
    // More than any call may move is cut, not refused.
    let huge = Mapping::anonymous(end + PAGE)?;
    check_eq!(pread(&device, huge.address(), end + PAGE, 0), Ok(end));
    Ok(())
}

pub(super) fn seek(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let end = i64::try_from(device.info()?.out_card_size)?;
    let to = |offset, whence| raw::lseek(&device, offset, whence);
    let at = |offset: i64| Ok(usize::try_from(offset).unwrap_or(usize::MAX));
    check_eq!(to(0, libc::SEEK_CUR), Ok(0));
    check_eq!(to(100, libc::SEEK_SET), Ok(100));
    check_eq!(to(-30, libc::SEEK_CUR), Ok(70));
    check_eq!(to(0, libc::SEEK_END), at(end));
    check_eq!(to(-1, libc::SEEK_END), at(end - 1));
    check_eq!(to(-end, libc::SEEK_END), Ok(0));
    check_err!(to(-1, libc::SEEK_SET), EINVAL);
    check_err!(to(i64::MIN, libc::SEEK_SET), EINVAL);
    check_err!(to(-1, libc::SEEK_CUR), EINVAL);
    check_err!(to(-end - 1, libc::SEEK_END), EINVAL);
    for whence in [libc::SEEK_DATA, libc::SEEK_HOLE, 5, 99, -1] {
        check_err!(to(0, whence), EINVAL, "whence {whence}");
    }
    check_eq!(to(0, libc::SEEK_CUR), Ok(0), "after what was refused");
    // Past the end one may stand, as on a block device or not at all; but never wrap.
    check_eq!(to(5, libc::SEEK_SET), Ok(5));
    for (offset, whence) in [
        (i64::MAX, libc::SEEK_SET),
        (i64::MAX, libc::SEEK_CUR),
        (i64::MAX, libc::SEEK_END),
        (end + 1, libc::SEEK_SET),
    ] {
        let before = to(0, libc::SEEK_CUR)?;
        match to(offset, whence) {
            Ok(place) => {
                check!(
                    i64::try_from(place)? >= end,
                    "{offset} from {whence} is at {place}"
                );
                let memory = Mapping::anonymous(PAGE)?;
                check_eq!(read(&device, &memory, 8), Ok(0), "read at {place}");
                check_err!(write(&device, &memory, 8), ENOSPC);
                check_eq!(to(5, libc::SEEK_SET), Ok(5));
            }
            Err(nix::errno::Errno::EINVAL | nix::errno::Errno::EOVERFLOW) => {
                check_eq!(to(0, libc::SEEK_CUR), Ok(before));
            }
            Err(error) => fail!("{offset} from {whence}: {error:?}"),
        }
    }
    Ok(())
}

pub(super) fn offsets(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let memory = Mapping::anonymous(PAGE)?;
    let address = memory.address();
    for offset in [-1, -4096, i64::MIN] {
        check_err!(
            pread(&device, address, 8, offset),
            EINVAL,
            "pread at {offset}"
        );
        check_err!(
            pwrite(&device, address, 8, offset),
            EINVAL,
            "pwrite at {offset}"
        );
    }
    // Offset and length together pass the greatest offset there is.
    for length in [8, PAGE] {
        let result = pread(&device, address, length, i64::MAX - 4);
        let fine = matches!(
            result,
            Ok(0) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::EOVERFLOW)
        );
        check!(fine, "pread of {length} at the greatest offset: {result:?}");
        let result = pwrite(&device, address, length, i64::MAX - 4);
        check!(
            result.is_err(),
            "pwrite of {length} at the greatest offset: {result:?}"
        );
    }
    // A length that is negative to the kernel.
    for length in [usize::MAX, 1 << 63] {
        let result = pread(&device, address, length, 0);
        check!(result.is_err(), "pread of {length:#x}: {result:?}");
    }
    all_bytes(&memory.read(0, PAGE), 0, "memory that was not read into")
}

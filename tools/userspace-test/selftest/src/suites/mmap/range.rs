// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Offsets and lengths.

use nix::errno::Errno;

use super::each_kind;
use crate::device::{Buffer, COHERENT};
use crate::memory::{Mapping, HUGE, PAGE, RO, RW};
use crate::outcome::{same_bytes, Context as _, Outcome};
use crate::raw::wide;
use crate::registry::Context;

pub(super) fn whole_and_part(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for buffer in each_kind(&device)? {
        let whole = device.map(&buffer)?;
        let bytes = context.bytes(buffer.length);
        whole.write(0, &bytes);
        let pages = buffer.length / PAGE;
        for (first, count) in [(0, 1), (1, 2), (pages - 1, 1), (1, pages - 1), (0, pages)] {
            let (offset, length) = (first * PAGE, count * PAGE);
            let part = Mapping::of(&device, buffer.cookie + wide(offset), length, RW)?;
            same_bytes(
                &part.read(0, length),
                &bytes[offset..offset + length],
                "the part",
            )
            .context(|| format!("{count} pages from page {first}"))?;
            let new = context.bytes(16);
            part.write(length - 16, &new);
            same_bytes(
                &whole.read(offset + length - 16, 16),
                &new,
                "through the whole",
            )?;
            part.write(length - 16, &bytes[offset + length - 16..offset + length]);
        }
        // A length that is not a whole page maps the whole page.
        let odd = Mapping::of(&device, buffer.cookie, PAGE + 1, RO)?;
        check_eq!(odd.length(), PAGE + 1);
        same_bytes(&odd.read(0, PAGE + 1), &bytes[..=PAGE], "an odd length")?;
    }
    Ok(())
}

/// What the end allows is mapped, what it does not is refused, nothing else
/// happens.
pub(super) fn grid(context: &mut Context) -> Outcome {
    let device = context.open()?;
    // One at a time, or the next one's offsets would be behind the end.
    let buffers = each_kind(&device)?;
    for buffer in &buffers[1..] {
        device.free(buffer.handle)?;
    }
    for old in buffers {
        let buffer = match device.buffer_info(old.handle) {
            Ok(_) => old,
            Err(_) => device.alloc(kind_of(&old), old.length)?,
        };
        let end = wide(buffer.length);
        let page = wide(PAGE);
        let offsets = [
            0,
            page,
            end - 2 * page,
            end - page,
            end,
            end + page,
            end + wide(HUGE),
        ];
        let lengths = [
            1,
            page - 1,
            page,
            page + 1,
            2 * page,
            end - page,
            end - 1,
            end,
            end + 1,
            end + page,
            1 << 31,
            1 << 32,
            1 << 44,
            1 << 46,
            u64::MAX - 2 * page,
            u64::MAX - page,
            u64::MAX,
        ];
        let before = device.buffer_info(buffer.handle)?.out_mappings;
        for offset in offsets {
            for length in lengths {
                let fits = length
                    .checked_next_multiple_of(page)
                    .and_then(|length| offset.checked_add(length))
                    .is_some_and(|last| last <= end);
                let length = crate::raw::size(length);
                let result = Mapping::of(&device, buffer.cookie + offset, length, RW);
                let what = format!("offset {offset:#x}, length {length:#x} of {end:#x}");
                match result {
                    Ok(map) => {
                        check!(fits, "mapped: {what}");
                        map.set_byte(length - 1, 1);
                        check_eq!(device.buffer_info(buffer.handle)?.out_mappings, before + 1);
                    }
                    // More than the addresses there are is refused before the driver is asked.
                    Err(Errno::ENOMEM | Errno::EOVERFLOW) if length > 1 << 45 => {}
                    Err(error) => {
                        check!(!fits, "refused with {error:?}: {what}");
                        check_eq!(error, Errno::EINVAL, "{what}");
                    }
                }
                check_eq!(
                    device.buffer_info(buffer.handle)?.out_mappings,
                    before,
                    "{what}"
                );
            }
        }
        check_err!(
            Mapping::of(&device, buffer.cookie, 0, RW),
            EINVAL,
            "length 0"
        );
        device.free(buffer.handle)?;
        check_err!(
            Mapping::of(&device, buffer.cookie, PAGE, RW),
            EINVAL,
            "freed"
        );
    }
    Ok(())
}

fn kind_of(buffer: &Buffer) -> u32 {
    if buffer.page_size > wide(PAGE) {
        crate::device::HUGE
    } else {
        COHERENT
    }
}

pub(super) fn cookies(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let other = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let theirs = other.alloc(COHERENT, PAGE)?;
    let first = userdma::sys::USERDMA_MMAP_BUFFERS;
    let end = userdma::sys::USERDMA_MMAP_END;
    let huge = wide(HUGE);
    let mut tried = vec![
        0,
        wide(PAGE),
        1 << 40,
        first - wide(PAGE),
        end - huge,
        end,
        end + huge,
    ];
    tried.extend([1 << 62, 1 << 63, u64::MAX - wide(PAGE) + 1]);
    // Neighbours of a real one, and of one that another file has.
    tried.extend([
        buffer.cookie - huge,
        buffer.cookie + huge,
        buffer.cookie + 64 * huge,
    ]);
    tried.extend([
        buffer.cookie ^ (1 << 35),
        buffer.cookie | (1 << 43) | (1 << 39),
    ]);
    if theirs.cookie != buffer.cookie {
        tried.push(theirs.cookie);
    }
    for cookie in tried {
        if cookie == buffer.cookie {
            continue;
        }
        let result = Mapping::of(&device, cookie, PAGE, RW).map(drop);
        // The last page of all wraps, which the kernel sees by itself.
        if cookie.checked_add(wide(PAGE)).is_none() {
            check_err!(result, EOVERFLOW);
            continue;
        }
        // No region can be mapped with this ABI version.
        check_err!(
            result,
            EINVAL,
            "offset {cookie:#x} (the buffer's is {:#x})",
            buffer.cookie
        );
    }
    // The same number names another buffer in another file.
    let (a, b) = (device.map(&buffer)?, other.map(&theirs)?);
    a.fill(0..PAGE, 1);
    check_eq!(b.byte(0), 0);
    Ok(())
}

pub(super) fn grow(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for buffer in each_kind(&device)? {
        let mut map = Mapping::of(&device, buffer.cookie, 2 * PAGE, RW)?;
        map.fill(0..2 * PAGE, 0x77);
        for pages in [3, 4, 100] {
            check_err!(map.resize(pages * PAGE), EFAULT, "from 2 to {pages} pages");
        }
        map.resize(PAGE)?;
        check_err!(map.resize(2 * PAGE), EFAULT, "back to what it was");
        check_eq!(map.byte(PAGE - 1), 0x77);
        check_eq!(device.buffer_info(buffer.handle)?.out_mappings, 1);
    }
    Ok(())
}

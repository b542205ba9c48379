// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Requests in pieces.

use std::io::{Seek as _, SeekFrom};

use super::{is_direct, Ways};
use crate::memory::{Mapping, PAGE, RO};
use crate::outcome::{all_bytes, same_bytes, Outcome};
use crate::raw::{self, size};
use crate::registry::Context;
use crate::requests::{contents, set_contents, vector, vectored};

/// Every form of a large request, and what becomes of the position.
pub(super) fn forms(context: &mut Context) -> Outcome {
    const LENGTH: usize = 1024;
    let device = context.open()?;
    let end = size(device.info()?.out_card_size);
    let mut card = vec![0; end];
    set_contents(&device, &card)?;
    let memory = Mapping::anonymous(2 * PAGE)?;
    let direct = is_direct(&device, 0, LENGTH, 0)?;
    let whole = memory.address();
    let pieces = [
        vector(&memory, 0, 512),
        vector(&memory, PAGE, 0),
        vector(&memory, PAGE - 256, 512),
    ];
    let array = pieces.as_ptr().expose_provenance();
    let mut file = device.file();
    let forms = [
        (libc::SYS_write, libc::SYS_read, whole, LENGTH, true),
        (libc::SYS_pwrite64, libc::SYS_pread64, whole, LENGTH, false),
        (libc::SYS_writev, libc::SYS_readv, array, pieces.len(), true),
        (
            libc::SYS_pwritev,
            libc::SYS_preadv,
            array,
            pieces.len(),
            false,
        ),
    ];
    for (round, (write, read, address, count, moves)) in forms.into_iter().enumerate() {
        let (position, place) = (64, 128 + 700 * round);
        let place = if moves { position } else { place };
        let at = i64::try_from(place)?;
        let bytes = context.bytes(LENGTH);
        // As the form takes it from memory.
        let give = |bytes: &[u8]| {
            if count == LENGTH {
                memory.write(0, bytes);
            } else {
                memory.write(0, &bytes[..512]);
                memory.write(PAGE - 256, &bytes[512..]);
            }
        };
        let take = || match count {
            LENGTH => memory.read(0, LENGTH),
            _ => [memory.read(0, 512), memory.read(PAGE - 256, 512)].concat(),
        };
        give(&bytes);
        file.seek(SeekFrom::Start(64))?;
        let before = Ways::of(&device)?;
        // SAFETY: the kernel only reads the memory.
        let done = unsafe { raw::transfer(write, &device, address, count, at) };
        check_eq!(done, Ok(LENGTH), "call {write}");
        check_eq!(
            Ways::of(&device)?,
            before.and(direct, LENGTH),
            "call {write}"
        );
        let moved = if moves { 64 + raw::wide(LENGTH) } else { 64 };
        check_eq!(file.stream_position()?, moved, "call {write}");
        card[place..place + LENGTH].copy_from_slice(&bytes);
        give(&[0; LENGTH]);
        file.seek(SeekFrom::Start(64))?;
        let before = Ways::of(&device)?;
        // SAFETY: the memory is for it.
        let done = unsafe { raw::transfer(read, &device, address, count, at) };
        check_eq!(done, Ok(LENGTH), "call {read}");
        check_eq!(
            Ways::of(&device)?,
            before.and(direct, LENGTH),
            "call {read}"
        );
        check_eq!(file.stream_position()?, moved, "call {read}");
        same_bytes(&take(), &bytes, "read back")?;
    }
    same_bytes(&contents(&device)?, &card, "the card in the end")
}

pub(super) fn many(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let end = size(device.info()?.out_card_size);
    let memory = Mapping::anonymous(16 * PAGE)?;
    let bytes = context.bytes(end);
    // In one page, over pages, and out of order; the card takes its time for each piece. Then as
    // many as there may be, which are misaligned and copied.
    let shapes: [(usize, usize, usize); 5] = [
        (4, 128, 128),
        (6, 256, 4096 + 256),
        (4, 1024, 8192 - 512),
        (5, 256, 256),
        (1024, 3, 3),
    ];
    for (count, piece, stride) in shapes {
        let place = |number: usize| number * stride % (15 * PAGE);
        let pieces: Vec<_> = (0..count)
            .map(|number| vector(&memory, place(number), piece))
            .collect();
        let length = count * piece;
        memory.fill(0..memory.length(), 0);
        for (number, part) in bytes[..length].chunks(piece).enumerate() {
            memory.write(place(number), part);
        }
        let direct = is_direct(&device, piece | stride, length, 0)?;
        let before = Ways::of(&device)?;
        check_eq!(
            vectored(libc::SYS_pwritev, &device, &pieces, 0),
            Ok(length),
            "{count} pieces of {piece}"
        );
        check_eq!(
            Ways::of(&device)?,
            before.and(direct, length),
            "pieces of {piece}"
        );
        same_bytes(&contents(&device)?[..length], &bytes[..length], "written")?;
        memory.fill(0..memory.length(), 0x44);
        check_eq!(
            vectored(libc::SYS_preadv, &device, &pieces, 0),
            Ok(length),
            "{count} pieces of {piece}"
        );
        let mut want = vec![0x44; memory.length()];
        for (number, part) in bytes[..length].chunks(piece).enumerate() {
            want[place(number)..place(number) + piece].copy_from_slice(part);
        }
        same_bytes(&memory.read(0, memory.length()), &want, "read")?;
    }
    Ok(())
}

/// A bad piece in the middle: what was before it counts; all of it, if it is
/// first; and what lies behind it is not touched.
pub(super) fn bad(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let card = context.bytes(size(device.info()?.out_card_size));
    set_contents(&device, &card)?;
    let memory = Mapping::anonymous(6 * PAGE)?;
    memory.unmap(2 * PAGE..3 * PAGE)?;
    memory.protect(4 * PAGE..5 * PAGE, RO)?;
    let good = vector(&memory, 0, 1024);
    let last = vector(&memory, 5 * PAGE, 512);
    for (what, piece) in [
        ("a hole", vector(&memory, 2 * PAGE, 1024)),
        (
            "NULL",
            libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 1024,
            },
        ),
        ("read-only", vector(&memory, 4 * PAGE, 1024)),
    ] {
        memory.fill(0..2 * PAGE, 0x61);
        memory.fill(5 * PAGE..6 * PAGE, 0x62);
        let result = vectored(libc::SYS_preadv, &device, &[good, piece, last], 0);
        check_eq!(result, Ok(1024), "{what}");
        same_bytes(&memory.read(0, 1024), &card[..1024], what)?;
        all_bytes(&memory.read(1024, 2 * PAGE - 1024), 0x61, what)?;
        all_bytes(&memory.read(5 * PAGE, PAGE), 0x62, what)?;
        let result = vectored(libc::SYS_preadv, &device, &[piece, good], 0);
        check_err!(result, EFAULT, "{what}, first");
        all_bytes(&memory.read(1024, PAGE), 0x61, what)?;
        if what == "read-only" {
            continue;
        }
        let result = vectored(libc::SYS_pwritev, &device, &[good, piece, last], 0);
        check_eq!(result, Ok(1024), "{what}");
        check_err!(
            vectored(libc::SYS_pwritev, &device, &[piece, good], 2048),
            EFAULT,
            "{what}, first"
        );
        same_bytes(&contents(&device)?, &card, "the card")?;
    }
    all_bytes(&memory.read(4 * PAGE, PAGE), 0, "read-only memory")?;
    // One piece that runs into the hole.
    memory.fill(PAGE..2 * PAGE, 0x63);
    let over = vector(&memory, 2 * PAGE - 600, 1200);
    match vectored(libc::SYS_preadv, &device, &[over], 0) {
        Ok(done @ 1..=600) => {
            same_bytes(
                &memory.read(2 * PAGE - 600, done),
                &card[..done],
                "into a hole",
            )?;
            let rest = 600 - done;
            all_bytes(
                &memory.read(2 * PAGE - rest, rest),
                0x63,
                "behind the count",
            )
        }
        Err(nix::errno::Errno::EFAULT) => {
            all_bytes(&memory.read(2 * PAGE - 600, 600), 0x63, "after EFAULT")
        }
        other => fail!("{other:?}"),
    }
}

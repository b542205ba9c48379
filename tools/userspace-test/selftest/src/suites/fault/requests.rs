// SPDX-License-Identifier: GPL-2.0 OR MIT
//! read and write.

use nix::errno::Errno;

use super::Case;
use crate::memory::{Mapping, PAGE};
use crate::outcome::{all_bytes, same_bytes, Outcome};
use crate::raw::{self, size};
use crate::registry::Context;
use crate::requests::{contents, pread, pwrite, set_contents, vector, vectored};

const ALLOWED: &[Errno] = &[Errno::ENOMEM, Errno::EFAULT];

/// Reads and writes `length` bytes at `place` of memory, as one piece and as
/// two; whatever is told to be done is done, and nothing else.
fn sweep(context: &mut Context, length: usize, place: usize) -> Outcome {
    let device = context.open()?;
    let card = context.bytes(size(device.info()?.out_card_size));
    set_contents(&device, &card)?;
    let memory = Mapping::anonymous(2 * PAGE)?;
    // What is copied, as all is that could not be pinned, goes through memory that is made once.
    check_eq!(pread(&device, memory.address(), 1, 0), Ok(1));
    let address = memory.address() + place;
    let half = length / 8 * 4;
    let pieces = [
        vector(&memory, place, half),
        vector(&memory, place + half, length - half),
    ];
    let reads: [(&str, &mut dyn FnMut() -> raw::Sys<usize>); 2] = [
        ("read", &mut || pread(&device, address, length, 100)),
        ("readv", &mut || {
            vectored(libc::SYS_preadv, &device, &pieces, 100)
        }),
    ];
    for (what, call) in reads {
        Case {
            what,
            allowed: ALLOWED,
            stride: 1,
            prepare: &mut || {
                memory.fill(0..2 * PAGE, 0x4e);
                Ok(())
            },
            call,
            after: &mut |done| {
                let done = done.unwrap_or(0);
                same_bytes(&memory.read(place, done), &card[100..100 + done], "read")?;
                let end = place + length;
                all_bytes(&memory.read(end, 2 * PAGE - end), 0x4e, "behind")
            },
        }
        .sweep(context)?;
    }
    memory.write(place, &card[100..100 + length]);
    Case {
        what: "write",
        allowed: ALLOWED,
        stride: 1,
        prepare: &mut || Ok(()),
        call: &mut || pwrite(&device, address, length, 100),
        after: &mut |_| Ok(()),
    }
    .sweep(context)?;
    same_bytes(&contents(&device)?, &card, "the card in the end")
}

pub(super) fn copied(context: &mut Context) -> Outcome {
    // Misaligned: copied whatever the threshold is.
    sweep(context, 301, 1001)
}

pub(super) fn direct(context: &mut Context) -> Outcome {
    sweep(context, 2048, PAGE - 1024)
}

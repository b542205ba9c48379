// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Copies by io_uring.

use userdma::sys;

use crate::account::Account;
use crate::device::{host_to_host, tagged, COHERENT, HUGE};
use crate::kinds::Kind;
use crate::memory::PAGE;
use crate::outcome::{all_bytes, same_bytes, Outcome};
use crate::raw::wide;
use crate::registry::Context;
use crate::suites::uring::{register, Ring};

/// Bytes of each copy, and where its destination begins.
const LENGTH: usize = (1 << 20) + 77;
const TO: usize = PAGE - 5;
/// Of memory and buffers.
const WHOLE: usize = 2 << 20;

pub(super) fn ring(context: &mut Context) -> Outcome {
    let before = Account::now()?;
    let device = context.open()?;
    let (first, last) = (device.alloc(COHERENT, WHOLE)?, device.alloc(HUGE, WHOLE)?);
    let (source, target) = (device.map(&first)?, device.map(&last)?);
    let well = |result: i32, bytes: u64| -> Outcome {
        check_eq!((result, bytes), (i32::try_from(LENGTH)?, wide(LENGTH)));
        Ok(())
    };
    let arrived = |bytes: &[u8]| -> Outcome {
        same_bytes(&target.read(TO, LENGTH), bytes, "the copy")?;
        all_bytes(&target.read(0, TO), 0x5a, "before it")?;
        let end = TO + LENGTH;
        all_bytes(&target.read(end, WHOLE - end), 0x5a, "behind it")
    };
    // From buffer to buffer.
    let mut ring = Ring::new(&device)?;
    let bytes = context.bytes(LENGTH);
    source.write(13, &bytes);
    target.fill(0..WHOLE, 0x5a);
    let copy = host_to_host((first.handle, 13), (last.handle, TO), LENGTH);
    ring.transfers(&[tagged(copy, 7)])?;
    let end = ring.ends(1)?[0];
    check_eq!(end.tag, 7);
    well(end.result, end.bytes)?;
    arrived(&bytes)?;
    drop(ring);
    // From the ring's memory to a buffer.
    for kind in [Kind::Anonymous, Kind::Thp] {
        let memory = kind.make(WHOLE)?;
        let mut ring = Ring::new(&device)?;
        register(&ring, &[&memory])?;
        let pinned = Account::now()?;
        let all = context.bytes(WHOLE);
        memory.write(0, &all);
        target.fill(0..WHOLE, 0x5a);
        let good = |offset: usize| {
            let address = memory.address() + offset;
            tagged(host_to_host((0, address), (last.handle, TO), LENGTH), 8)
        };
        ring.fixed(0, &good(31))?;
        let end = ring.ends(1)?[0];
        well(end.result, end.bytes)?;
        arrived(&all[31..31 + LENGTH])?;
        same_bytes(&memory.read(0, WHOLE), &all, "what was copied")?;
        // What the ring has pinned is all that is.
        pinned.settle()?;
        let with = |change: &dyn Fn(&mut sys::userdma_transfer)| {
            let mut transfer = good(0);
            change(&mut transfer);
            transfer
        };
        for (transfer, error) in [
            (with(&|t| t.buffer = first.handle), libc::EINVAL),
            (with(&|t| t.buffer2 = 0), libc::ENOENT),
            (
                with(&|t| t.card_offset = wide(WHOLE - LENGTH + 1)),
                libc::ERANGE,
            ),
            (with(&|t| t.card_offset = u64::MAX - 7), libc::EOVERFLOW),
            (good(WHOLE - LENGTH + 1), libc::EFAULT),
        ] {
            ring.fixed(0, &transfer)?;
            check_eq!(ring.ends(1)?[0].result, -error, "{transfer:?}");
        }
        arrived(&all[31..31 + LENGTH])?;
        device.check_idle()?;
        // The ring lets go of its memory a moment after it was closed.
        drop(ring);
        before.settle()?;
    }
    Ok(())
}

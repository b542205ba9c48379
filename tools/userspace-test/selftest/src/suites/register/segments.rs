// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How many pieces the card sees.

use super::register;
use crate::device::{Device, Registered};
use crate::guest::{number, parse_counters};
use crate::hugepool::Pool;
use crate::kinds::{Kind, Memory};
use crate::memory::{HUGE, PAGE};
use crate::outcome::Outcome;
use crate::raw::wide;
use crate::registry::Context;

const LENGTH: usize = 64 << 20;

fn show(what: &str, registered: &Registered) {
    println!(
        "{what}: {} segments, smallest page {} KiB",
        registered.segments,
        registered.page_size >> 10
    );
}

/// KiB of this process that are transparent huge pages.
fn huge_kib() -> Outcome<u64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    number(&parse_counters(&text), "AnonHugePages")
}

/// Registers 64 MiB and gives the memory back.
fn of(device: &Device, kind: Kind) -> Outcome<(Memory, Registered)> {
    let memory = kind.make(LENGTH)?;
    let registered = register(device, &memory, 0, LENGTH, 0)?;
    show(&format!("{kind:?}"), &registered);
    check!(registered.segments > 0);
    check_eq!(
        device.buffer_info(registered.handle)?.out_segments,
        registered.segments
    );
    Ok((memory, registered))
}

pub(super) fn segments(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let pool = Pool::of(LENGTH / HUGE)?;
    for kind in [Kind::HugetlbAnonymous, Kind::HugetlbMemfd] {
        let (memory, registered) = of(&device, kind)?;
        check_eq!(registered.page_size, wide(HUGE), "{kind:?}");
        check!(registered.segments <= 32, "{kind:?}");
        device.free(registered.handle)?;
        if let Some(fd) = memory.memfd() {
            // The same by its number instead of its address.
            let registered = device.register_memfd(fd, 0, LENGTH, 0)?;
            show("by fd", &registered);
            check_eq!(registered.page_size, wide(HUGE));
            check!(registered.segments <= 32);
            device.free(registered.handle)?;
        }
        // Not at the ends of pages: one more at most.
        let registered = register(&device, &memory, 4242, LENGTH - 4242 - 1, 0)?;
        check!(registered.segments <= 32, "{kind:?}, a part");
        device.free(registered.handle)?;
        drop(memory);
        pool.wait_free(LENGTH / HUGE)?;
    }
    // The pool's pages are wanted for this.
    drop(pool);
    let before = huge_kib()?;
    let (memory, registered) = of(&device, Kind::Thp)?;
    let kib = huge_kib()? - before;
    println!("{} of {} MiB in huge pages", kib >> 10, LENGTH >> 20);
    let small = (LENGTH >> 10).saturating_sub(usize::try_from(kib)?);
    if small == 0 {
        check!(registered.segments <= 40);
        check_eq!(registered.page_size, wide(HUGE));
    } else {
        // The kernel had not enough of them: what it had still counts as whole ones.
        let most = LENGTH / HUGE + (small << 10) / PAGE;
        check!(registered.segments <= u32::try_from(most)?);
    }
    device.free(registered.handle)?;
    drop(memory);
    let (_memory, registered) = of(&device, Kind::Anonymous)?;
    check_eq!(registered.page_size, wide(PAGE));
    check!(registered.segments <= u32::try_from(LENGTH / PAGE)?);
    device.free(registered.handle)?;
    Ok(())
}

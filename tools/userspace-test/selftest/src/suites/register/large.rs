// SPDX-License-Identifier: GPL-2.0 OR MIT
//! More than 4 GiB in one buffer: a few huge pages, mapped again and again.

use super::{register, set_card};
use crate::account::Account;
use crate::device::{from_card, to_card};
use crate::hugepool::Pool;
use crate::kinds::memfd;
use crate::memory::{Mapping, HUGE};
use crate::outcome::{all_bytes, same_bytes, Context as _, Outcome};
use crate::raw::wide;
use crate::registry::Context;

/// Not a divisor of 2^32: an offset that lost its upper bits ends in another
/// page.
const PAGES: usize = 7;
const PERIOD: usize = PAGES * HUGE;
const LENGTH: usize = (4 << 30) + 3 * PERIOD;

pub(super) fn large(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let _pool = Pool::of(PAGES)?;
    let fd = memfd(true, PERIOD)?;
    let length = LENGTH.next_multiple_of(PERIOD);
    // Room at a multiple of the huge page, then the pages over it.
    let room = Mapping::anonymous_with(length + HUGE, libc::MAP_NORESERVE)?;
    let begin = room.address().next_multiple_of(HUGE) - room.address();
    for at in (begin..begin + length).step_by(PERIOD) {
        room.cover_with(at..at + PERIOD, &fd, 0)?;
    }
    let one = Mapping::of(&fd, 0, PERIOD, crate::memory::RW)?;
    one.fill(0..PERIOD, 0x6c);
    let before = Account::now()?;
    // Neither end at the end of a page.
    let (inside, length) = (begin + 5, length - 9);
    let registered = register(&device, &room, inside, length, 0)?;
    check_eq!(registered.page_size, wide(HUGE));
    check_eq!(
        device.buffer_info(registered.handle)?.out_length,
        wide(length)
    );
    println!("{} segments for {length} bytes", registered.segments);
    let there = set_card(context, &device)?;
    let ends = [
        (1 << 31) - 100,
        (1 << 32) - 1000,
        (1 << 32) - 1,
        1 << 32,
        (1 << 32) + PERIOD - 5 - 300,
        length - 2000,
    ];
    for offset in ends {
        let what = || format!("at {offset:#x}");
        device
            .run_well(&[
                from_card(registered.handle, offset, 2000, 2000),
                to_card(registered.handle, offset, 2000, 0),
                from_card(registered.handle, 0, 2000, 0),
            ])
            .context(what)?;
        let place = (5 + offset) % PERIOD;
        let mut got = one.read(0, PERIOD);
        let mut want = vec![0x6c; PERIOD];
        for (number, byte) in there[2000..4000].iter().enumerate() {
            want[(place + number) % PERIOD] = *byte;
        }
        want[5..2005].copy_from_slice(&there[2000..4000]);
        same_bytes(&got, &want, "all pages").context(what)?;
        got.fill(0x6c);
        one.write(0, &got);
    }
    device.free(registered.handle)?;
    all_bytes(&one.read(0, PERIOD), 0x6c, "afterwards")?;
    before.settle()
}

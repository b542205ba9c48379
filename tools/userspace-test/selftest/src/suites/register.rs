// SPDX-License-Identifier: GPL-2.0 OR MIT
//! BUF_REGISTER: the program's own memory.

mod data;
mod interrupt;
mod large;
mod mappings;
mod memfd;
mod own;
mod race;
mod refused;
mod segments;
mod stack;
mod sync;

use crate::device::{Device, Registered};
use crate::memory::Window;
use crate::outcome::Outcome;
use crate::raw::{size, Sys};
use crate::registry::{Context, Need, Test};
use crate::requests::set_contents;

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "register.round_trip",
        "memory of every kind, there and back, bytes around watched",
        data::round_trip,
    )
    .seconds(120),
    Test::new(
        "register.stack",
        "a function's own variables",
        stack::round_trip,
    ),
    Test::new(
        "register.places",
        "every start and length around the ends of pages",
        data::places,
    ),
    Test::new(
        "register.edges",
        "the first and last byte of memory that begins and ends in a page",
        data::edges,
    ),
    Test::new(
        "register.overlap",
        "two registrations of one memory, one freed before the other",
        data::overlap,
    ),
    Test::new(
        "register.in_flight",
        "freed, and unmapped, while the card works on it",
        data::in_flight,
    ),
    Test::new(
        "register.handles",
        "as many as there are handles; one more is ENOSPC",
        data::handles,
    ),
    Test::new(
        "register.segments",
        "64 MiB: at most 32 segments of hugetlb memory, 40 of THP",
        segments::segments,
    )
    .needs(&[Need::Reach]),
    Test::new(
        "register.large",
        "more than 4 GiB in one buffer",
        large::large,
    )
    .seconds(180),
    Test::new(
        "register.source",
        "read-only memory: to the card only",
        refused::source,
    ),
    Test::new(
        "register.hole",
        "memory with a hole: EFAULT, nothing stays pinned or locked",
        refused::hole,
    ),
    Test::new(
        "register.shared_file",
        "a shared mapping of a file on disk is refused",
        refused::shared_file,
    ),
    Test::new(
        "register.regions",
        "a mapping of a card's registers is refused",
        refused::regions,
    ),
    Test::new(
        "register.secret",
        "secret memory is refused",
        refused::secret,
    ),
    Test::new(
        "register.no_bounce",
        "a card that must bounce: EADDRNOTAVAIL if that is not wanted",
        refused::no_bounce,
    )
    .needs(&[Need::Bounce]),
    Test::new(
        "register.coherent",
        "a mapping of a coherent buffer is refused",
        own::coherent,
    ),
    Test::new(
        "register.own_huge",
        "a mapping of a huge buffer, which is freed afterwards",
        own::huge,
    )
    .needs(&[Need::Huge]),
    Test::new(
        "register.other_card",
        "a mapping of another card's huge buffer, which goes with that card",
        own::other_card,
    )
    .needs(&[Need::Cards(2), Need::Huge]),
    Test::new(
        "register.memfd",
        "parts of memfds, mapped and not",
        memfd::parts,
    ),
    Test::new(
        "register.memfd_sealed",
        "what is registered cannot be sealed against writing",
        memfd::sealed,
    ),
    Test::new(
        "register.append_only",
        "a file for appending only: not written to",
        memfd::append_only,
    ),
    Test::new(
        "register.memfd_cut",
        "a memfd that is cut off or punched afterwards",
        memfd::cut,
    ),
    Test::new(
        "register.moved",
        "munmap, MAP_FIXED, mremap, mprotect: the card keeps to the pages",
        mappings::moved,
    ),
    Test::new(
        "register.partial_unmap",
        "a part is unmapped, or the middle covered",
        mappings::partial,
    ),
    Test::new(
        "register.fork",
        "fork: the card sees the parent's memory, both may write",
        mappings::fork,
    ),
    Test::new(
        "register.discarded",
        "MADV_DONTNEED: the program gets new pages, the card keeps the old",
        mappings::discarded,
    ),
    Test::new(
        "register.guessed",
        "a thread guesses handles while another registers and frees",
        race::guessed,
    ),
    Test::new(
        "register.watched",
        "somebody reads smaps and numa_maps meanwhile",
        race::watched,
    )
    .seconds(120),
    Test::new(
        "register.managed",
        "reclaim, compaction, collapsing, merging: pinned pages stay",
        race::managed,
    ),
    Test::new(
        "register.threads",
        "threads and files that register one memory at once",
        race::threads,
    ),
    Test::new(
        "register.at_once",
        "threads that pin the same new pages at the same moment",
        race::at_once,
    ),
    Test::new(
        "register.sync",
        "BUF_SYNC touches the bytes that it names and no others",
        sync::sync,
    ),
    Test::new(
        "register.signal",
        "a signal while much memory is pinned: EINTR, nothing left",
        interrupt::signal,
    )
    .seconds(180),
    Test::new(
        "register.stalled",
        "a page that does not come: a signal ends it, all else goes on",
        interrupt::stalled,
    ),
    Test::new(
        "register.killed",
        "SIGKILL while a page does not come, and while much is pinned",
        interrupt::killed,
    )
    .seconds(120),
];

/// BUF_REGISTER of a part of memory.
fn register(
    device: &Device,
    memory: &Window,
    begin: usize,
    length: usize,
    flags: u32,
) -> Sys<Registered> {
    assert!(begin + length <= memory.length());
    device.register(memory.address() + begin, length, flags)
}

/// Random bytes, which the card's memory holds from now on.
fn set_card(context: &mut Context, device: &Device) -> Outcome<Vec<u8>> {
    let bytes = context.bytes(size(device.info()?.out_card_size));
    set_contents(device, &bytes)?;
    Ok(bytes)
}

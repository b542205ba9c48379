// SPDX-License-Identifier: GPL-2.0 OR MIT
//! read and write that move the program's own pages, and those that do not.

mod meanwhile;
mod memory;
mod sizes;
mod vectors;

use crate::device::Device;
use crate::guest::{fdinfo, number};
use crate::outcome::Outcome;
use crate::raw::wide;
use crate::registry::{Need, Test};

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "direct.sizes",
        "every size and alignment around the threshold, and which way they went",
        sizes::sizes,
    )
    .seconds(180),
    Test::new(
        "direct.end",
        "what is left before the card's end decides, not what was asked for",
        sizes::end,
    ),
    Test::new(
        "direct.counters",
        "fdinfo and debugfs: each request once, each byte once",
        sizes::counters,
    )
    .needs(&[Need::Debugfs]),
    Test::new(
        "direct.forms",
        "read, write, readv, writev and their p forms, and the position",
        vectors::forms,
    ),
    Test::new(
        "direct.vectors",
        "pieces of every kind, up to the most there may be",
        vectors::many,
    ),
    Test::new(
        "direct.bad_vector",
        "a piece that is bad: what was before it counts",
        vectors::bad,
    ),
    Test::new(
        "direct.kinds",
        "memory of every kind, also what nobody has touched yet",
        memory::kinds,
    )
    .needs(&[Need::Direct]),
    Test::new(
        "direct.own",
        "mappings of our own buffers, huge and coherent",
        memory::own,
    )
    .needs(&[Need::Huge]),
    Test::new(
        "direct.read_only",
        "read into memory that the program may only read: EFAULT, unchanged",
        memory::read_only,
    ),
    Test::new(
        "direct.shared_file",
        "from and into a file on disk that is mapped",
        memory::shared_file,
    ),
    Test::new(
        "direct.unlocked",
        "nothing counts against RLIMIT_MEMLOCK, and nothing stays pinned",
        memory::unlocked,
    )
    .needs(&[Need::Direct]),
    Test::new(
        "direct.uring",
        "read and write by io_uring, with fixed buffers too",
        memory::uring,
    ),
    Test::new(
        "direct.fork",
        "fork while the card works on the memory",
        meanwhile::fork,
    )
    .needs(&[Need::Direct, Need::Slow]),
    Test::new(
        "direct.unmap",
        "the memory is unmapped, and other memory put there, meanwhile",
        meanwhile::unmap,
    )
    .needs(&[Need::Direct, Need::Slow]),
    Test::new(
        "direct.signal",
        "a signal: the count is right, and nothing is written afterwards",
        meanwhile::signal,
    )
    .needs(&[Need::Direct, Need::Slow]),
    Test::new(
        "direct.signal_queued",
        "a signal before its turn: EINTR at once",
        meanwhile::signal_queued,
    )
    .needs(&[Need::Direct, Need::Slow]),
    Test::new(
        "direct.threads",
        "two threads of one file, and two files",
        meanwhile::threads,
    )
    .needs(&[Need::Direct]),
];

/// How many requests and bytes of a file went which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ways {
    direct: u64,
    copied: u64,
    direct_bytes: u64,
    copied_bytes: u64,
}

impl Ways {
    fn of(device: &Device) -> Outcome<Self> {
        let shown = fdinfo(device)?;
        Ok(Self {
            direct: number(&shown, "direct_requests")?,
            copied: number(&shown, "copied_requests")?,
            direct_bytes: number(&shown, "direct_bytes")?,
            copied_bytes: number(&shown, "copied_bytes")?,
        })
    }

    /// The same after one more request of so many bytes.
    fn and(self, direct: bool, bytes: usize) -> Self {
        let (one, bytes) = (u64::from(direct), wide(bytes));
        Self {
            direct: self.direct + one,
            copied: self.copied + 1 - one,
            direct_bytes: self.direct_bytes + one * bytes,
            copied_bytes: self.copied_bytes + (1 - one) * bytes,
        }
    }
}

/// Whether a request of `length` bytes at `offset` moves the program's pages,
/// as the documentation says; `bits` has all addresses and lengths.
fn is_direct(device: &Device, bits: usize, length: usize, offset: usize) -> Outcome<bool> {
    let info = device.info()?;
    let rest = info.out_card_size.saturating_sub(wide(offset));
    let unit = u64::from(info.out_alignment).max(4);
    let large = info.out_direct_min != 0 && wide(length).min(rest) >= info.out_direct_min;
    Ok(large && wide(bits) % unit == 0)
}

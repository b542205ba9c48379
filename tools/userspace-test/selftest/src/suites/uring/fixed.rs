// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Transfers of memory that is registered with the ring: nothing is pinned for them.

use std::time::Instant;

use io_uring::squeue;
use userdma::sys;
use zerocopy::IntoBytes as _;

use super::{length, Ring};
use crate::account::Account;
use crate::device::{from_card, tagged, to_card, Device};
use crate::kinds::Kind;
use crate::memory::{Mapping, Window, PAGE};
use crate::outcome::{same_bytes, Outcome};
use crate::queue::Front;
use crate::raw::wide;
use crate::registry::Context;
use crate::suites::unbind::{check_quick, check_works};

/// Registers memory with the ring, as number 0 and up.
pub(crate) fn register(ring: &Ring, memory: &[&Window]) -> Outcome {
    let parts: Vec<_> = memory
        .iter()
        .map(|window| libc::iovec {
            iov_base: std::ptr::with_exposed_provenance_mut(window.address()),
            iov_len: window.length(),
        })
        .collect();
    // SAFETY: the mappings are not Rust's memory; the kernel pins what they map.
    unsafe { ring.ring.submitter().register_buffers(&parts) }?;
    Ok(())
}

impl Ring {
    /// Puts down a transfer whose memory begins at an address of memory `index` of the ring.
    pub(crate) fn fixed(&mut self, index: u16, transfer: &sys::userdma_transfer) -> Outcome {
        let op = sys::USERDMA_URING_TRANSFER;
        let (payload, tag) = (transfer.as_bytes(), transfer.user_data);
        self.push_entry(op, payload, tag, Some(index), squeue::Flags::empty())
    }
}

/// Moves `length` bytes at an address to the card, or back.
fn at(address: usize, length: usize, back: bool) -> sys::userdma_transfer {
    match back {
        false => tagged(to_card(0, address, length, 0), 1),
        true => tagged(from_card(0, address, length, 0), 2),
    }
}

pub(super) fn moved(context: &mut Context) -> Outcome {
    let before = Account::now()?;
    let device = context.open()?;
    let length = length(&device)? / 2 + 8;
    for kind in [Kind::Anonymous, Kind::Thp, Kind::HugetlbAnonymous] {
        let memory = kind.make(4 << 20)?;
        let mut ring = Ring::new(&device)?;
        register(&ring, &[&memory])?;
        let pinned = Account::now()?;
        // Over the border of a page, and in another one behind.
        let (from, to) = (PAGE - 64, memory.length() - PAGE - 64);
        let bytes = context.bytes(length);
        memory.write(from, &bytes);
        memory.fill(to - 64..to + length + 64, 0x5a);
        let start = memory.address();
        ring.fixed(0, &at(start + from, length, false))?;
        ring.fixed(0, &at(start + to, length, true))?;
        for end in ring.ends(2)? {
            check_eq!(
                (end.result, end.bytes),
                (i32::try_from(length)?, wide(length))
            );
        }
        same_bytes(&memory.read(to, length), &bytes, "what came back")?;
        for guard in [to - 64, to + length] {
            same_bytes(&memory.read(guard, 64), &[0x5a; 64], "beside it")?;
        }
        // What the ring has pinned is all that is.
        pinned.settle()?;
        device.check_idle()?;
        // The ring lets go of its memory a moment after it was closed.
        drop(ring);
        before.settle()?;
    }
    Ok(())
}

pub(super) fn refused(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let mut ring = Ring::new(&device)?;
    let memory = Mapping::anonymous(4 * PAGE)?;
    let buffer = device.alloc(sys::USERDMA_BUF_COHERENT, PAGE)?;
    let (start, end) = (memory.address(), memory.address() + memory.length());
    let good = at(start, 64, false);
    let with = |change: fn(&mut sys::userdma_transfer)| {
        let mut transfer = good;
        change(&mut transfer);
        transfer
    };
    // Before anything is registered.
    ring.fixed(0, &good)?;
    check_eq!(ring.ends(1)?[0].result, -libc::EFAULT, "no memory");
    register(&ring, &[&memory])?;
    let mut named = good;
    named.buffer = buffer.handle;
    for (index, transfer, error) in [
        (1, good, libc::EFAULT),
        (0, at(end - 32, 64, false), libc::EFAULT),
        (0, at(start - 32, 64, false), libc::EFAULT),
        (0, at(usize::MAX - 31, 64, false), libc::EFAULT),
        (0, named, libc::EINVAL),
        (0, with(|t| t.length = 0), libc::EINVAL),
        (0, with(|t| t.channel = 99), libc::EINVAL),
        (0, with(|t| t.flags = 1 << 9), libc::EOPNOTSUPP),
        (0, with(|t| t.card_offset = 1 << 40), libc::ERANGE),
        (0, with(|t| t.card_offset = u64::MAX - 7), libc::EOVERFLOW),
    ] {
        ring.fixed(index, &transfer)?;
        check_eq!(ring.ends(1)?[0].result, -error, "{transfer:?}");
    }
    // Without the ring's memory an address is a place in buffer 0, which there is not.
    ring.transfers(&[good])?;
    check_eq!(ring.ends(1)?[0].result, -libc::ENOENT);
    ring.fixed(0, &good)?;
    check_eq!(ring.ends(1)?[0].result, 64);
    device.check_idle()
}

/// A ring with a transfer of its memory to it, which waits behind others.
fn queued(device: &Device, memory: &Mapping) -> Outcome<(Ring, Front)> {
    let mut ring = Ring::new(device)?;
    register(&ring, &[memory])?;
    let front = Front::new(device, 0)?;
    ring.transfers(&front.transfers)?;
    let mut last = at(memory.address(), 64, true);
    last.user_data = u64::MAX - 1;
    ring.fixed(0, &last)?;
    ring.ring.submit()?;
    Ok((ring, front))
}

pub(super) fn gone(context: &mut Context) -> Outcome {
    let before = Account::now()?;
    for _ in 0..context.times(3) {
        let device = context.open()?;
        let memory = Mapping::anonymous(PAGE)?;
        memory.fill(0..PAGE, 0x5a);
        let (mut ring, front) = queued(&device, &memory)?;
        ring.ring.submitter().unregister_buffers()?;
        drop(memory);
        for end in ring.ends(front.transfers.len() + 1)? {
            check!(end.result > 0, "{end:?}");
        }
        device.check_idle()?;
    }
    check_works(context.card())?;
    before.settle()
}

pub(super) fn unbind(context: &mut Context) -> Outcome {
    let before = Account::now()?;
    let mut card = context.card().clone();
    for _ in 0..context.times(3) {
        let device = Device::open(&card.path)?;
        let memory = Mapping::anonymous(PAGE)?;
        let (mut ring, front) = queued(&device, &memory)?;
        let begin = Instant::now();
        card.unbind()?;
        check_quick(begin, 0)?;
        for end in ring.ends(front.transfers.len() + 1)? {
            check!(end.result > 0 || end.result == -libc::ENODEV, "{end:?}");
        }
        ring.fixed(0, &at(memory.address(), 64, false))?;
        check_eq!(ring.ends(1)?[0].result, -libc::ENODEV);
        drop((device, ring, memory));
        card = card.bind()?;
        check_works(&card)?;
    }
    before.settle()
}

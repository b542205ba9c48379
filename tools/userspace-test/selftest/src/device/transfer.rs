// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The entries of SUBMIT.

use userdma::sys;
use zerocopy::FromZeros as _;

use crate::raw;

/// A transfer by an operation.
fn transfer(
    op: u32,
    handle: u32,
    offset: usize,
    length: usize,
    card: usize,
) -> sys::userdma_transfer {
    let mut transfer = sys::userdma_transfer::new_zeroed();
    transfer.op = u16::try_from(op).expect("fits by the ABI");
    transfer.buffer = handle;
    transfer.buffer_offset = raw::wide(offset);
    transfer.length = raw::wide(length);
    transfer.card_offset = raw::wide(card);
    transfer
}

/// From a buffer to the card.
pub(crate) fn to_card(
    handle: u32,
    offset: usize,
    length: usize,
    card: usize,
) -> sys::userdma_transfer {
    transfer(sys::USERDMA_OP_TO_CARD, handle, offset, length, card)
}

/// From the card to a buffer.
pub(crate) fn from_card(
    handle: u32,
    offset: usize,
    length: usize,
    card: usize,
) -> sys::userdma_transfer {
    transfer(sys::USERDMA_OP_FROM_CARD, handle, offset, length, card)
}

/// The same with the number that comes back in the completion.
pub(crate) fn tagged(transfer: sys::userdma_transfer, user_data: u64) -> sys::userdma_transfer {
    sys::userdma_transfer {
        user_data,
        ..transfer
    }
}

/// From one buffer to another, or to another place of the same: each a handle and an
/// offset.
pub(crate) fn host_to_host(
    from: (u32, usize),
    to: (u32, usize),
    length: usize,
) -> sys::userdma_transfer {
    let op = sys::USERDMA_OP_HOST_TO_HOST;
    let mut transfer = transfer(op, from.0, from.1, length, to.1);
    transfer.buffer2 = to.0;
    transfer
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Requests of several transfers, of which one moves less than it was told.

use super::others::check_channels;
use crate::memory::Mapping;
use crate::model::Faulty;
use crate::outcome::{all_bytes, Context as _, Outcome};
use crate::registry::Context;
use crate::requests::{pread, pwrite};

const MIB: usize = 1 << 20;
/// Parts of a request: of the program's own pages, and of what is copied.
const DIRECT: usize = 2 * MIB;
const COPIED: usize = 64 << 10;
/// What the card's memory has, and the program's.
const CARDS: u8 = 0xca;
const OURS: u8 = 0x0a;

/// A request ends at the part that was short: what is behind it would go to the
/// wrong place.
pub(super) fn requests(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    let mut model = Faulty::of(&card)?;
    let device = context.open()?;
    let memory = Mapping::anonymous(4 * MIB)?;
    for (write, part, shift) in [
        (false, DIRECT, 0),
        (true, DIRECT, 0),
        (false, COPIED, 1),
        (true, COPIED, 1),
    ] {
        for before in 0..2 {
            memory.fill(0..4 * MIB, CARDS);
            check_eq!(pwrite(&device, memory.address(), 4 * MIB, 0), Ok(4 * MIB));
            memory.fill(0..4 * MIB, OURS);
            for _ in 0..before {
                // No fault: so many parts go well.
                model.inject("slow", 0)?;
            }
            model.inject("short", 0)?;
            let call = if write { pwrite } else { pread };
            let length = 3 * MIB;
            let moved = part * before + part.min(length - part * before) / 2;
            let what = || format!("write: {write}, parts of {part}, {before} before");
            let result = call(&device, memory.address() + shift, length, 0);
            check_eq!(result, Ok(moved), "{}", what());
            if write {
                check_eq!(pread(&device, memory.address(), 4 * MIB, 0), Ok(4 * MIB));
            }
            let (first, rest) = if write { (OURS, CARDS) } else { (CARDS, OURS) };
            let begin = if write { 0 } else { shift };
            let bytes = memory.read(begin, 4 * MIB - begin);
            all_bytes(&bytes[..moved], first, "what was moved").context(what)?;
            all_bytes(&bytes[moved..], rest, "what was not moved").context(what)?;
        }
    }
    // Not even half a byte: that is no success, and no end of the card's memory.
    for call in [pread, pwrite] {
        model.inject("short", 0)?;
        check_err!(call(&device, memory.address(), 1, 0), EIO);
        check_eq!(call(&device, memory.address(), 1, 0), Ok(1));
    }
    check_channels(&card)
}

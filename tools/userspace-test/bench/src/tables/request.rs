// SPDX-License-Identifier: GPL-2.0 OR MIT
//! read() and write(), copied and direct.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use super::witness::Halves;
use super::witness::Witness;
use crate::card::wide;
use crate::card::Card;
use crate::counter::repeat;
use crate::guest;
use crate::memory::Kind;
use crate::memory::Memory;
use crate::memory::PAGE;
use crate::report::Report;

/// All requests are direct from the first size on, none from the second.
const DIRECT_MIN: [(&str, u64); 2] = [("direct", 1), ("copied", 1 << 40)];

/// A system call with a part of memory.
type Request = fn(&File, &mut [u8]) -> rustix::io::Result<usize>;

const REQUESTS: [(&str, Request); 2] = [
    ("read", |file, memory| {
        rustix::io::pread(file.as_fd(), memory, 0)
    }),
    ("write", |file, memory| {
        rustix::io::pwrite(file.as_fd(), memory, 0)
    }),
];

pub(super) fn run(parameters: &str, report: &mut Report) -> Result<()> {
    let memory = Memory::new(Kind::Small, PAGE)?;
    for (way, least) in DIRECT_MIN {
        guest::reload(&format!("{parameters} direct_min_bytes={least}"))?;
        let card = Card::open(Path::new(guest::NODE))?;
        let witness = Witness::new()?;
        for (name, request) in REQUESTS {
            for length in [512, 1024, 2048, PAGE] {
                // SAFETY: the memory is ours and nobody else knows it.
                let part = unsafe { std::slice::from_raw_parts_mut(memory.pointer(), length) };
                let name = format!("{name} {length} {way}");
                let all: Vec<Halves> = repeat(|| {
                    witness.watch(|| {
                        ensure!(request(card.file(), part)? == length, "it was short");
                        Ok(())
                    })
                })
                .with_context(|| name.clone())?;
                report.row(
                    "request",
                    name,
                    [
                        (
                            "until it sleeps",
                            all.iter().map(|one| one.before).collect(),
                        ),
                        (
                            "from the interrupt",
                            all.iter().map(|one| one.after).collect(),
                        ),
                        (
                            "sum",
                            all.iter().map(|one| one.before + one.after).collect(),
                        ),
                    ],
                );
            }
        }
        ensure!(
            wide(PAGE) == card.info()?.out_card_size,
            "the card's memory is not a page"
        );
    }
    Ok(())
}

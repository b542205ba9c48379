// SPDX-License-Identifier: GPL-2.0 OR MIT
//! BUF_REGISTER and BUF_FREE of every kind of memory, and VFIO's type 1 mappings of
//! the same memory for another card.

use anyhow::Context;
use anyhow::Result;

use super::LARGE;
use crate::card;
use crate::card::Card;
use crate::counter::repeat;
use crate::counter::Counter;
use crate::memory::Kind;
use crate::memory::Memory;
use crate::report::Report;
use crate::vfio::Vfio;

/// What registering and freeing once took.
pub(super) struct Once {
    pub(super) register: u64,
    pub(super) free: u64,
    pub(super) segments: u64,
}

pub(super) fn run(
    counter: &Counter,
    card: &Card,
    vfio: Option<&Vfio>,
    report: &mut Report,
) -> Result<()> {
    for kind in Kind::ALL {
        let memory = Memory::new(kind, LARGE)?;
        both(counter, card, vfio, &memory, kind.name(), report)?;
    }
    for kind in [Kind::Small, Kind::Huge, Kind::HugeMemfd] {
        let memory = Memory::scattered(kind, LARGE)?;
        let name = format!("{}, scattered", kind.name());
        both(counter, card, vfio, &memory, &name, report)?;
    }
    Ok(())
}

fn both(
    counter: &Counter,
    card: &Card,
    vfio: Option<&Vfio>,
    memory: &Memory,
    name: &str,
    report: &mut Report,
) -> Result<()> {
    let all = repeat(|| once(counter, card, memory, LARGE)).with_context(|| name.to_owned())?;
    let values = |value: fn(&Once) -> u64| all.iter().map(value).collect();
    report.row(
        "register",
        name,
        [
            ("register", values(|one| one.register)),
            ("free", values(|one| one.free)),
            ("sum", values(|one| one.register + one.free)),
            ("runs", vec![memory.runs()?]),
            ("segments", values(|one| one.segments)),
        ],
    );
    let Some(vfio) = vfio else {
        return Ok(());
    };
    let all = repeat(|| {
        let (map, result) = counter.time_of(|| vfio.map(memory));
        result.context("VFIO_IOMMU_MAP_DMA")?;
        let (unmap, result) = counter.time_of(|| vfio.unmap(memory));
        result.context("VFIO_IOMMU_UNMAP_DMA")?;
        Ok((map, unmap))
    })
    .with_context(|| name.to_owned())?;
    report.row(
        "vfio",
        name,
        [
            ("map", all.iter().map(|one| one.0).collect()),
            ("unmap", all.iter().map(|one| one.1).collect()),
            ("sum", all.iter().map(|one| one.0 + one.1).collect()),
        ],
    );
    Ok(())
}

/// Registers the first `length` bytes of `memory` and frees them.
pub(super) fn once(counter: &Counter, card: &Card, memory: &Memory, length: usize) -> Result<Once> {
    let mut request = card::register(memory, length);
    // SAFETY: it names no arrays; the card does nothing with the memory.
    let (register, result) = counter.time_of(|| unsafe { card.call(&mut request) });
    result.context("BUF_REGISTER")?;
    let mut freed = card::free(request.out_handle);
    // SAFETY: it names no arrays.
    let (free, result) = counter.time_of(|| unsafe { card.call(&mut freed) });
    result.context("BUF_FREE")?;
    Ok(Once {
        register,
        free,
        segments: u64::from(request.out_segments),
    })
}

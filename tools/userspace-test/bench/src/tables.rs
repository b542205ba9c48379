// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is measured, a table each.

mod alloc;
mod base;
mod copy;
mod register;
mod request;
mod transfer;
mod witness;

use std::path::Path;

use anyhow::Result;
use userdma::sys;

use crate::card::Card;
use crate::counter::Counter;
use crate::guest;
use crate::report::Report;
use crate::vfio::Vfio;

/// The card that VFIO gets.
const PEER: &str = "/dev/userdma1";

/// The size of the large buffers.
const LARGE: usize = 64 << 20;

/// Measures everything. Loads the module anew on the way, more than once.
pub(crate) fn run(counter: &Counter, parameters: &str, report: &mut Report) -> Result<()> {
    let card = Card::open(Path::new(guest::NODE))?;
    let iommu = sys::USERDMA_CAP_IOMMU;
    let iommu = card.info()?.out_capabilities & u64::from(iommu) != 0;
    base::run(counter, &card, report)?;
    // VFIO maps nothing without an IOMMU.
    let vfio = match iommu {
        true => Some(Vfio::take(Path::new(PEER))?),
        false => None,
    };
    register::run(counter, &card, vfio.as_ref(), report)?;
    drop(vfio);
    alloc::run(counter, &card, report)?;
    copy::run(counter, &card, report)?;
    transfer::run(counter, &card, report)?;
    drop(card);
    request::run(parameters, report)
}

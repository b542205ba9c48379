// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is measured, a table each.

mod alloc;
mod base;
mod bulk;
mod copy;
mod daq;
mod edu;
mod memory;
mod register;
mod request;
mod witness;

use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use userdma::sys;

use crate::card::Card;
use crate::counter::Counter;
use crate::guest;
use crate::report::Report;
use crate::vfio::Vfio;

/// The size of the large buffers.
const LARGE: usize = 64 << 20;

/// A group of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Group {
    Base,
    Register,
    Alloc,
    Memory,
    Copy,
    Edu,
    Transfer,
    Uring,
    Wake,
    Request,
}

impl Group {
    const ALL: [Self; 10] = [
        Self::Base,
        Self::Register,
        Self::Alloc,
        Self::Memory,
        Self::Copy,
        Self::Edu,
        Self::Transfer,
        Self::Uring,
        Self::Wake,
        Self::Request,
    ];

    fn run(self, counter: &Counter, parameters: &str, report: &mut Report) -> Result<()> {
        let card = || Card::open(Path::new(guest::NODE));
        match self {
            Self::Base => base::run(counter, &card()?, report),
            Self::Register => {
                let card = card()?;
                // VFIO maps nothing without an IOMMU.
                let iommu = u64::from(sys::USERDMA_CAP_IOMMU);
                let vfio = match card.info()?.out_capabilities & iommu != 0 {
                    true => Some(Vfio::take(&peer(guest::EDU)?)?),
                    false => None,
                };
                register::run(counter, &card, vfio.as_ref(), report)
            }
            Self::Alloc => alloc::run(counter, &card()?, report),
            Self::Memory => memory::run(counter, &card()?, report),
            Self::Copy => copy::run(counter, &card()?, report),
            Self::Edu => edu::run(counter, &card()?, report),
            Self::Transfer => daq::transfers(counter, report),
            Self::Uring => daq::uring(counter, report),
            Self::Wake => daq::wake(counter, report),
            // Loads the module anew, so that it comes last.
            Self::Request => request::run(parameters, report),
        }
    }
}

/// The second card of a kind, for another driver.
fn peer(kind: u16) -> Result<String> {
    let peer = guest::cards(kind)?.into_iter().nth(1);
    peer.with_context(|| format!("there is no second card {kind:#06x}"))
}

/// Measures what is in these groups; all if there are none.
pub(crate) fn run(
    counter: &Counter,
    parameters: &str,
    only: &[Group],
    report: &mut Report,
) -> Result<()> {
    for group in Group::ALL {
        if only.is_empty() || only.contains(&group) {
            group
                .run(counter, parameters, report)
                .with_context(|| format!("{group:?}"))?;
        }
    }
    Ok(())
}

/// Measures throughput by the clock.
pub(crate) fn bulk(report: &mut Report) -> Result<()> {
    bulk::run(report)
}

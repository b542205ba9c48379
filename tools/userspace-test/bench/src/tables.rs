// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is measured, a table each.

mod alloc;
mod base;
mod copy;
mod daq;
mod edu;
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

/// The card that VFIO gets.
const PEER: &str = "/dev/userdma1";

/// The size of the large buffers.
const LARGE: usize = 64 << 20;

/// A group of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Group {
    Base,
    Register,
    Alloc,
    Copy,
    Edu,
    Transfer,
    Uring,
    Request,
}

impl Group {
    const ALL: [Self; 8] = [
        Self::Base,
        Self::Register,
        Self::Alloc,
        Self::Copy,
        Self::Edu,
        Self::Transfer,
        Self::Uring,
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
                    true => Some(Vfio::take(Path::new(PEER))?),
                    false => None,
                };
                register::run(counter, &card, vfio.as_ref(), report)
            }
            Self::Alloc => alloc::run(counter, &card()?, report),
            Self::Copy => copy::run(counter, &card()?, report),
            Self::Edu => edu::run(counter, &card()?, report),
            Self::Transfer => daq::transfers(counter, report),
            Self::Uring => daq::uring(counter, report),
            // Loads the module anew, so that it comes last.
            Self::Request => request::run(parameters, report),
        }
    }
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

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What it costs to use a mapping for the first time.

use std::hint::black_box;

use anyhow::Context as _;
use nix::sys::resource::getrusage;
use nix::sys::resource::UsageWho;
use userdma::Buffer;
use userdma::Mapping;

/// Maps all of `buffer`, touches each page, and gives the page faults that this
/// took along with the mapping.
pub(crate) fn all(buffer: &Buffer) -> anyhow::Result<(Mapping, i64)> {
    // Once with a mapping of one page, so that the program's own pages are
    // there and only those of the buffer are counted.
    let page = buffer.device().info().page_size.max(1);
    let mut warm = buffer.mapping().range(0..page).map()?;
    count(&mut warm, page)?;
    drop(warm);

    let mut memory = buffer.map()?;
    let faults = count(&mut memory, page)?;
    Ok((memory, faults))
}

fn count(memory: &mut Mapping, page: u64) -> anyhow::Result<i64> {
    let step = usize::try_from(page).context("the system's page is larger than memory")?;
    let before = faults()?;
    for offset in (0..memory.len()).step_by(step) {
        // All of it is zero anyway.
        black_box(memory.copy_from(offset, &[0])?);
    }
    Ok(faults()? - before)
}

fn faults() -> anyhow::Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("cannot count page faults")?;
    Ok(usage.minor_page_faults() + usage.major_page_faults())
}

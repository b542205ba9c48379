// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `userdma bench`: how fast a card is, on this machine.
//!
//! `plan` says what is measured, `measure` takes the figures, by the calls that `way`
//! makes, on the channels that `queue` chooses; `times` keeps them, `report` has them
//! for programs and `table` for people; `progress` is the bar and Ctrl-C.

mod measure;
mod plan;
mod progress;
mod queue;
mod report;
mod system;
mod table;
mod times;
mod way;

use userdma::Access;
use userdma::Bytes;
use userdma::Device;

use self::measure::Meter;
use self::plan::Plan;
use self::progress::Progress;
use self::report::Report;
use self::report::Row;
use self::way::Way;
use crate::cli;
use crate::cli::AnyKind;
use crate::cli::Direction;
use crate::copy;
use crate::copy::Part;
use crate::memory::Memory;
use crate::select;

pub(crate) fn run(device: Option<&str>, options: &cli::Bench) -> anyhow::Result<()> {
    let access = match options.direction {
        // What is opened so cannot overwrite anything.
        Direction::FromCard => Access::ReadOnly,
        Direction::ToCard | Direction::Both => Access::ReadWrite,
    };
    let device = select::open(device, access)?;
    let part = Part {
        offset: options.offset,
        length: options.length,
    };
    let length = copy::room(&device, part, part.length)?;
    let card = part.offset..part.offset + length;
    let plan = Plan::new(options, device.info(), card)?;
    let mut report = Report::new(&device, &plan, options);
    let rows = u32::try_from(report.planned).unwrap_or(u32::MAX);
    let progress = Progress::new(plan.time.saturating_mul(2).saturating_mul(rows))?;
    if !options.json {
        progress.line(&table::header(&report, &plan));
    }

    let result = measure(&device, options, &plan, &progress, &mut report);
    progress.clear();
    report.stopped = progress.is_stopped() && report.rows.len() < report.planned;
    // Also what was measured before something went wrong.
    if result.is_ok() || !report.rows.is_empty() {
        let text = match options.json {
            true => serde_json::to_string_pretty(&report)?,
            false => table::footer(&report, &plan),
        };
        println!("{text}");
    }
    result
}

/// Measures all rows, and shows them as they come.
fn measure(
    device: &Device,
    options: &cli::Bench,
    plan: &Plan,
    progress: &Progress,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut way = Way::new(options.way, device)?;
    for kind in &options.memory {
        progress.begin(format!("{}, getting it", cli::name(kind)));
        let memory = Memory::new(device, *kind, plan.memory)?;
        for group in &plan.groups {
            for (number, block) in plan.blocks.iter().enumerate() {
                if progress.is_stopped() {
                    return Ok(());
                }
                let meter = Meter {
                    way: &mut way,
                    buffer: memory.buffer(),
                    plan,
                    group,
                    block: *block,
                    progress,
                };
                let Some(row) = row(*kind, meter)? else {
                    return Ok(());
                };
                if !options.json {
                    if number == 0 {
                        progress.line(&table::heading(&row));
                    }
                    progress.line(&table::line(&row));
                }
                report.rows.push(row);
            }
        }
    }
    Ok(())
}

/// Measures one row; `None` if it was stopped before there was a figure.
fn row(kind: AnyKind, mut meter: Meter<'_>) -> anyhow::Result<Option<Row>> {
    let (group, progress, time) = (meter.group, meter.progress, meter.plan.time);
    let row = format!(
        "{}, {}, {}",
        cli::name(&kind),
        cli::name(&group.direction),
        Bytes(meter.block)
    );
    progress.begin(format!("{row}, one alone"));
    let Some(alone) = meter.alone()? else {
        return Ok(None);
    };
    progress.end(time);
    progress.begin(format!("{row}, full queue"));
    let full = meter.full()?;
    progress.end(time);
    Ok(Some(Row {
        memory: cli::name(&kind),
        page_size: meter.buffer.page_size(),
        bounced: meter.buffer.is_bounced(),
        group: group.clone(),
        block: meter.block,
        alone,
        full,
    }))
}

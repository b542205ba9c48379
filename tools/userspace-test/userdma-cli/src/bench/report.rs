// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What was measured, for programs.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use userdma::Device;
use userdma::Info;

use super::plan::Group;
use super::plan::Plan;
use super::system::System;
use super::times::Summary;
use crate::cli;
use crate::interrupts::Counts;

/// What is printed with `--json`.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) path: PathBuf,
    pub(super) info: Info,
    pub(super) system: System,
    pub(super) way: cli::Way,
    pub(super) flight: usize,
    pub(super) batch: usize,
    pub(super) card_offset: u64,
    pub(super) card_length: u64,
    /// The part of the card's memory was written to.
    pub(super) overwritten: bool,
    /// Rows that were planned.
    pub(super) planned: usize,
    pub(super) rows: Vec<Row>,
    /// A signal came before all rows were measured.
    pub(super) stopped: bool,
}

/// A row.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) memory: String,
    pub(super) page_size: u64,
    /// The driver copies what is moved, as the card does not reach the memory.
    pub(super) bounced: bool,
    #[serde(flatten)]
    pub(super) group: Group,
    /// Bytes of a transfer.
    pub(super) block: u64,
    /// One transfer at a time.
    pub(super) alone: Latency,
    /// The queue kept full, if that was not stopped before it began.
    pub(super) full: Option<Throughput>,
}

/// How long one transfer takes, if it is the only one.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Latency {
    pub(super) transfers: u64,
    /// From before SUBMIT until after WAIT.
    pub(super) program_ns: Summary,
    /// From when the card was given it to its end; a ring does not tell.
    pub(super) card_ns: Option<Summary>,
}

/// How much is moved: from before the first transfer was handed over until the last end
/// was taken.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Throughput {
    pub(super) transfers: u64,
    pub(super) bytes: u64,
    pub(super) time_ns: u64,
    pub(super) bytes_per_second: f64,
    pub(super) transfers_per_second: f64,
    pub(super) system_calls: u64,
    /// What this program used of all processors.
    pub(super) processor_ns: u64,
    /// What the driver counted, if this user may know.
    pub(super) counts: Option<Counts>,
}

impl Report {
    pub(super) fn new(device: &Device, plan: &Plan, options: &cli::Bench) -> Self {
        Self {
            path: device.path().to_owned(),
            info: device.info().clone(),
            system: System::read(),
            way: options.way,
            flight: plan.flight,
            batch: plan.batch,
            card_offset: plan.card.start,
            card_length: plan.card.end - plan.card.start,
            overwritten: plan.writes(),
            planned: options.memory.len() * plan.groups.len() * plan.blocks.len(),
            rows: Vec::new(),
            stopped: false,
        }
    }
}

impl Throughput {
    /// Of so many transfers and bytes in this time.
    pub(super) fn new(
        (transfers, bytes): (u64, u64),
        time: Duration,
        system_calls: u64,
        processor: Duration,
        counts: Option<Counts>,
    ) -> Self {
        Self {
            transfers,
            bytes,
            time_ns: nanoseconds(time),
            bytes_per_second: each_second(bytes, time),
            transfers_per_second: each_second(transfers, time),
            system_calls,
            processor_ns: nanoseconds(processor),
            counts,
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn each_second(count: u64, time: Duration) -> f64 {
    // CAST: more than 53 bits are more exact than the clock is.
    count as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_a_second() {
        let ms = Duration::from_millis;
        let told = Throughput::new((8, 8 << 20), ms(250), 4, ms(50), None);
        assert_eq!(told.bytes_per_second, f64::from(32 << 20));
        assert_eq!(told.transfers_per_second, 32.0);
        assert_eq!((told.time_ns, told.processor_ns), (250_000_000, 50_000_000));
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `userdma demo`: each card from end to end, in about thirty transfers.
//!
//! `buffers` gets the memory, `bulk` moves much of it at once, `print` lays out what is seen. What fails is explained
//! where it happens, and the demo goes on with what can be had; the last line and the exit status tell.

mod buffers;
mod bulk;
mod print;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use rand::rngs::SmallRng;
use rand::RngCore as _;
use rand::SeedableRng as _;
use userdma::Access;
use userdma::Bytes;
use userdma::Device;
use userdma::Kind;

use self::print::plural;
use self::print::Printer;
use crate::cli;
use crate::info;
use crate::interrupts;
use crate::interrupts::Counts;
use crate::memory::Memory;
use crate::report;
use crate::select;
use crate::trip;

pub(crate) fn run(device: Option<&str>, options: &cli::Demo) -> anyhow::Result<ExitCode> {
    let begin = Instant::now();
    let seed = options
        .seed
        .unwrap_or_else(|| SmallRng::from_os_rng().next_u64());
    let mut printer = Printer::default();
    for device in select::all(device, Access::ReadWrite)? {
        card(&device, options, seed, &mut printer);
    }
    Ok(printer.finish(begin.elapsed()))
}

/// Shows one card.
fn card(device: &Device, options: &cli::Demo, seed: u64, printer: &mut Printer) {
    printer.title(&format!(
        "userdma demo on {}, seed {seed}",
        device.path().display()
    ));
    for (name, value) in info::summary(device.info()) {
        printer.row(name, &value, None);
    }
    let before = (Counts::read(device), interrupts::in_kernel());
    let mut random = SmallRng::seed_from_u64(seed);
    match steps(device, options, &mut random, printer) {
        Ok(transfers) => count_interrupts(device, before, transfers, printer),
        Err(error) => printer.failure("stopped", &report::text(&error)),
    }
}

/// Does all that needs the card and gives how many transfers it was asked for.
fn steps(
    device: &Device,
    options: &cli::Demo,
    random: &mut SmallRng,
    printer: &mut Printer,
) -> anyhow::Result<u64> {
    printer.section("buffers");
    let coherent = buffers::allocate(device, Kind::Coherent, options.coherent, printer)?;
    let huge = buffers::allocate(device, Kind::Huge, options.huge, printer)?;
    let registered = buffers::register(device, options.registered, printer)?;
    let memories = [coherent, huge, registered].into_iter().flatten();
    let mut memories: Vec<Memory> = memories.collect();

    let mut transfers = 0;
    if memories.is_empty() {
        printer.failure("data", "no buffer could be had, so none was moved");
    } else {
        transfers += round(device, &mut memories, random, printer)?;
        let largest = memories
            .iter_mut()
            .filter(|memory| !memory.buffer().is_bounced())
            .max_by_key(|memory| {
                (
                    memory.buffer().kind() == Kind::Huge,
                    memory.buffer().length(),
                )
            });
        if let Some(memory) = largest {
            transfers += bulk::move_whole(device, memory, random, printer)?;
        }
    }
    printer.section("read() and write() of the card's memory");
    transfers += read_and_write(device, random, printer)?;
    Ok(transfers)
}

/// Sends data through the card; gives how many transfers that took.
fn round(
    device: &Device,
    memories: &mut [Memory],
    random: &mut SmallRng,
    printer: &mut Printer,
) -> anyhow::Result<u64> {
    let arrivals = trip::round(device, memories, random)?;
    let transfers = 2 * u64::try_from(arrivals.len())?;
    let Some(size) = arrivals.first().map(|arrival| arrival.bytes) else {
        printer.failure("data", "the buffers are too small to move any");
        return Ok(0);
    };
    printer.section(&format!(
        "through the card and back: {}, {} blocks of random data",
        plural(transfers, "transfer"),
        Bytes(size)
    ));
    for arrival in arrivals {
        printer.compared(&arrival.from, &arrival.text, arrival.time, &arrival.wrong);
    }
    Ok(transfers)
}

/// Writes the card's memory as a file and reads it back; gives the transfers.
fn read_and_write(
    device: &Device,
    random: &mut SmallRng,
    printer: &mut Printer,
) -> anyhow::Result<u64> {
    let size = device.info().card_size.min(4096);
    let mut data = vec![0; usize::try_from(size)?];
    random.fill_bytes(&mut data);
    let begin = Instant::now();
    device.write_all_at(&data, 0)?;
    let written = begin.elapsed();

    let mut back = vec![0; data.len()];
    let begin = Instant::now();
    device.read_exact_at(&mut back, 0)?;
    let read = begin.elapsed();

    let what = format!("{} at 0", Bytes(size));
    printer.row("write()", &what, Some(written));
    let wrong: Vec<_> = trip::difference(&data, &back).into_iter().collect();
    printer.compared("read()", &what, read, &wrong);
    let end = device.info().card_size;
    let count = device
        .read_at(&mut [0], end)
        .context("reading at the end")?;
    if count != 0 {
        printer.failure(
            "read()",
            &format!("{count} bytes at the end, where there are none"),
        );
    }
    Ok(2)
}

/// Shows how often the card was told of work, and how often it has told that work is
/// done. A card with rings is told of many descriptors at once, and may tell of many at
/// once; others interrupt for each.
fn count_interrupts(
    device: &Device,
    (before, in_kernel): (Option<Counts>, Option<u64>),
    transfers: u64,
    printer: &mut Printer,
) {
    printer.section("interrupts");
    let transfers = plural(transfers, "transfer");
    if let Some((before, after)) = before.zip(Counts::read(device)) {
        let counts = after.since(before);
        let one_by_one = counts.doorbells == counts.descriptors;
        let told = format!(
            "{} for {transfers}: {}, {}",
            counts.interrupts,
            plural(counts.descriptors, "descriptor"),
            plural(counts.doorbells, "doorbell"),
        );
        let too_few = match one_by_one {
            true => counts.interrupts < counts.descriptors,
            false => counts.interrupts == 0,
        };
        if counts.lost > 0 || too_few {
            printer.failure("lost", &told);
        } else {
            printer.row("counted", &told, None);
        }
    } else if let Some((before, after)) = in_kernel.zip(interrupts::in_kernel()) {
        let count = after.saturating_sub(before);
        let told = format!("{count} for {transfers}, counted by /proc/interrupts");
        match count {
            0 => printer.failure("lost", &told),
            _ => printer.row("counted", &told, None),
        }
    } else {
        printer.failure(
            "unknown",
            "nobody counts them: mount debugfs, or run as root",
        );
    }
}

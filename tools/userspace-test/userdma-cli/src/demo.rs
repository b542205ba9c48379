// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `userdma demo`: a card from end to end, in about twenty transfers.
//!
//! `plan` chooses the places, `round_trip` moves the data, `print` lays out
//! what is seen. What fails is explained where it happens, and the demo goes on
//! with what can be had; the last line and the exit status tell.

mod plan;
mod print;
mod round_trip;

use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use rand::rngs::SmallRng;
use rand::RngCore as _;
use rand::SeedableRng as _;
use userdma::Access;
use userdma::Buffer;
use userdma::BufferBuilder;
use userdma::Bytes;
use userdma::Device;
use userdma::ErrorKind;
use userdma::Kind;
use userdma::Mapping;

use self::print::plural;
use self::print::Printer;
use crate::cli;
use crate::info;
use crate::interrupts;
use crate::report;
use crate::select;
use crate::touch;

/// Bytes of a huge page.
const HUGE_PAGE: u64 = 2 << 20;

/// A buffer that is used by the rounds.
struct Memory {
    buffer: Buffer,
    mapping: Mapping,
}

pub(crate) fn run(device: Option<&str>, options: &cli::Demo) -> anyhow::Result<ExitCode> {
    let begin = Instant::now();
    let device = select::open(device, Access::ReadWrite)?;
    let seed = options
        .seed
        .unwrap_or_else(|| SmallRng::from_os_rng().next_u64());
    let mut printer = Printer::default();
    printer.title(&format!(
        "userdma demo on {}, seed {seed}",
        device.path().display()
    ));
    for (name, value) in info::summary(device.info()) {
        printer.row(name, &value, None);
    }
    let before = interrupts::read(&device);
    let mut random = SmallRng::seed_from_u64(seed);
    let result = steps(&device, options, &mut random, &mut printer).map(|transfers| {
        count_interrupts(&device, before, transfers, &mut printer);
    });
    if let Err(error) = result {
        printer.failure("stopped", &report::text(&error));
    }
    Ok(printer.finish(begin.elapsed()))
}

/// Does all that needs the card and gives how many transfers it was asked for.
fn steps(
    device: &Device,
    options: &cli::Demo,
    random: &mut SmallRng,
    printer: &mut Printer,
) -> anyhow::Result<u64> {
    printer.section("buffers");
    let coherent = allocate(device, Kind::Coherent, options.coherent, printer)?;
    let huge = allocate(device, Kind::Huge, options.huge, printer)?;
    let mut memories: Vec<Memory> = [coherent, huge].into_iter().flatten().collect();

    let mut transfers = 0;
    if memories.is_empty() {
        printer.failure("data", "no buffer could be had, so none was moved");
    } else {
        transfers += round_trip::run(device, &mut memories, random, printer)?;
    }
    printer.section("read() and write() of the card's memory");
    transfers += read_and_write(device, random, printer)?;
    Ok(transfers)
}

/// Gets a buffer of `length` bytes, or explains why not and gets what it can.
fn allocate(
    device: &Device,
    kind: Kind,
    length: u64,
    printer: &mut Printer,
) -> anyhow::Result<Option<Memory>> {
    let able = device.info().capabilities;
    let builder = |length| -> BufferBuilder<'_> {
        match kind {
            Kind::Huge => device.huge(length),
            _ => device.coherent(length),
        }
    };
    let begin = Instant::now();
    let error = match builder(length).allocate() {
        Ok(buffer) => return use_whole(buffer, begin.elapsed(), printer).map(Some),
        Err(error) => error,
    };
    let name = kind.to_string();
    printer.failure(&name, &error.report());
    if error.kind() == ErrorKind::Gone {
        return Err(error.into());
    }
    if (kind == Kind::Huge && !able.huge) || (kind == Kind::Coherent && !able.coherent) {
        return Ok(None);
    }
    // Of a huge buffer first all of it in smaller pages, then less.
    let sizes = [length, 4 << 20, 1 << 20, 64 << 10];
    for size in sizes
        .into_iter()
        .filter(|size| *size < length || kind == Kind::Huge)
    {
        let begin = Instant::now();
        if let Ok(buffer) = builder(size).fallback(kind == Kind::Huge).allocate() {
            printer.note("going on with what can be had:");
            return use_whole(buffer, begin.elapsed(), printer).map(Some);
        }
    }
    Ok(None)
}

/// Touches all of a buffer, tells what it is, and what using it cost.
fn use_whole(buffer: Buffer, allocated: Duration, printer: &mut Printer) -> anyhow::Result<Memory> {
    let info = buffer.info()?;
    let name = buffer.kind().to_string();
    let begin = Instant::now();
    let (mapping, faults) = touch::all(&buffer)?;
    let touched = begin.elapsed();
    let pages = Bytes(info.page_size);
    let mut text = format!("{}, pages of {pages}", Bytes(info.length));
    if info.fell_back {
        text.push_str(" (fell back)");
    }
    text.push_str(", ");
    text.push_str(&match info.segments {
        0 => "copied by the driver".to_owned(),
        // There may be many thousands, and the line is narrow.
        count if info.fell_back => plural(count.into(), "segment"),
        count => plural(count.into(), "DMA segment"),
    });
    printer.row(&name, &text, Some(allocated));
    printer.row(
        "",
        &format!(
            "{} to touch all of it",
            plural(u64::try_from(faults)?, "page fault")
        ),
        Some(touched),
    );
    if buffer.kind() == Kind::Huge && !info.fell_back {
        let pages = info.length / HUGE_PAGE;
        if u64::try_from(faults)? > pages {
            printer.failure(
                &name,
                &format!("{faults} page faults are more than its {pages} pages"),
            );
        }
        if u64::from(info.segments) > pages {
            printer.failure(
                &name,
                &format!("{} segments are more than its {pages} pages", info.segments),
            );
        }
    }
    Ok(Memory { buffer, mapping })
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
    printer.compared("read()", &what, read, round_trip::difference(&data, &back));
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

/// Each transfer ends with an interrupt: one that did not was lost.
fn count_interrupts(
    device: &Device,
    before: Option<interrupts::Interrupts>,
    transfers: u64,
    printer: &mut Printer,
) {
    printer.section("interrupts");
    match (before, interrupts::read(device)) {
        (Some(before), Some(after)) if before.source == after.source => {
            let count = after.count.saturating_sub(before.count);
            let told = format!(
                "{count} for {}, counted by {}",
                plural(transfers, "transfer"),
                after.source
            );
            if count < transfers {
                printer.failure("lost", &told);
            } else {
                printer.row("counted", &told, None);
            }
        }
        _ => printer.failure(
            "unknown",
            "nobody counts them: mount debugfs, or run as root",
        ),
    }
}

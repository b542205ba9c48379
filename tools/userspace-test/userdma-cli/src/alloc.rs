// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `userdma alloc`.

use std::io;
use std::io::IsTerminal as _;
use std::io::Read as _;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;
use userdma::Access;
use userdma::BufferInfo;
use userdma::Bytes;

use crate::cli;
use crate::select;
use crate::touch;

/// What is printed with `--json`.
#[derive(Serialize)]
struct Output {
    #[serde(flatten)]
    buffer: BufferInfo,
    requested: u64,
    allocate_ns: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    page_faults: Option<i64>,
}

pub(crate) fn run(device: Option<&str>, options: &cli::Alloc) -> anyhow::Result<()> {
    let device = select::open(device, Access::ReadWrite)?;
    let mut builder = match options.kind {
        cli::Kind::Coherent => device.coherent(options.size),
        cli::Kind::Huge => device.huge(options.size),
    };
    builder = builder
        .fallback(options.fallback)
        .no_bounce(options.no_bounce);
    if let Some(bytes) = options.page_size {
        builder = builder.page_size(bytes);
    }
    if let Some(node) = options.node {
        builder = builder.node(node);
    }
    let begin = Instant::now();
    let buffer = builder.allocate()?;
    let took = begin.elapsed();

    let touched = if options.touch {
        Some(touch::all(&buffer)?)
    } else {
        None
    };
    let faults = touched.as_ref().map(|(_, faults)| *faults);
    let info = buffer.info()?;
    if options.json {
        let output = Output {
            buffer: info,
            requested: options.size,
            allocate_ns: took.as_nanos(),
            page_faults: faults,
        };
        println!("{}", serde_json::to_string_pretty(&output)?);
    } else {
        table(&info, took, faults);
    }
    if options.hold {
        hold()?;
    }
    Ok(())
}

fn table(info: &BufferInfo, took: Duration, faults: Option<i64>) {
    let segments = match info.segments {
        0 => "none: the card cannot reach it, the driver copies each transfer".to_owned(),
        number => number.to_string(),
    };
    let pages = match info.fell_back {
        true => format!(
            "{} (fell back: too few huge pages were free)",
            Bytes(info.page_size)
        ),
        false => Bytes(info.page_size).to_string(),
    };
    let offset = match info.mmap_offset {
        0 => "none: mapped as a memfd".to_owned(),
        offset => format!("{offset:#x}"),
    };
    let yes_no = |yes| if yes { "yes" } else { "no" }.to_owned();
    let mut rows = vec![
        ("handle", info.handle.to_string()),
        ("kind", info.kind.to_string()),
        (
            "length",
            format!("{} ({})", Bytes(info.length), info.length),
        ),
        ("page size", pages),
        ("segments", segments),
        ("mmap offset", offset),
        (
            "NUMA node",
            info.numa_node
                .map_or("unknown".to_owned(), |node| node.to_string()),
        ),
        ("for O_DIRECT", yes_no(info.pinnable)),
        (
            "allocated in",
            format!("{:.1} ms", took.as_secs_f64() * 1e3),
        ),
    ];
    if let Some(faults) = faults {
        rows.push(("page faults", format!("{faults} to touch all of it")));
    }
    for (name, value) in rows {
        println!("{name:<14}{value}");
    }
}

/// Keeps the buffer; a signal ends the process, and the kernel then frees it.
fn hold() -> anyhow::Result<()> {
    let mut input = io::stdin().lock();
    if input.is_terminal() {
        eprintln!("holding it: Enter or Ctrl-C frees it");
    }
    let mut byte = [0];
    while input
        .read(&mut byte)
        .context("cannot read standard input")?
        > 0
        && byte != *b"\n"
    {}
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What was measured, for people: in 78 columns.

use userdma::Bytes;

use super::plan::Plan;
use super::report::Report;
use super::report::Row;
use super::times::Summary;
use crate::cli;
use crate::info;

const WIDTH: usize = 78;

/// Width of the column of sizes, and of those behind it.
const FIRST: usize = 9;
const WIDTHS: [usize; 10] = [8, 8, 6, 5, 7, 7, 7, 7, 7, 7];
const NAMES: [&str; 10] = [
    "MiB/s", "per sec", "calls", "CPU", "min", "median", "99%", "min", "median", "99%",
];

/// What is measured, where.
pub(super) fn header(report: &Report, plan: &Plan) -> String {
    let system = &report.system;
    let processors = match &system.processor {
        Some(name) => format!("{}, {name}", system.processors),
        None => system.processors.to_string(),
    };
    let together = match plan.batch {
        1 => String::new(),
        batch => format!(", at least {batch} together"),
    };
    let part = format!(
        "{:#x} to {:#x}, {}",
        plan.card.start,
        plan.card.end,
        match report.overwritten {
            true => "which is OVERWRITTEN",
            false => "which is read only",
        }
    );
    let mut rows = info::summary(&report.info);
    rows.extend([
        ("card's part", part),
        ("driver", format!("ABI version {}", report.info.abi_version)),
        (
            "kernel",
            format!("{}, {}", system.kernel, system.architecture),
        ),
        ("processors", processors),
        (
            "full queue",
            format!(
                "{} transfers in flight, by {}{together}",
                plan.flight,
                cli::name(&report.way)
            ),
        ),
    ]);
    let mut text = format!("userdma bench on {}\n", report.path.display());
    for (name, value) in rows {
        text.push_str(&format!("\n  {name:<14}{value}"));
    }
    text
}

/// What stands above rows.
pub(super) fn heading(row: &Row) -> String {
    let channels: Vec<_> = row.group.channels.iter().map(u16::to_string).collect();
    let above = format!(
        "{:FIRST$}{:^27}{:^21}{:^21}",
        "", "full queue", "one alone, us", "on the card, us"
    );
    format!(
        "\n{}, pages of {}{}; {}; channel{} {}\n{}\n{}",
        row.memory,
        Bytes(row.page_size),
        if row.bounced {
            ", copied by the driver"
        } else {
            ""
        },
        cli::name(&row.group.direction),
        if channels.len() == 1 { "" } else { "s" },
        channels.join(" "),
        above.trim_end(),
        columns("block", NAMES),
    )
}

/// The line of a row.
pub(super) fn line(row: &Row) -> String {
    let mut cells = Vec::new();
    match &row.full {
        None => cells.extend(["-"; 4].map(str::to_owned)),
        Some(full) => cells.extend([
            figure(full.bytes_per_second / f64::from(1 << 20)),
            figure(full.transfers_per_second),
            figure(ratio(full.system_calls, full.transfers)),
            format!("{:.0}%", 100.0 * ratio(full.processor_ns, full.time_ns)),
        ]),
    }
    for times in [Some(row.alone.program_ns), row.alone.card_ns] {
        match times {
            None => cells.extend(["-"; 3].map(str::to_owned)),
            Some(Summary {
                min, median, p99, ..
            }) => cells.extend([min, median, p99].map(|time| figure(ratio(time, 1000)))),
        }
    }
    columns(&Bytes(row.block).to_string(), cells)
}

fn columns<T: AsRef<str>>(first: &str, cells: impl IntoIterator<Item = T>) -> String {
    let rest = cells.into_iter().zip(WIDTHS);
    rest.fold(format!("{first:>FIRST$}"), |line, (cell, width)| {
        line + &format!("{:>width$}", cell.as_ref())
    })
}

fn ratio(part: u64, whole: u64) -> f64 {
    // CAST: three digits are shown.
    part as f64 / whole.max(1) as f64
}

/// Three digits, or all before the point.
fn figure(value: f64) -> String {
    let places = match value {
        small if small < 0.9995 => 3,
        small if small < 9.995 => 2,
        small if small < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.places$}")
}

/// How it was measured, and whether all of it was.
pub(super) fn footer(report: &Report, plan: &Plan) -> String {
    let mut text = format!(
        "How: for {half}, one transfer at a time on the first of the channels, from before it is \
         submitted until its end is taken; and on the card, from when it was given the transfer until the \
         driver saw its end, the interrupt included. The first of each row is not counted. Then for \
         {half} with {} in flight, from the first to be submitted to the last end that was taken. \
         us: microseconds; 99%: of a hundred, 99 are not longer; calls: system calls for one transfer; CPU: \
         of one processor, this program and the kernel for it. Data were not compared.",
        plan.flight,
        half = humantime::format_duration(plan.time),
    );
    if report.stopped {
        text.push_str(&format!(
            "\nStopped by a signal: {} of {} rows.",
            report.rows.len(),
            report.planned
        ));
    }
    let lines = text.lines().flat_map(|line| textwrap::wrap(line, WIDTH));
    lines.fold(String::new(), |text, line| text + "\n" + &line)
}

#[cfg(test)]
mod tests {
    use super::super::plan::Group;
    use super::super::report::Latency;
    use super::super::report::Throughput;
    use super::*;
    use crate::cli::Direction;

    fn row() -> Row {
        Row {
            memory: "huge".to_owned(),
            page_size: 2 << 20,
            bounced: false,
            group: Group {
                direction: Direction::ToCard,
                channels: vec![0, 3],
            },
            block: 64 << 10,
            alone: Latency {
                transfers: 500,
                program_ns: Summary {
                    min: 4_321,
                    median: 56_780,
                    p99: 100_270_000,
                    max: 200_000_000,
                },
                card_ns: None,
            },
            full: Some(Throughput {
                transfers: 1000,
                bytes: 1000 << 16,
                time_ns: 250_000_000,
                bytes_per_second: f64::from(250 << 20),
                transfers_per_second: 4000.0,
                system_calls: 31,
                processor_ns: 50_000_000,
                counts: None,
            }),
        }
    }

    #[test]
    fn a_row_has_the_units_of_its_heading() {
        let cells: Vec<_> = line(&row()).split_whitespace().map(str::to_owned).collect();
        assert_eq!(
            cells,
            ["64", "KiB", "250", "4000", "0.031", "20%", "4.32", "56.8", "100270", "-", "-", "-"]
        );
        let heading = heading(&row());
        let lines: Vec<_> = heading.lines().collect();
        assert_eq!(lines[1], "huge, pages of 2 MiB; to-card; channels 0 3");
        let names: Vec<_> = lines[3].split_whitespace().skip(1).collect();
        assert_eq!(names.join(" "), NAMES.join(" "));
        assert!(lines[2].contains("one alone, us"), "{heading}");
    }

    #[test]
    fn columns_stand_in_line_and_are_narrow() {
        let mut row = row();
        let all = line(&row);
        row.full = None;
        for text in heading(&row).lines().skip(3).chain([&*all, &*line(&row)]) {
            assert_eq!(text.len(), WIDTH, "{text}");
        }
    }

    #[test]
    fn figures_have_three_digits() {
        for (value, text) in [
            (0.0, "0.000"),
            (0.0386, "0.039"),
            (0.9996, "1.00"),
            (9.994, "9.99"),
            (9.996, "10.0"),
            (99.96, "100"),
            (123_456.7, "123457"),
        ] {
            assert_eq!(figure(value), text);
        }
    }
}

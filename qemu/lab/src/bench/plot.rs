// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The figures that a person wants to see at a glance, as a picture.

use anyhow::anyhow;
use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::bench::figures::Figures;
use crate::bench::figures::BULK;
use crate::bench::figures::IOMMU;
use crate::bench::figures::PLAIN;

const SIZE: (u32, u32) = (1200, 1300);
const FONT: (&str, u32) = ("sans-serif", 16);
const TITLE: (&str, u32) = ("sans-serif", 20);
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0x7f, 0x7f, 0x7f),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A line of a diagram: its name, and its points.
type Line = (&'static str, Vec<(f64, f64)>);

/// The picture. What was not counted is left out.
pub(crate) fn svg(figures: &Figures) -> Result<String> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(lost)?;
        let panels = root.split_evenly((3, 1));
        let each = each(figures);
        lines(
            &panels[0],
            "Instructions for each transfer (or NOP) of a batch, no IOMMU",
            "transfers in a batch",
            &each,
        )?;
        bars(
            &panels[1],
            "Instructions from the interrupt to the woken program, Intel IOMMU",
            &woken(figures),
        )?;
        lines(
            &panels[2],
            "Throughput of edu-daq, percent of what its model can copy",
            "KiB in a transfer",
            &shares(figures),
        )?;
        root.present().map_err(lost)?;
    }
    Ok(text)
}

/// The number that the name of a row begins with.
fn leading(row: &str) -> Option<f64> {
    row.split(' ').next()?.parse().ok()
}

/// A value of the rows that `wanted` takes.
fn points(
    figures: &Figures,
    (guest, table): (&str, &str),
    wanted: impl Fn(&str) -> bool,
    value: &str,
) -> Vec<(f64, f64)> {
    let rows = figures.rows(guest, table).filter(|row| wanted(&row.row));
    rows.filter_map(|row| {
        let found = row.values.iter().find(|one| one.name == value)?;
        // CAST: a picture has no use for more digits.
        Some((leading(&row.row)?, found.median as f64))
    })
    .collect()
}

fn each(figures: &Figures) -> Vec<Line> {
    let ioctl = |value| points(figures, (PLAIN, "transfer"), |_| true, value);
    let uring = |end: &'static str, value| {
        points(figures, (PLAIN, "uring"), |row| row.ends_with(end), value)
    };
    vec![
        ("SUBMIT", ioctl("SUBMIT each")),
        ("WAIT, ready", ioctl("WAIT each")),
        ("io_uring, fixed file", uring("fixed file", "each")),
        (
            "io_uring, to take what is ready",
            uring("fixed file", "take each"),
        ),
        ("io_uring NOP", uring("NOP", "each")),
    ]
}

fn woken(figures: &Figures) -> Vec<(String, f64)> {
    let rows = figures.rows(IOMMU, "wake");
    rows.filter_map(|row| Some((row.row.clone(), row.values.first()?.median as f64)))
        .collect()
}

fn shares(figures: &Figures) -> Vec<Line> {
    let way =
        |end: &'static str| points(figures, (BULK, "bulk"), |row| row.ends_with(end), "percent");
    vec![
        ("to the card", way("to the card")),
        ("from the card", way("from the card")),
    ]
}

fn lines(area: &Area<'_>, title: &str, across: &str, lines: &[Line]) -> Result<()> {
    let all = || lines.iter().flat_map(|(_, points)| points);
    if all().next().is_none() {
        return Ok(());
    }
    let most = |f: fn(&(f64, f64)) -> f64| all().map(f).fold(1.0, f64::max);
    let least = all().map(|point| point.0).fold(f64::MAX, f64::min);
    let (right, top) = (most(|point| point.0), most(|point| point.1));
    let mut chart = ChartBuilder::on(area)
        .caption(title, TITLE)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d((least..right * 1.1).log_scale(), 0.0..top * 1.1)
        .map_err(lost)?;
    chart
        .configure_mesh()
        .x_desc(across)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .label_style(FONT)
        .draw()
        .map_err(lost)?;
    for ((name, points), colour) in lines.iter().zip(COLOURS) {
        let series = LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3);
        chart
            .draw_series(series)
            .map_err(lost)?
            .label(*name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 16, y + 4)], colour.filled()));
    }
    // Where the lines are not: they fall, or rise.
    let falls = lines.iter().any(|(_, points)| {
        let ends = points.first().zip(points.last());
        ends.is_some_and(|(first, last)| first.1 > last.1)
    });
    chart
        .configure_series_labels()
        .position(match falls {
            true => SeriesLabelPosition::UpperRight,
            false => SeriesLabelPosition::UpperLeft,
        })
        .background_style(WHITE.mix(0.8))
        .label_font(FONT)
        .draw()
        .map_err(lost)
}

fn bars(area: &Area<'_>, title: &str, bars: &[(String, f64)]) -> Result<()> {
    if bars.is_empty() {
        return Ok(());
    }
    let most = bars.iter().map(|bar| bar.1).fold(1.0, f64::max);
    // CAST: there are a few.
    let mut chart = ChartBuilder::on(area)
        .caption(title, TITLE)
        .margin(16)
        .x_label_area_size(28)
        .build_cartesian_2d(0.0..most * 1.4, 0.0..bars.len() as f64)
        .map_err(lost)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_label_formatter(&|x| format!("{x:.0}"))
        .label_style(FONT)
        .draw()
        .map_err(lost)?;
    for (number, (name, value)) in bars.iter().rev().enumerate() {
        let bottom = number as f64;
        let bar = [(0.0, bottom + 0.15), (*value, bottom + 0.85)];
        let words = format!("{name}: {value:.0}");
        chart
            .draw_series([Rectangle::new(bar, COLOURS[0].mix(0.6).filled())])
            .map_err(lost)?;
        chart
            .draw_series([Text::new(words, (most * 0.01, bottom + 0.65), FONT)])
            .map_err(lost)?;
    }
    Ok(())
}

/// An error of the library's, which cannot leave it as it is.
fn lost(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("drawing the plot: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Result<Figures> {
        let row = |table: &str, row: &str, value: &str| {
            serde_json::from_value(serde_json::json!({
                "table": table, "row": row,
                "values": [{ "name": value, "median": 77, "samples": [77] }],
            }))
        };
        let mut figures = Figures::default();
        figures.add(
            PLAIN,
            vec![
                row("transfer", "1 transfer of 64 bytes", "SUBMIT each")?,
                row("transfer", "64 transfers of 64 bytes", "SUBMIT each")?,
            ],
        );
        figures.add(IOMMU, vec![row("wake", "poll", "instructions")?]);
        Ok(figures)
    }

    #[test]
    fn what_was_counted_is_in_the_picture() -> Result<()> {
        let figures = figures()?;
        assert_eq!(each(&figures)[0].1, [(1.0, 77.0), (64.0, 77.0)]);
        let text = svg(&figures)?;
        for part in ["<svg", "poll: 77", "transfers in a batch", "</svg>"] {
            assert!(text.contains(part), "{part}");
        }
        // Nobody has measured it.
        assert!(!text.contains("Throughput"));
        Ok(())
    }
}

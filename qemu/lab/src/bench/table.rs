// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tables of figures, as text: a row's guests side by side.

use crate::bench::figures::thousands;
use crate::bench::figures::Figures;
use crate::bench::figures::Row;
use crate::bench::BULK;
use crate::bench::GUESTS;

/// The tables in their order, and what stands above them.
const TITLES: [(&str, &str); 15] = [
    ("base", "A system call"),
    (
        "register",
        "BUF_REGISTER and BUF_FREE of 64 MiB; in how many runs of memory they lie",
    ),
    (
        "vfio",
        "VFIO type 1, VFIO_IOMMU_MAP_DMA and VFIO_IOMMU_UNMAP_DMA of 64 MiB",
    ),
    ("alloc", "BUF_ALLOC and BUF_FREE"),
    (
        "copy",
        "BUF_REGISTER and BUF_FREE together, against copying as much: pread() of a memfd",
    ),
    (
        "memory",
        "32 MiB that a card can reach: allocated, mapped, and each page written to",
    ),
    ("edu", "edu: a transfer that is not waited for"),
    (
        "transfer",
        "edu-daq: SUBMIT of a batch, and WAIT for all of it when it is ready",
    ),
    (
        "traffic",
        "edu-daq: what SUBMIT of a batch and WAIT for all of it make program and card do",
    ),
    ("cancel", "edu-daq: CANCEL"),
    (
        "uring",
        "io_uring_enter() of a batch; of transfers of edu-daq also to take what is ready",
    ),
    (
        "wake",
        "From the interrupt to the program that sleeps for it; to edu-daq one transfer was given",
    ),
    (
        "polled",
        "io_uring with SQPOLL: what a program does that gives transfers and takes their ends",
    ),
    ("request", "pread() and pwrite() of the card"),
    (
        "bulk",
        "edu-daq: throughput, 32 transfers queued, and what the model copies while it copies",
    ),
];

/// All tables.
pub(crate) fn all(figures: &Figures) -> String {
    TITLES
        .iter()
        .map(|(table, title)| one(figures, table, title))
        .collect()
}

fn one(figures: &Figures, table: &str, title: &str) -> String {
    let guests: Vec<(&str, Vec<&Row>)> = GUESTS
        .into_iter()
        .chain([BULK])
        .map(|(guest, name)| (name, figures.rows(guest, table).collect::<Vec<_>>()))
        .filter(|(_, rows)| !rows.is_empty())
        .collect();
    if guests.is_empty() {
        return String::new();
    }
    let mut lines = vec![vec![String::new()], vec![String::new()]];
    for (name, rows) in &guests {
        let longest = rows.iter().max_by_key(|row| row.values.len());
        let names = longest.into_iter().flat_map(|row| &row.values);
        let names = names.map(|value| value.name.clone());
        for (number, value) in names.enumerate() {
            lines[0].push(if number == 0 {
                format!("{name}:")
            } else {
                String::new()
            });
            lines[1].push(value);
        }
    }
    let names = guests.first().map(|(_, rows)| rows.as_slice());
    for row in names.unwrap_or_default() {
        let mut line = vec![row.row.clone()];
        for (_, rows) in &guests {
            let other = rows.iter().find(|other| other.row == row.row);
            let values = other.map(|other| other.values.as_slice());
            line.extend(
                values
                    .unwrap_or_default()
                    .iter()
                    .map(|value| thousands(value.median)),
            );
        }
        lines.push(line);
    }
    format!("\n{title}\n{}", columns(&lines))
}

/// Sets lines of cells in columns, the first to the left, the others to the right.
fn columns(lines: &[Vec<String>]) -> String {
    let count = lines.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in lines {
        let mut set = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            set.push_str(&match column {
                0 => format!("  {cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            });
        }
        text.push_str(set.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let lines = [
            vec!["a".to_owned(), "1,000".to_owned()],
            vec!["abc".to_owned(), "2".to_owned()],
        ];
        assert_eq!(columns(&lines), "  a    1,000\n  abc      2\n");
    }
}

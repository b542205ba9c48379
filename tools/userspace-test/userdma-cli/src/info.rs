// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `userdma info`.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use userdma::Access;
use userdma::Bytes;

use crate::cli;
use crate::select;

/// An element of the JSON array.
#[derive(Serialize)]
struct Entry<'a> {
    path: &'a Path,
    #[serde(flatten)]
    info: &'a userdma::Info,
}

pub(crate) fn run(device: Option<&str>, options: &cli::Info) -> anyhow::Result<()> {
    let devices = select::all(device, Access::ReadOnly)?;
    if options.json {
        let entries: Vec<_> = devices
            .iter()
            .map(|device| Entry {
                path: device.path(),
                info: device.info(),
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&entries)?);
        return Ok(());
    }
    for (number, device) in devices.iter().enumerate() {
        if number > 0 {
            println!();
        }
        println!("{}\n{}", device.path().display(), Table(device.info()));
    }
    Ok(())
}

/// What the card is; the demo shows it too.
pub(crate) fn summary(info: &userdma::Info) -> Vec<(&'static str, String)> {
    let count =
        |number: u32, name: &str| format!("{number} {name}{}", if number == 1 { "" } else { "s" });
    vec![
        ("backend", info.backend.clone()),
        ("bus name", info.bus_name.clone()),
        (
            "DMA mask",
            format!("{} bits{}", info.dma_mask_bits(), reach(info)),
        ),
        (
            "IOMMU",
            if info.capabilities.iommu {
                "translates"
            } else {
                "none, or it does not translate"
            }
            .to_owned(),
        ),
        (
            "interrupt",
            format!("{}, {}", info.interrupt, count(info.vectors, "vector")),
        ),
        (
            "channels",
            format!(
                "{}, {} in flight at most",
                info.channels,
                count(info.depth, "transfer")
            ),
        ),
        ("card memory", Bytes(info.card_size).to_string()),
    ]
}

fn reach(info: &userdma::Info) -> String {
    info.dma_mask.checked_add(1).map_or(String::new(), |end| {
        format!(": the card reaches the first {}", Bytes(end))
    })
}

/// The table for people.
struct Table<'a>(&'a userdma::Info);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.0;
        let can = &info.capabilities;
        let list = |words: &[(bool, &'static str)]| {
            let able: Vec<_> = words
                .iter()
                .filter(|(able, _)| *able)
                .map(|(_, word)| *word)
                .collect();
            if able.is_empty() {
                "none".to_owned()
            } else {
                able.join(", ")
            }
        };
        let huge = if can.bounce {
            "huge (copied by the driver)"
        } else {
            "huge"
        };
        let mut rows = summary(info);
        rows.extend([
            (
                "buffers",
                list(&[
                    (can.coherent, "coherent"),
                    (can.huge, huge),
                    (can.register, "registered memory"),
                ]),
            ),
            (
                "transfers",
                list(&[
                    (can.to_card, "to card"),
                    (can.from_card, "from card"),
                    (can.host_to_host, "buffer to buffer"),
                    (can.abort, "can be stopped"),
                ]),
            ),
            (
                "one transfer",
                format!(
                    "at most {}, in pieces of {}",
                    Bytes(info.max_transfer),
                    Bytes(info.max_descriptor)
                ),
            ),
            (
                "read, write",
                match info.direct_min {
                    Some(least) => format!("without a copy from {} on", Bytes(least)),
                    None => "copied by the driver".to_owned(),
                },
            ),
            ("alignment", Bytes(info.alignment.into()).to_string()),
            ("time limit", format!("{:?} for each piece", info.timeout)),
            ("regions", info.regions.to_string()),
            (
                "NUMA node",
                info.numa_node
                    .map_or("unknown".to_owned(), |node| node.to_string()),
            ),
            ("ABI version", info.abi_version.to_string()),
        ]);
        for (name, value) in rows {
            writeln!(f, "  {name:<14}{value}")?;
        }
        writeln!(
            f,
            "  {:<14}{:>12} {:>12} {:>12}",
            "memory", "this file", "this user", "all"
        )?;
        let numbers = |file, user, total| [file, user, total].map(|bytes| Bytes(bytes).to_string());
        let used = numbers(info.used.file, info.used.user, info.used.total);
        let limits = numbers(info.limits.file, info.limits.user, info.limits.total);
        writeln!(
            f,
            "  {:<14}{:>12} {:>12} {:>12}",
            "  in use", used[0], used[1], used[2]
        )?;
        writeln!(
            f,
            "  {:<14}{:>12} {:>12} {:>12}",
            "  limit", limits[0], limits[1], limits[2]
        )?;
        write!(f, "  {:<14}{:>12}", "  buffers", info.max_buffers)
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The figures as the guests print them.

use std::collections::BTreeMap;

use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;

/// The guest without an IOMMU.
pub(crate) const PLAIN: &str = "bench";
/// The guest with one.
pub(crate) const IOMMU: &str = "bench-iommu";
/// The guest in which throughput is measured by the clock.
pub(crate) const BULK: &str = "bench-bulk";

/// A row of a table.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) table: String,
    pub(crate) row: String,
    pub(crate) values: Vec<Value>,
}

/// A figure of a row.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) median: u64,
    pub(crate) samples: Vec<u64>,
}

/// All of them, by guest.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures(BTreeMap<String, Vec<Row>>);

impl Figures {
    /// Adds what a guest has counted.
    pub(crate) fn add(&mut self, guest: &str, rows: Vec<Row>) {
        self.0.insert(guest.to_owned(), rows);
    }

    /// Every figure, with a name that says what it is of.
    pub(crate) fn each(&self) -> impl Iterator<Item = (String, &Value)> {
        self.0.iter().flat_map(|(guest, rows)| {
            rows.iter().flat_map(move |row| {
                let name = format!("{guest}: {}: {}", row.table, row.row);
                let values = row.values.iter();
                values.map(move |value| (format!("{name}: {}", value.name), value))
            })
        })
    }

    /// Whether this table was counted in both guests that count.
    pub(crate) fn has(&self, table: &str) -> bool {
        let mut guests = [PLAIN, IOMMU].into_iter();
        guests.all(|guest| self.rows(guest, table).next().is_some())
    }

    /// A guest's rows of a table.
    pub(crate) fn rows<'a>(
        &'a self,
        guest: &str,
        table: &'a str,
    ) -> impl Iterator<Item = &'a Row> + 'a {
        let rows = self.0.get(guest).map(Vec::as_slice).unwrap_or_default();
        rows.iter().filter(move |row| row.table == table)
    }

    /// One figure.
    pub(crate) fn get(&self, guest: &str, table: &str, row: &str, value: &str) -> Result<u64> {
        self.rows(guest, table)
            .find(|one| one.row == row)
            .and_then(|one| one.values.iter().find(|one| one.name == value))
            .map(|one| one.median)
            .with_context(|| format!("guest {guest} has not counted {table}: {row}: {value}"))
    }
}

/// A number as people read it: 12,345.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_told_apart() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(41_800_000), "41,800,000");
    }

    #[test]
    fn a_figure_that_is_missing_is_an_error() -> Result<()> {
        let row = r#"{"table":"t","row":"r","values":[{"name":"v","median":7,"samples":[7]}]}"#;
        let mut figures = Figures::default();
        figures.add(PLAIN, vec![serde_json::from_str(row)?]);
        assert_eq!(figures.get(PLAIN, "t", "r", "v")?, 7);
        assert!(figures.get(PLAIN, "t", "r", "w").is_err());
        assert!(figures.get(IOMMU, "t", "r", "v").is_err());
        Ok(())
    }
}

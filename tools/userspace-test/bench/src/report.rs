// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What was measured, as lines that the laboratory reads.

use anyhow::Result;
use serde::Serialize;

use crate::counter::median;

/// What each line begins with.
const MARK: &str = "bench: ";

/// A row of a table.
#[derive(Debug, Serialize)]
struct Row {
    table: &'static str,
    row: String,
    values: Vec<Value>,
}

/// A figure of a row.
#[derive(Debug, Serialize)]
struct Value {
    name: &'static str,
    median: u64,
    /// In the order in which they were taken.
    samples: Vec<u64>,
}

/// All rows.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Row>);

impl Report {
    /// Adds a row: the samples of each of its values.
    pub(crate) fn row<const N: usize>(
        &mut self,
        table: &'static str,
        row: impl Into<String>,
        values: [(&'static str, Vec<u64>); N],
    ) {
        self.0.push(Row {
            table,
            row: row.into(),
            values: values
                .into_iter()
                .map(|(name, samples)| Value {
                    name,
                    median: median(&samples),
                    samples,
                })
                .collect(),
        });
    }

    /// Prints all.
    pub(crate) fn print(&self) -> Result<()> {
        for row in &self.0 {
            println!("{MARK}{}", serde_json::to_string(row)?);
        }
        Ok(())
    }
}

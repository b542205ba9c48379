// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One view of the ABI: a line for each constant, structure and field.

use std::path::PathBuf;

/// Gives a path in the source tree.
pub(crate) fn tree(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../..", path]
        .iter()
        .collect()
}

/// A field's type: what its size alone does not tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Bytes of the integer, or of an element of the array.
    pub(crate) size: usize,
    pub(crate) signed: bool,
    /// Elements of an array.
    pub(crate) elements: Option<usize>,
}

impl Shape {
    fn name(self) -> String {
        let element = match (self.size, self.signed) {
            // Whether `char` has a sign is up to the compiler; the kernel's
            // has none.
            (1, _) => "char".to_owned(),
            (size, true) => format!("s{}", 8 * size),
            (size, false) => format!("u{}", 8 * size),
        };
        match self.elements {
            Some(elements) => format!("{element}[{elements}]"),
            None => element,
        }
    }
}

pub(crate) fn constant_line(name: &str, value: u64) -> String {
    format!("constant {name}: {value:#x}")
}

pub(crate) fn structure_line(name: &str, size: usize, align: usize) -> String {
    format!("struct {name}: size {size}, alignment {align}")
}

pub(crate) fn field_line(structure: &str, name: &str, offset: usize, shape: Shape) -> String {
    format!(
        "field {structure}.{name}: offset {offset}, {}",
        shape.name()
    )
}

/// Fails if two views differ, and shows the lines that only one of them has.
pub(crate) fn assert_same(what: &str, this: &[String], other: &[String]) {
    let only = |these: &[String], others: &[String], mark: &str| -> Vec<String> {
        let missing = these.iter().filter(|line| !others.contains(line));
        missing.map(|line| format!("{mark} {line}")).collect()
    };
    let mut lines = only(this, other, "-");
    lines.extend(only(other, this, "+"));
    assert!(lines.is_empty(), "{what}:\n{}", lines.join("\n"));
}

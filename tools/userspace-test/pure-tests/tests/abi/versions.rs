// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Programs that were compiled with an older header must go on working.
//!
//! `versions/` has a view of the ABI for each version. That of this version
//! must be exact; of the older ones all must still be there, but a structure
//! may have grown at its end, and a reserved field may have got a use.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::c;
use crate::view::{assert_same, tree};

const VERSION: u32 = userdma::sys::USERDMA_ABI_VERSION;

fn path(version: u32) -> PathBuf {
    let name = format!("tests/abi/versions/v{version}.txt");
    [env!("CARGO_MANIFEST_DIR"), &name].iter().collect()
}

fn recorded(version: u32) -> Vec<String> {
    let path = path(version);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| {
        let now = c::view("-m64").join("\n");
        panic!(
            "{}: {error}. Each version of the ABI is recorded, once and for all; this is it:\n\n\
             # SPDX-License-Identifier: GPL-2.0 OR MIT\n{now}\n",
            path.display()
        )
    });
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[test]
fn this_version_is_what_was_recorded() {
    let what = format!(
        "- v{VERSION}.txt, + the header. What was released cannot change; what is new needs a new \
         USERDMA_ABI_VERSION, and a file for it"
    );
    assert_same(&what, &recorded(VERSION), &c::view("-m64"));
}

/// Splits "struct NAME: size N, alignment M".
fn size_and_alignment(line: &str) -> Option<(&str, usize, &str)> {
    let (name, rest) = line.strip_prefix("struct ")?.split_once(": size ")?;
    let (size, alignment) = rest.split_once(", alignment ")?;
    Some((name, size.parse().ok()?, alignment))
}

/// Whether `now` keeps what a program knows from `old`.
fn kept(old: &str, now: &[String]) -> bool {
    if now.iter().any(|line| line == old) {
        return true;
    }
    if let Some((name, size, alignment)) = size_and_alignment(old) {
        let grown = |line: &String| {
            size_and_alignment(line).is_some_and(|(now_name, now_size, now_alignment)| {
                now_name == name && now_size > size && now_alignment == alignment
            })
        };
        return now.iter().any(grown);
    }
    old.starts_with("constant USERDMA_ABI_VERSION:") || reserved(old)
}

/// A reserved field was zero, whatever is there now.
fn reserved(line: &str) -> bool {
    let field = line
        .strip_prefix("field ")
        .and_then(|rest| rest.split_once(": "));
    let name = field.and_then(|(name, _)| name.split_once('.'));
    name.is_some_and(|(_, field)| field.trim_start_matches("out_").starts_with("reserved"))
}

#[test]
fn programs_of_every_version_go_on_working() {
    let now = c::view("-m64");
    for version in 1..=VERSION {
        let recorded = recorded(version);
        assert!(recorded.len() > 100, "v{version} is not complete");
        let lost: Vec<_> = recorded.iter().filter(|old| !kept(old, &now)).collect();
        assert!(
            lost.is_empty(),
            "programs of version {version} rely on {lost:#?}"
        );
    }
}

/// Gives each structure with its size in the version that brought it.
fn first_sizes() -> BTreeMap<String, usize> {
    let mut sizes = BTreeMap::new();
    for version in 1..=VERSION {
        for line in recorded(version) {
            if let Some((name, size, _)) = size_and_alignment(&line) {
                sizes.entry(name.to_owned()).or_insert(size);
            }
        }
    }
    sizes
}

/// The module takes each structure from the size on that it first had.
#[test]
fn the_module_accepts_the_first_sizes() {
    let source = fs::read_to_string(tree("rust/uapi.rs")).expect("rust/uapi.rs is there");
    let (_, table) = source
        .split_once("first_sizes! {")
        .expect("it has the table");
    let (table, _) = table.split_once('}').expect("the table ends");
    let mut accepted: Vec<&str> = table.split(',').map(str::trim).collect();
    accepted.retain(|entry| !entry.is_empty());
    accepted.sort_unstable();
    let expected = first_sizes().into_iter();
    let mut expected: Vec<String> = expected
        .map(|(name, size)| format!("{name}: {size}"))
        .collect();
    expected.sort_unstable();
    assert_eq!(accepted, expected);
}

/// `kept()` itself: what may change, and what may not.
#[test]
fn what_may_change() {
    let now = [
        "constant USERDMA_ABI_VERSION: 0x2",
        "constant USERDMA_A: 0x1",
        "struct s: size 24, alignment 8",
        "field s.a: offset 4, u32",
        "field s.used: offset 8, u64",
        "field s.new: offset 16, u64",
    ]
    .map(str::to_owned);
    for good in [
        "constant USERDMA_ABI_VERSION: 0x1",
        "constant USERDMA_A: 0x1",
        "struct s: size 16, alignment 8",
        "struct s: size 24, alignment 8",
        "field s.a: offset 4, u32",
        "field s.reserved: offset 8, u64",
        "field s.out_reserved2: offset 8, u64",
    ] {
        assert!(kept(good, &now), "{good}");
    }
    for bad in [
        "constant USERDMA_A: 0x2",
        "constant USERDMA_B: 0x1",
        "struct s: size 32, alignment 8",
        "struct s: size 16, alignment 4",
        "struct t: size 16, alignment 8",
        "field s.a: offset 4, s32",
        "field s.a: offset 0, u32",
        "field s.unreserved: offset 8, u64",
    ] {
        assert!(!kept(bad, &now), "{bad}");
    }
}

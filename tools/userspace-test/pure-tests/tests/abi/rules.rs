// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the header promises in words.

use userdma::sys;

use crate::c::view;

/// Elements of arrays: they have no size of their own.
const ENTRIES: [&str; 2] = ["userdma_transfer", "userdma_completion"];

struct Field {
    name: String,
    offset: usize,
    kind: String,
}

struct Structure {
    name: String,
    size: usize,
    fields: Vec<Field>,
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

/// Takes the lines of a view apart.
fn structures() -> Vec<Structure> {
    let mut structures: Vec<Structure> = Vec::new();
    for line in view("-m64") {
        let words: Vec<&str> = line
            .split([' ', ':', ',', '.'])
            .filter(|w| !w.is_empty())
            .collect();
        match (words[..].as_ref(), structures.last_mut()) {
            (["struct", name, "size", size, ..], _) => structures.push(Structure {
                name: (*name).to_owned(),
                size: number(size),
                fields: Vec::new(),
            }),
            (["field", _, name, "offset", offset, kind], Some(structure)) => {
                structure.fields.push(Field {
                    name: (*name).to_owned(),
                    offset: number(offset),
                    kind: (*kind).to_owned(),
                });
            }
            (["constant", ..], _) => {}
            _ => panic!("what is this: {line}"),
        }
    }
    assert!(structures.len() >= 8);
    structures
}

/// Bytes of a type as views name it: "u32", "char[16]".
fn bytes(kind: &str) -> usize {
    let (element, count) = match kind.split_once('[') {
        Some((element, count)) => (element, number(count.trim_end_matches(']'))),
        None => (kind, 1),
    };
    match element {
        "char" => count,
        integer => number(&integer[1..]) / 8 * count,
    }
}

#[test]
fn commands_begin_with_size_and_flags() {
    for structure in structures() {
        if ENTRIES.contains(&&*structure.name) {
            continue;
        }
        for (field, (name, offset)) in structure.fields.iter().zip([("size", 0), ("flags", 4)]) {
            let found = (&*field.name, field.offset, &*field.kind);
            assert_eq!(found, (name, offset, "u32"), "{}", structure.name);
        }
    }
}

#[test]
fn entries_have_64_bytes_and_no_size() {
    let mut found = 0;
    for structure in structures() {
        let has_size = structure.fields.iter().any(|field| field.name == "size");
        let entry = ENTRIES.contains(&&*structure.name);
        assert_ne!(has_size, entry, "{}", structure.name);
        if entry {
            assert_eq!(structure.size, 64, "{}", structure.name);
            found += 1;
        }
    }
    assert_eq!(found, ENTRIES.len());
}

/// No hole, no tail, no field that shares its place with another; each in a
/// place where every machine can read it at once.
#[test]
fn fields_follow_each_other() {
    for structure in structures() {
        let mut end = 0;
        for field in &structure.fields {
            let what = format!("{}.{}", structure.name, field.name);
            assert_eq!(field.offset, end, "{what}");
            let natural = bytes(field.kind.split('[').next().unwrap_or_default());
            assert_eq!(field.offset % natural.max(1), 0, "{what}");
            end += bytes(&field.kind);
        }
        assert_eq!(end, structure.size, "{}", structure.name);
        assert_eq!(structure.size % 8, 0, "{}", structure.name);
    }
}

/// So that a structure can grow and keep its command.
#[test]
fn commands_carry_no_direction_and_no_size() {
    let commands = [
        (0x00, sys::USERDMA_IOCTL_INFO),
        (0x01, sys::USERDMA_IOCTL_BUF_ALLOC),
        (0x02, sys::USERDMA_IOCTL_BUF_INFO),
        (0x03, sys::USERDMA_IOCTL_BUF_FREE),
        (0x04, sys::USERDMA_IOCTL_SUBMIT),
        (0x05, sys::USERDMA_IOCTL_WAIT),
        (0x06, sys::USERDMA_IOCTL_CANCEL),
        (0x07, sys::USERDMA_IOCTL_BUF_REGISTER),
        (0x08, sys::USERDMA_IOCTL_BUF_SYNC),
        (0x09, sys::USERDMA_IOCTL_EVENTFD),
    ];
    for (number, command) in commands {
        assert_eq!(command, (sys::USERDMA_IOCTL_TYPE << 8) | number);
    }
    // Any other is one of these too.
    let named = view("-m64");
    let named = named
        .iter()
        .filter_map(|line| line.strip_prefix("constant USERDMA_IOCTL_"));
    let mut values: Vec<_> = named.filter_map(|line| line.split_once(": 0x")).collect();
    values.retain(|(name, _)| *name != "TYPE");
    assert!(values.len() >= commands.len());
    for (name, value) in values {
        let value = u64::from_str_radix(value, 16).unwrap_or_else(|_| panic!("{name}: {value}"));
        assert_eq!(value >> 8, u64::from(sys::USERDMA_IOCTL_TYPE), "{name}");
    }
}

/// mmap2() takes the number of a page of 4 KiB, in 32 bits.
#[test]
fn mmap_offsets_fit_programs_of_32_bits() {
    let (start, end) = (sys::USERDMA_MMAP_BUFFERS, sys::USERDMA_MMAP_END);
    for offset in [start, end] {
        assert_eq!(offset % (2 << 20), 0);
    }
    assert!((start..end).contains(&(end - 1)));
    assert!((end - 1) >> 12 <= u64::from(u32::MAX));
}

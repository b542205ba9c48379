// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is said about memory that cannot be registered.

use super::*;

const START: u64 = 0x10_0000;

fn request() -> Registration {
    Registration {
        place: Place::Address(START),
        length: 64 << 20,
        source: false,
        file_size: None,
    }
}

fn edu() -> Info {
    crate::info::tests::edu()
}

/// May lock 8 MiB, has locked 6 MiB, and has one good mapping.
fn process() -> Process {
    Process {
        memlock: Some(8 << 20),
        locked: 6 << 20,
        ipc_lock: false,
        areas: vec![Area {
            range: START..START + (64 << 20),
            readable: true,
            writable: true,
            ..Area::default()
        }],
    }
}

fn told(what: &Registration, errno: Errno, process: &Process) -> Explanation {
    let memory = Memory {
        available: 1 << 30,
        end: 2 << 30,
        ..Memory::default()
    };
    register(what, errno, &edu(), process, &memory)
}

/// As `process()`, with its mapping changed.
fn with(change: impl FnOnce(&mut Area)) -> Process {
    let mut process = process();
    if let Some(area) = process.areas.first_mut() {
        change(area);
    }
    process
}

fn why(process: &Process) -> Explanation {
    told(&request(), Errno::FAULT, process)
}

#[test]
fn the_limit_of_locked_memory_is_told() {
    let limited = told(&request(), Errno::NOMEM, &process());
    assert_eq!(limited.kind, ErrorKind::LimitReached);
    assert_eq!(
        limited.limit.as_deref(),
        Some("RLIMIT_MEMLOCK is 8 MiB, 6 MiB are locked, this needs 64 MiB")
    );
    let advice = limited.advice.join("\n");
    for words in ["ulimit -l 71680", "LimitMEMLOCK=70M", "CAP_IPC_LOCK"] {
        assert!(advice.contains(words), "{advice}");
    }
    // Whole pages count, on both sides.
    let two = Registration {
        place: Place::Address(START + 4095),
        length: 2,
        ..request()
    };
    let full = Process {
        locked: 8 << 20,
        ..process()
    };
    let limit = told(&two, Errno::NOMEM, &full).limit.unwrap_or_default();
    assert!(limit.ends_with("this needs 8 KiB"), "{limit}");
}

#[test]
fn a_capability_of_a_name_space_does_not_lift_it() {
    let inside = Process {
        ipc_lock: true,
        ..process()
    };
    let advice = told(&request(), Errno::NOMEM, &inside).advice.join("\n");
    assert!(advice.contains("name space of users only"), "{advice}");
    assert!(!advice.contains("setcap"), "{advice}");
}

#[test]
fn below_the_limit_it_is_memory_that_lacks() {
    for memlock in [None, Some(1 << 30)] {
        let free = Process {
            memlock,
            ..process()
        };
        let lacking = told(&request(), Errno::NOMEM, &free);
        assert_eq!(lacking.kind, ErrorKind::OutOfMemory);
        assert_eq!(lacking.limit.as_deref(), Some("1 GiB available in all"));
    }
}

#[test]
fn a_gap_is_named() {
    let short = with(|area| area.range.end -= 4096);
    let gap = why(&short);
    assert_eq!(gap.kind, ErrorKind::OutOfRange);
    assert_eq!(gap.why, "nothing is mapped at 0x40ff000");
    assert_eq!(
        gap.limit.as_deref(),
        Some("the pages from 0x100000 to 0x40fffff must be there")
    );
}

#[test]
fn read_only_memory_may_be_a_source() {
    let read_only = with(|area| {
        area.writable = false;
        area.name = "/lib/x.so".to_owned();
    });
    let refused = why(&read_only);
    assert_eq!(refused.kind, ErrorKind::BadAccess);
    assert!(
        refused
            .why
            .contains("at 0x100000 of /lib/x.so is read-only"),
        "{}",
        refused.why
    );
    assert!(refused.advice.join("\n").contains(".source()"));
    // As a source it is not to blame.
    let source = Registration {
        source: true,
        ..request()
    };
    let other = told(&source, Errno::FAULT, &read_only);
    assert!(!other.why.contains("read-only"), "{}", other.why);
}

#[test]
fn each_kind_of_mapping_is_told_apart() {
    let cases: [(Process, &str, &str); 5] = [
        (
            with(|area| {
                area.shared = true;
                area.name = "/var/data.bin".to_owned();
            }),
            "a shared one of the file /var/data.bin",
            "memfd",
        ),
        (
            with(|area| {
                area.device = true;
                area.name = "/sys/bus/pci/devices/0000:00:04.0/resource0".to_owned();
            }),
            "registers or memory of a device",
            "copy",
        ),
        (
            with(|area| {
                area.device = true;
                area.name = "anon_inode:[userdma]".to_owned();
            }),
            "a coherent buffer",
            "that buffer itself",
        ),
        (
            with(|area| area.name = "/secretmem (deleted)".to_owned()),
            "secret memory",
            "copy",
        ),
        (
            with(|area| (area.readable, area.writable) = (false, false)),
            "PROT_NONE",
            "mprotect",
        ),
    ];
    for (process, words, way_out) in cases {
        let refused = why(&process);
        assert_eq!(refused.kind, ErrorKind::BadAccess, "{words}");
        assert!(refused.why.contains(words), "{}", refused.why);
        assert!(refused.advice.join("\n").contains(way_out), "{refused:?}");
    }
}

#[test]
fn what_is_not_known_is_not_claimed() {
    let nothing = Process {
        areas: Vec::new(),
        ..process()
    };
    // A private mapping of a file is as good as any.
    let private = with(|area| area.name = "/var/data.bin".to_owned());
    for process in [process(), nothing, private] {
        let refused = why(&process);
        assert_eq!(refused.kind, ErrorKind::BadAccess);
        assert!(!refused.why.contains("0x"), "{}", refused.why);
    }
}

#[test]
fn memfds_have_reasons_of_their_own() {
    let memfd = Registration {
        place: Place::Memfd(4096),
        file_size: Some(8192),
        ..request()
    };
    for (errno, kind, words) in [
        (Errno::PERM, ErrorKind::Permission, "sealed"),
        (Errno::BADF, ErrorKind::BadAccess, "reading and writing"),
        (Errno::RANGE, ErrorKind::OutOfRange, "the memfd's end"),
        (Errno::INVAL, ErrorKind::InvalidInput, "no memfd"),
    ] {
        let refused = told(&memfd, errno, &process());
        assert_eq!(refused.kind, kind, "{errno}");
        assert!(refused.why.contains(words), "{errno}: {}", refused.why);
        assert!(!refused.advice.is_empty(), "{errno}");
    }
    let range = told(&memfd, Errno::RANGE, &process());
    assert_eq!(range.limit.as_deref(), Some("the memfd has 8 KiB (8192)"));
}

#[test]
fn values_are_looked_at() {
    let odd = Registration {
        place: Place::Address(START + 2),
        ..request()
    };
    let refused = told(&odd, Errno::INVAL, &process());
    assert_eq!(refused.limit.as_deref(), Some("multiples of 4 bytes"));
    let empty = Registration {
        length: 0,
        ..request()
    };
    let refused = told(&empty, Errno::INVAL, &process());
    assert!(refused.why.contains("at least one byte"));
    let wraps = told(&request(), Errno::OVERFLOW, &process());
    assert_eq!(wraps.kind, ErrorKind::OutOfRange);
}

#[test]
fn the_rest_has_its_reason_too() {
    for (errno, kind) in [
        (Errno::INTR, ErrorKind::Interrupted),
        (Errno::ADDRNOTAVAIL, ErrorKind::Unreachable),
        (Errno::NOSPC, ErrorKind::LimitReached),
        (Errno::NOTTY, ErrorKind::NotSupported),
        (Errno::OPNOTSUPP, ErrorKind::NotSupported),
        (Errno::NODEV, ErrorKind::Gone),
    ] {
        let refused = told(&request(), errno, &process());
        assert_eq!(refused.kind, kind, "{errno}");
        assert!(!refused.advice.is_empty(), "{errno}");
    }
}

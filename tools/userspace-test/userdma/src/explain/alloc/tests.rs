// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is said about allocations that fail, for each state of the machine.

use super::super::memory::Zone;
use super::*;

fn request(kind: Kind, length: u64) -> Request {
    Request {
        kind,
        length,
        page_size: 0,
        node: None,
        fallback: false,
        no_bounce: false,
    }
}

fn edu() -> Info {
    crate::info::tests::edu()
}

/// 2 GiB, of which almost all is free, in 3 huge pages and much dust.
fn memory() -> Memory {
    Memory {
        available: 1900 << 20,
        end: 2 << 30,
        zones: vec![Zone {
            node: 0,
            blocks: vec![100_000, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1],
        }],
        ..Memory::default()
    }
}

#[test]
fn huge_tells_how_fragmented() {
    let told = allocate(
        &request(Kind::Huge, 64 << 20),
        Errno::NOMEM,
        &edu(),
        &memory(),
    );
    assert_eq!(told.kind, ErrorKind::Fragmented);
    let limit = told.limit.as_deref().unwrap_or_default();
    assert!(
        limit.contains("32 pages of 2 MiB wanted, 3 free"),
        "{limit}"
    );
    let advice = told.advice.join("\n");
    assert!(
        advice.contains("compact_memory") && advice.contains("--fallback"),
        "{advice}"
    );
}

#[test]
fn huge_without_memory_is_not_fragmentation() {
    let little = Memory {
        available: 10 << 20,
        ..memory()
    };
    let told = allocate(
        &request(Kind::Huge, 64 << 20),
        Errno::NOMEM,
        &edu(),
        &little,
    );
    assert_eq!(told.kind, ErrorKind::OutOfMemory);
    let fallback = Request {
        fallback: true,
        ..request(Kind::Huge, 64 << 20)
    };
    let told = allocate(&fallback, Errno::NOMEM, &edu(), &memory());
    assert_eq!(told.kind, ErrorKind::OutOfMemory);
}

#[test]
fn coherent_without_cma_says_cma_and_iommu() {
    let told = allocate(
        &request(Kind::Coherent, 32 << 20),
        Errno::NOMEM,
        &edu(),
        &memory(),
    );
    assert_eq!(told.kind, ErrorKind::OutOfMemory);
    assert!(told.why.contains("CmaTotal is 0"));
    assert_eq!(
        told.limit.as_deref(),
        Some("4 MiB in one piece, below 256 MiB")
    );
    let advice = told.advice.join("\n");
    assert!(
        advice.contains("cma=64M@0-256M") && advice.contains("intel_iommu=on"),
        "{advice}"
    );
}

#[test]
fn coherent_with_cma_above_the_mask_says_so() {
    let high = Memory {
        cma_total: 64 << 20,
        cma_free: 64 << 20,
        command_line: "quiet cma=64M".to_owned(),
        ..memory()
    };
    for errno in [Errno::NOMEM, Errno::ADDRNOTAVAIL] {
        let told = allocate(&request(Kind::Coherent, 32 << 20), errno, &edu(), &high);
        assert_eq!(told.kind, ErrorKind::Unreachable);
        assert!(told.why.contains("(cma=64M)"), "{}", told.why);
        assert!(told.advice[0].contains("cma=64M@0-256M"));
    }
}

#[test]
fn coherent_with_a_wide_mask_wants_no_range() {
    let wide = Info {
        dma_mask: u64::MAX,
        ..edu()
    };
    let small = Memory {
        cma_total: 16 << 20,
        cma_free: 16 << 20,
        ..memory()
    };
    let told = allocate(
        &request(Kind::Coherent, 32 << 20),
        Errno::NOMEM,
        &wide,
        &small,
    );
    assert_eq!(told.limit.as_deref(), Some("CmaTotal is 16 MiB"));
    assert!(told.advice[0].contains("cma=64M on"), "{}", told.advice[0]);
    let used = Memory {
        cma_total: 64 << 20,
        cma_free: 1 << 20,
        ..memory()
    };
    let told = allocate(
        &request(Kind::Coherent, 32 << 20),
        Errno::NOMEM,
        &wide,
        &used,
    );
    assert_eq!(told.limit.as_deref(), Some("CmaFree is 1 MiB of 64 MiB"));
}

#[test]
fn no_bounce_says_mask_and_memory() {
    let wanted = Request {
        no_bounce: true,
        ..request(Kind::Huge, 2 << 20)
    };
    let told = allocate(&wanted, Errno::ADDRNOTAVAIL, &edu(), &memory());
    assert_eq!(told.kind, ErrorKind::Unreachable);
    let limit = told.limit.as_deref().unwrap_or_default();
    assert!(
        limit.contains("28 bits, up to 256 MiB") && limit.contains("2 GiB"),
        "{limit}"
    );
    assert!(told.advice[0].contains("--no-bounce"));
}

#[test]
fn quota_names_the_limit_and_the_parameter() {
    let mut info = edu();
    info.used.file = 40 << 20;
    let told = allocate(
        &request(Kind::Huge, 31 << 20),
        Errno::DQUOT,
        &info,
        &memory(),
    );
    assert_eq!(told.kind, ErrorKind::LimitReached);
    assert_eq!(
        told.limit.as_deref(),
        Some("64 MiB for one open file, 40 MiB of it in use, 32 MiB wanted")
    );
    assert!(
        told.advice[1].contains("limit_file_mib=72"),
        "{}",
        told.advice[1]
    );
    info.used = crate::Usage {
        file: 0,
        user: 0,
        total: 120 << 20,
    };
    let told = allocate(
        &request(Kind::Huge, 32 << 20),
        Errno::DQUOT,
        &info,
        &memory(),
    );
    assert!(
        told.advice[1].contains("limit_total_mib="),
        "{}",
        told.advice[1]
    );
    let told = allocate(
        &request(Kind::Coherent, u64::MAX),
        Errno::DQUOT,
        &info,
        &memory(),
    );
    assert_eq!(told.kind, ErrorKind::LimitReached);
    assert!(told.advice[0].contains("smaller"), "{:?}", told.advice);
}

#[test]
fn equal_limits_are_all_to_be_raised() {
    let mut info = edu();
    info.limits.user = info.limits.file;
    let told = allocate(
        &request(Kind::Huge, 100 << 20),
        Errno::DQUOT,
        &info,
        &memory(),
    );
    assert_eq!(
        told.advice,
        ["raise the limit: load the module with limit_file_mib=100 limit_user_mib=100 or more"]
    );
}

#[test]
fn options_of_the_other_kind_are_told() {
    let wrong = Request {
        fallback: true,
        ..request(Kind::Coherent, 4096)
    };
    let told = allocate(&wrong, Errno::OPNOTSUPP, &edu(), &memory());
    assert_eq!(told.kind, ErrorKind::NotSupported);
    assert!(told.why.contains("options of huge buffers"), "{}", told.why);
}

#[test]
fn invalid_says_which_value() {
    let told = allocate(&request(Kind::Huge, 0), Errno::INVAL, &edu(), &memory());
    assert!(told.why.contains("at least one byte"));
    let told = allocate(
        &Request {
            node: Some(7),
            ..request(Kind::Huge, 1)
        },
        Errno::INVAL,
        &edu(),
        &memory(),
    );
    assert!(told.why.contains("NUMA node 7"));
}

#[test]
fn sizes_of_pages_are_looked_at() {
    let of = |kind, page_size, node| {
        let wrong = Request {
            page_size,
            node,
            ..request(kind, 1 << 30)
        };
        allocate(&wrong, Errno::INVAL, &edu(), &memory())
    };
    assert!(of(Kind::Huge, 12345, None).why.contains("12345 bytes"));
    assert!(of(Kind::Coherent, 2 << 20, None).why.contains("coherent"));
    assert!(of(Kind::Huge, 1 << 30, Some(0)).why.contains("NUMA node"));
}

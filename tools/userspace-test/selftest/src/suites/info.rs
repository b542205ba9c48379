// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the driver tells: INFO, fdinfo, debugfs, sysfs.

use std::fs;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};

use nix::unistd::{setresuid, Uid};
use userdma::sys;

use crate::child::spawn;
use crate::device::{from_card, to_card, Device, COHERENT, HUGE};
use crate::guest::{self, number};
use crate::memory::PAGE;
use crate::outcome::Outcome;
use crate::poll::LONG;
use crate::raw::{size, wide};
use crate::registry::{Context, Need, Test};

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "info.fields",
        "the fields of INFO make sense together",
        fields,
    ),
    Test::new(
        "info.cards",
        "each card has its own node, number and bus name",
        cards,
    ),
    Test::new(
        "info.sysfs",
        "the node is found under its PCI device",
        sysfs,
    ),
    Test::new("info.node", "the node is root's alone", node),
    Test::new(
        "info.fdinfo",
        "fdinfo counts what this file has and did",
        fdinfo,
    ),
    Test::new(
        "info.debugfs",
        "debugfs counts transfers, bytes and interrupts",
        debugfs,
    )
    .needs(&[Need::Debugfs, Need::Slow]),
    Test::new("info.used", "INFO's used bytes follow every buffer", used),
];

fn name(field: &[std::ffi::c_char]) -> Outcome<String> {
    let bytes: Vec<u8> = field.iter().map(|c| c.to_ne_bytes()[0]).collect();
    check!(bytes.contains(&0), "a name without an end");
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(0);
    check!(
        bytes[end..].iter().all(|byte| *byte == 0),
        "bytes behind a name"
    );
    Ok(String::from_utf8(bytes[..end].to_vec())?)
}

fn fields(context: &mut Context) -> Outcome {
    for card in &context.cards {
        let info = Device::open(&card.path)?.info()?;
        println!(
            "{}: capabilities {:#x}, mask {:#x}, interrupt kind {}, limit {} MiB",
            card.bus,
            info.out_capabilities,
            info.out_dma_mask,
            info.out_interrupt,
            info.out_limit_total >> 20
        );
        let has = |bit: u32| info.out_capabilities & u64::from(bit) != 0;
        check!(info.out_abi_version >= 1);
        check_eq!(info.out_node, card.node);
        check_eq!(name(&info.out_bus_name)?, card.bus);
        check!(!name(&info.out_backend)?.is_empty());
        check_eq!(
            info.out_capabilities >> 11,
            0,
            "capabilities that the header does not have"
        );
        check!(has(sys::USERDMA_CAP_COHERENT) || has(sys::USERDMA_CAP_HUGE));
        check!(has(sys::USERDMA_CAP_TO_CARD) && has(sys::USERDMA_CAP_FROM_CARD));
        check!(!(has(sys::USERDMA_CAP_IOMMU) && has(sys::USERDMA_CAP_BOUNCE)));
        // All ones from bit 0 up.
        check_eq!(info.out_dma_mask & info.out_dma_mask.wrapping_add(1), 0);
        check!(info.out_dma_mask > 0xffff);
        check!(info.out_card_size > 0);
        check!(info.out_max_descriptor > 0 && info.out_max_descriptor <= info.out_max_transfer);
        check!(info.out_alignment.is_power_of_two());
        check!(info.out_channels >= 1 && info.out_vectors >= 1);
        check!((1..=3).contains(&info.out_interrupt));
        check!(info.out_depth >= 2 && info.out_max_buffers >= 2);
        check_eq!(info.out_page_shift, 12);
        check_eq!(info.out_reserved, 0);
        check!(info.out_numa_node >= -1);
        check!(info.out_limit_file > 0 && info.out_limit_user > 0);
        check_eq!(info.out_used_file, 0);
        check!(info.out_used_user <= info.out_used_total);
        check!((1_000_000..=3_600_000_000_000).contains(&info.out_timeout_ns));
        let backend = name(&info.out_backend)?;
        if backend == "edu" {
            check_eq!(info.out_card_size, 4096);
            check_eq!(info.out_max_descriptor, 4096);
            check_eq!(info.out_alignment, 1);
            check!(!has(sys::USERDMA_CAP_ABORT));
        }
        // There is one bounce buffer, and a copy would need two.
        let copies = backend == "edu-daq" && !has(sys::USERDMA_CAP_BOUNCE);
        check_eq!(has(sys::USERDMA_CAP_HOST_TO_HOST), copies, "{backend}");
    }
    Ok(())
}

fn cards(context: &mut Context) -> Outcome {
    let mut seen = std::collections::BTreeSet::new();
    for card in &context.cards {
        check!(seen.insert(card.bus.clone()), "{} twice", card.bus);
        let info = Device::open(&card.path)?.info()?;
        check_eq!(name(&info.out_bus_name)?, card.bus);
    }
    // As many nodes as cards of the kinds that the driver knows.
    let mut there = 0;
    for entry in fs::read_dir("/sys/bus/pci/devices")?.flatten() {
        let read = |file| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let known = ["0x11e8", "0x11e9", "0x11ea"];
        if read("vendor").trim() == "0x1234" && known.contains(&read("device").trim()) {
            there += 1;
        }
    }
    check_eq!(context.cards.len(), there);
    Ok(())
}

fn sysfs(context: &mut Context) -> Outcome {
    for card in &context.cards {
        let class = format!("/sys/class/misc/userdma{}", card.node);
        let device = fs::canonicalize(format!("{class}/device"))?;
        check_eq!(device, fs::canonicalize(card.sysfs())?);
        let driver = fs::canonicalize(card.sysfs().join("driver"))?;
        check!(driver.ends_with("userdma"), "{}", driver.display());
        let numbers = fs::read_to_string(format!("{class}/dev"))?;
        let device = fs::metadata(&card.path)?.rdev();
        let want = format!("{}:{}", libc::major(device), libc::minor(device));
        check_eq!(numbers.trim(), want);
        check!(card.is_bus_master()?, "the card may not reach memory");
    }
    Ok(())
}

fn node(context: &mut Context) -> Outcome {
    let path = context.card().path.clone();
    let meta = fs::metadata(&path)?;
    check!(meta.file_type().is_char_device());
    check_eq!(
        (meta.uid(), meta.mode() & 0o007),
        (0, 0),
        "owner, and what others may do"
    );
    let child = spawn(|| {
        let nobody = Uid::from_raw(65534);
        nix::unistd::setgroups(&[])?;
        nix::unistd::setgid(nix::unistd::Gid::from_raw(65534))?;
        setresuid(nobody, nobody, nobody)?;
        check_err!(Device::open(&path), EACCES, "as nobody");
        Ok(())
    })?;
    child.join(LONG)
}

/// Two transfers of 100 and 50 bytes to the card, one of 70 from it.
fn work(device: &Device, handle: u32) -> Outcome {
    device.run_well(&[
        to_card(handle, 0, 100, 0),
        to_card(handle, 0, 50, 0),
        from_card(handle, 0, 70, 0),
    ])
}

fn fdinfo(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let expect = |pairs: &[(&str, u64)]| -> Outcome {
        let shown = guest::fdinfo(&device)?;
        for (key, want) in pairs {
            check_eq!(number(&shown, key)?, *want, "{key} in {shown:?}");
        }
        Ok(())
    };
    expect(&[("gone", 0), ("buffers", 0), ("bytes", 0), ("segments", 0)])?;
    expect(&[("submitted", 0), ("completed", 0), ("failed", 0)])?;
    let first = device.alloc(COHERENT, PAGE)?;
    let second = device.alloc(COHERENT, 3 * PAGE)?;
    let segments = u64::from(first.segments + second.segments);
    expect(&[
        ("buffers", 2),
        ("bytes", wide(4 * PAGE)),
        ("segments", segments),
    ])?;
    work(&device, first.handle)?;
    expect(&[("submitted", 3), ("completed", 3), ("failed", 0)])?;
    expect(&[("bytes_to_card", 150), ("bytes_from_card", 70)])?;
    device.free(second.handle)?;
    expect(&[("buffers", 1), ("bytes", wide(PAGE))])?;
    // No address of the kernel or the bus is told.
    let text = fs::read_to_string(format!(
        "/proc/self/fdinfo/{}",
        std::os::fd::AsRawFd::as_raw_fd(device.file())
    ))?;
    check!(!text.contains("ffff"), "an address in {text}");
    // Another file's work is not this one's.
    let other = context.open()?;
    let theirs = other.alloc(COHERENT, PAGE)?;
    work(&other, theirs.handle)?;
    expect(&[("submitted", 3), ("bytes_to_card", 150)])
}

/// The sum over the CPUs of the driver's lines of /proc/interrupts.
fn kernel_interrupts() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/interrupts")?;
    let cpus = text
        .lines()
        .next()
        .map_or(0, |line| line.split_whitespace().count());
    let mut sum = 0;
    for line in text.lines().filter(|line| line.contains("userdma")) {
        for word in line.split_whitespace().skip(1).take(cpus) {
            sum += word.parse().unwrap_or(0);
        }
    }
    Ok(sum)
}

fn debugfs(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let (before, kernel) = (card.stats()?, kernel_interrupts()?);
    work(&device, buffer.handle)?;
    device.file().read_exact_at(&mut [0; 30], 0)?;
    device.file().write_all_at(&[0; 20], 0)?;
    let after = card.stats()?;
    let grown = |key: &str| -> Outcome<u64> { Ok(number(&after, key)? - number(&before, key)?) };
    let told = [
        ("submitted", 5),
        ("completed", 5),
        ("failed", 0),
        ("descriptors", 5),
        ("bytes_to_card", 170),
        ("bytes_from_card", 100),
        ("interrupts", 5),
        ("lost_interrupts", 0),
        ("timeouts", 0),
        ("reads", 1),
        ("writes", 1),
    ];
    for (key, want) in told {
        check_eq!(grown(key)?, want, "{key}");
    }
    // The kernel's own count, for cards that do not share a line.
    if device.info()?.out_interrupt != sys::USERDMA_IRQ_INTX {
        check_eq!(kernel_interrupts()? - kernel, 5, "in /proc/interrupts");
    }
    // What exists now.
    let held = number(&after, "buffer_bytes")?;
    let more = device.alloc(COHERENT, 2 * PAGE)?;
    check_eq!(card.counter("buffer_bytes")?, held + wide(2 * PAGE));
    device.free(more.handle)?;
    check_eq!(card.counter("buffer_bytes")?, held);
    let files = card.counter("files")?;
    let other = context.open()?;
    check_eq!(card.counter("files")?, files + 1);
    drop(other);
    check_eq!(card.counter("files")?, files);
    let readable = fs::metadata(format!("/sys/kernel/debug/userdma/{}/stats", card.bus))?;
    check_eq!(readable.mode() & 0o222, 0, "stats can be written");
    Ok(())
}

fn used(context: &mut Context) -> Outcome {
    let (device, other) = (context.open()?, context.open()?);
    let before = device.info()?;
    let mut held = 0;
    let mut handles = Vec::new();
    let huge = before.out_capabilities & u64::from(sys::USERDMA_CAP_HUGE) != 0;
    for kind in [COHERENT, if huge { HUGE } else { COHERENT }, COHERENT] {
        let buffer = device.alloc(kind, 5 * PAGE)?;
        held += wide(buffer.length);
        handles.push(buffer);
        let info = device.info()?;
        check_eq!(info.out_used_file, held);
        check_eq!(info.out_used_user, before.out_used_user + held);
        check_eq!(info.out_used_total, before.out_used_total + held);
        check_eq!(other.info()?.out_used_file, 0);
    }
    for buffer in handles {
        device.free(buffer.handle)?;
        held -= wide(buffer.length);
        check_eq!(device.info()?.out_used_file, held);
    }
    check_eq!(
        size(device.info()?.out_used_total),
        size(before.out_used_total)
    );
    Ok(())
}

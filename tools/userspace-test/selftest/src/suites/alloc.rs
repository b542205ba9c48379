// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Buffers: getting, asking about and giving back.

mod fragmented;
mod handles;
mod limits;

use nix::errno::Errno;
use userdma::sys;

use crate::device::{from_card, Device, COHERENT, HUGE};
use crate::memory::{HUGE as HUGE_PAGE, PAGE};
use crate::outcome::{all_bytes, same_bytes, Context as _, Outcome};
use crate::raw::{size, wide};
use crate::registry::{Context, Need, Test};

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "alloc.sizes",
        "sizes from 1 to beyond all memory, exact errors",
        sizes,
    ),
    Test::new(
        "alloc.rounding",
        "length is rounded up; the tail is zero and can be used",
        rounding,
    ),
    Test::new(
        "alloc.large_coherent",
        "a coherent buffer of 32 MiB",
        large_coherent,
    ),
    Test::new(
        "alloc.huge",
        "64 MiB of huge pages in at most 32 segments",
        huge,
    )
    .needs(&[Need::Huge]),
    Test::new(
        "alloc.zeroed",
        "memory is zero, also when it was dirty before",
        zeroed,
    ),
    Test::new(
        "alloc.handles",
        "never 0, not reused, dead after free, no other file's",
        handles::handles,
    ),
    Test::new("alloc.info", "BUF_INFO tells what BUF_ALLOC told", info),
    Test::new(
        "alloc.node",
        "NUMA nodes that are there and that are not",
        node,
    ),
    Test::new(
        "alloc.flags_of_kinds",
        "flags that a kind of buffer does not have",
        flags_of_kinds,
    ),
    Test::new(
        "alloc.no_bounce",
        "NO_BOUNCE is refused where every transfer is bounced",
        no_bounce,
    )
    .needs(&[Need::Bounce, Need::Huge]),
    Test::new(
        "alloc.close_frees",
        "closing the file frees what it held",
        handles::close_frees,
    ),
    Test::new(
        "alloc.guessed_handles",
        "allocating and freeing guessed handles at once",
        handles::guessed,
    ),
    Test::new(
        "alloc.many",
        "all handles of a file, and one more",
        limits::all_handles,
    ),
    Test::new(
        "alloc.quota",
        "more than the limit of a file",
        limits::quota,
    ),
    Test::new(
        "alloc.users",
        "users are counted apart, by who opened the file",
        limits::users,
    ),
    Test::new(
        "alloc.parameters",
        "limits set by the module's parameters",
        limits::parameters,
    )
    .seconds(120)
    .needs(&[Need::ModuleFile]),
    Test::new(
        "alloc.fragmented",
        "no huge pages left: ENOMEM, or smaller ones",
        fragmented::fallback,
    )
    .seconds(180)
    .needs(&[Need::Huge, Need::MemoryBelowMiB(2200)]),
];

/// The kinds that this card offers.
fn kinds(device: &Device) -> Outcome<Vec<u32>> {
    let capabilities = device.info()?.out_capabilities;
    let known = [
        (sys::USERDMA_CAP_COHERENT, COHERENT),
        (sys::USERDMA_CAP_HUGE, HUGE),
    ];
    Ok(known
        .into_iter()
        .filter(|(bit, _)| capabilities & u64::from(*bit) != 0)
        .map(|(_, kind)| kind)
        .collect())
}

/// Sizes that fit succeed, sizes that no machine has are refused, without a
/// word in the kernel's log (the runner looks).
fn sizes(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let info = device.info()?;
    let limit = info.out_limit_file;
    let iommu = info.out_capabilities & u64::from(sys::USERDMA_CAP_IOMMU) != 0;
    let kept = iommu || crate::guest::meminfo("CmaTotal").unwrap_or(0) > 8 << 10;
    for kind in kinds(&device)? {
        check_err!(device.alloc(kind, 0), EINVAL, "kind {kind}, length 0");
        for length in [1, wide(PAGE), wide(PAGE) + 1, 4 << 20, (4 << 20) + 1] {
            let what = || format!("kind {kind}, length {length}");
            match device.alloc(kind, size(length)) {
                Ok(buffer) => {
                    check!(wide(buffer.length) >= length, "{}", what());
                    device.free(buffer.handle)?;
                }
                // Contiguous memory of more than 4 MiB has to be kept for that.
                Err(Errno::ENOMEM) if kind == COHERENT && length > 4 << 20 && !kept => {}
                Err(error) => fail!("{error:?}: {}", what()),
            }
        }
        for length in [
            1 << 31,
            1 << 32,
            1 << 45,
            1 << 63,
            u64::MAX - 4095,
            u64::MAX,
        ] {
            let result = device.alloc_with(&mut Device::request(kind, length, 0));
            match result {
                // Below the limit such a size is allowed, if the memory is there.
                Ok(buffer) if length <= limit => device.free(buffer.handle)?,
                Err(Errno::ENOMEM) if length <= limit => {}
                Err(Errno::EDQUOT) if length > limit => {}
                other => fail!("kind {kind}, length {length:#x}: {:?}", other.map(drop)),
            }
        }
        check_eq!(device.info()?.out_used_file, 0);
    }
    Ok(())
}

fn rounding(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for kind in kinds(&device)? {
        let unit = if kind == HUGE { HUGE_PAGE } else { PAGE };
        for length in [1, unit - 1, unit, unit + 1, 3 * unit - 7] {
            let buffer = device.alloc(kind, length)?;
            check_eq!(
                buffer.length,
                length.next_multiple_of(unit),
                "kind {kind}, {length}"
            );
            check_eq!(device.info()?.out_used_file, wide(buffer.length));
            let map = device.map(&buffer)?;
            let tail = map.length() - length;
            all_bytes(&map.read(length, tail), 0, "the tail")?;
            let bytes = context.bytes(tail);
            map.write(length, &bytes);
            same_bytes(&map.read(length, tail), &bytes, "the tail, written")?;
            drop(map);
            device.free(buffer.handle)?;
        }
    }
    Ok(())
}

fn large_coherent(context: &mut Context) -> Outcome {
    let length = 32 << 20;
    let device = context.open()?;
    let info = device.info()?;
    if info.out_limit_file < wide(length) {
        skip!("needs a guest of at least 128 MiB: the limit is a quarter of it");
    }
    // Without an IOMMU it takes a contiguous area, which `cma=` keeps.
    let iommu = info.out_capabilities & u64::from(sys::USERDMA_CAP_IOMMU) != 0;
    let cma = crate::guest::meminfo("CmaTotal").unwrap_or(0) << 10;
    match device.alloc(COHERENT, length) {
        Ok(buffer) => {
            check_eq!(buffer.length, length);
            check_eq!(buffer.segments, 1);
            let map = device.map(&buffer)?;
            for offset in (0..length).step_by(1 << 20) {
                check_eq!(map.byte(offset), 0);
                map.set_byte(offset, 0xc3);
            }
            check_eq!(map.byte(31 << 20), 0xc3);
            drop(map);
            device.free(buffer.handle)?;
            Ok(())
        }
        Err(Errno::ENOMEM) if !iommu && cma <= wide(length) => {
            skip!("needs cma=64M or an IOMMU (this guest has {cma} bytes of CMA)")
        }
        Err(error) => fail!("{error:?} with {cma} bytes of CMA, IOMMU: {iommu}"),
    }
}

fn huge(context: &mut Context) -> Outcome {
    let length = 64 << 20;
    let device = context.open()?;
    let info = device.info()?;
    if info.out_limit_file < wide(length) {
        skip!("needs a guest of at least 256 MiB: the limit is a quarter of it");
    }
    let buffer = device.alloc(HUGE, length)?;
    check_eq!(buffer.length, length);
    check_eq!(buffer.page_size, wide(HUGE_PAGE));
    check_eq!(buffer.cookie % wide(HUGE_PAGE), 0);
    let bounced = device.buffer_info(buffer.handle)?.out_state & sys::USERDMA_BUF_BOUNCED != 0;
    let bounce = info.out_capabilities & u64::from(sys::USERDMA_CAP_BOUNCE) != 0;
    check_eq!(bounced, bounce);
    if bounced {
        check_eq!(buffer.segments, 0);
    } else {
        check!(
            (1..=32).contains(&buffer.segments),
            "{} segments",
            buffer.segments
        );
    }
    // By its name, with the page size given too.
    let mut request = Device::request(HUGE, 1, 0);
    request.page_size = wide(HUGE_PAGE);
    check_eq!(device.alloc_with(&mut request)?.length, HUGE_PAGE);
    Ok(())
}

/// Dirty, free, allocate again: all zero. Also seen by the card.
fn zeroed(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for kind in kinds(&device)? {
        // Coherent memory may have to be contiguous.
        let length = if kind == HUGE {
            4 * HUGE_PAGE
        } else {
            HUGE_PAGE / 2
        };
        for round in 0..context.times(4) {
            let buffer = device.alloc(kind, length)?;
            let map = device.map(&buffer)?;
            all_bytes(&map.read(0, length), 0, "new memory")
                .context(|| format!("kind {kind}, round {round}"))?;
            map.fill(0..length, 0xd1);
            drop(map);
            device.free(buffer.handle)?;
        }
    }
    // What the card brings does not bring more: its bytes, and around them still zero.
    let buffer = device.alloc(kinds(&device)?[0], PAGE)?;
    device.run_well(&[from_card(buffer.handle, 512, 64, 0)])?;
    let map = device.map_read(&buffer)?;
    all_bytes(&map.read(0, 512), 0, "before what the card wrote")?;
    all_bytes(&map.read(576, PAGE - 576), 0, "behind what the card wrote")
}

fn info(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for kind in kinds(&device)? {
        let buffer = device.alloc(kind, 3 * PAGE)?;
        let info = device.buffer_info(buffer.handle)?;
        check_eq!(info.out_kind, kind);
        check_eq!(info.out_length, wide(buffer.length));
        check_eq!(info.out_segments, buffer.segments);
        check_eq!(info.out_page_size, buffer.page_size);
        check_eq!(info.out_mmap_offset, buffer.cookie);
        check_eq!(info.out_mappings, 0);
        check!((sys::USERDMA_MMAP_BUFFERS..sys::USERDMA_MMAP_END).contains(&buffer.cookie));
        let pinnable = info.out_state & sys::USERDMA_BUF_PINNABLE != 0;
        check!(kind != HUGE || pinnable, "huge buffers can be pinned");
        let first = device.map(&buffer)?;
        let second = device.map_read(&buffer)?;
        check_eq!(device.buffer_info(buffer.handle)?.out_mappings, 2);
        drop(second);
        check_eq!(device.buffer_info(buffer.handle)?.out_mappings, 1);
        drop(first);
        check_eq!(device.buffer_info(buffer.handle)?.out_mappings, 0);
        // Two buffers never have a cookie in common.
        let next = device.alloc(kind, 3 * PAGE)?;
        let apart = buffer.cookie.abs_diff(next.cookie);
        check!(apart >= wide(buffer.length), "cookies {apart} bytes apart");
    }
    Ok(())
}

fn node(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for kind in kinds(&device)? {
        let mut request = Device::request(kind, wide(PAGE), sys::USERDMA_ALLOC_NODE);
        match device.alloc_with(&mut request) {
            Ok(buffer) => {
                let info = device.buffer_info(buffer.handle)?;
                check!(
                    matches!(info.out_numa_node, 0 | -1),
                    "on node {}",
                    info.out_numa_node
                );
                check!(kind != HUGE || info.out_numa_node == 0);
            }
            // Coherent memory lies where the DMA API puts it.
            Err(Errno::EOPNOTSUPP) if kind == COHERENT => {}
            Err(error) => fail!("node 0: {error:?}"),
        }
        for node in [1, 1023, 1 << 20, u32::MAX] {
            if std::path::Path::new(&format!("/sys/devices/system/node/node{node}")).exists() {
                continue;
            }
            let mut request = Device::request(kind, wide(PAGE), sys::USERDMA_ALLOC_NODE);
            request.numa_node = node;
            let result = device.alloc_with(&mut request).map(drop);
            let refused = matches!(result, Err(Errno::EINVAL))
                || (kind == COHERENT && matches!(result, Err(Errno::EOPNOTSUPP)));
            check!(refused, "kind {kind}, node {node}: {result:?}");
        }
    }
    Ok(())
}

/// All flags are of huge buffers: the DMA API chooses where coherent memory lies; a wrong page size is refused.
fn flags_of_kinds(context: &mut Context) -> Outcome {
    let device = context.open()?;
    for flags in [
        sys::USERDMA_ALLOC_NODE,
        sys::USERDMA_ALLOC_FALLBACK,
        sys::USERDMA_ALLOC_NO_BOUNCE,
    ] {
        let result = device.alloc_with(&mut Device::request(COHERENT, wide(PAGE), flags));
        let result = result.map(|buffer| device.free(buffer.handle));
        check_err!(result, EOPNOTSUPP, "coherent with flag {flags}");
    }
    for page_size in [1, wide(PAGE), wide(HUGE_PAGE) + 1, 1 << 30, 1 << 63] {
        let mut request = Device::request(HUGE, wide(PAGE), 0);
        request.page_size = page_size;
        let result = device.alloc_with(&mut request).map(drop);
        let refused = matches!(result, Err(Errno::EINVAL | Errno::EOPNOTSUPP));
        check!(refused, "huge with page_size {page_size}: {result:?}");
    }
    Ok(())
}

fn no_bounce(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let flags = sys::USERDMA_ALLOC_NO_BOUNCE;
    let result = device.alloc_with(&mut Device::request(HUGE, wide(HUGE_PAGE), flags));
    check_err!(result, EADDRNOTAVAIL);
    check_eq!(device.info()?.out_used_file, 0);
    let buffer = device.alloc(HUGE, HUGE_PAGE)?;
    let state = device.buffer_info(buffer.handle)?.out_state;
    check!(state & sys::USERDMA_BUF_BOUNCED != 0);
    check_eq!(buffer.segments, 0);
    Ok(())
}

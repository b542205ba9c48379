// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Why a buffer could not be allocated.

use rustix::io::Errno;

use super::general;
use super::Memory;
use crate::Bytes;
use crate::ErrorKind;
use crate::Explanation;
use crate::Info;
use crate::Kind;

/// Bytes of a huge page.
const HUGE: u64 = 2 << 20;
/// Most bytes that the kernel's page allocator gives in one piece.
const LARGEST_BLOCK: u64 = 4 << 20;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) length: u64,
    pub(crate) page_size: u64,
    pub(crate) node: Option<u32>,
    pub(crate) fallback: bool,
    pub(crate) no_bounce: bool,
}

/// Explains why `request` failed with `errno`. `info` is as fresh as can be.
pub(crate) fn allocate(
    request: &Request,
    errno: Errno,
    info: &Info,
    memory: &Memory,
) -> Explanation {
    match (errno, request.kind) {
        (Errno::NOMEM, Kind::Huge) => huge_memory(request, memory),
        (Errno::NOMEM, Kind::Coherent) if info.capabilities.iommu => too_little(request, memory),
        (Errno::NOMEM, Kind::Coherent) => contiguous_memory(request, info, memory),
        (Errno::ADDRNOTAVAIL, _) => unreachable(request, info, memory),
        (Errno::DQUOT, _) => limit(request, info, memory),
        (Errno::NOSPC, _) => too_many(info),
        (Errno::OPNOTSUPP, kind) => not_supported(request, kind),
        (Errno::INVAL, _) => invalid(request, memory),
        _ => general(errno),
    }
}

/// Explains that no handle is left.
pub(super) fn too_many(info: &Info) -> Explanation {
    Explanation::new(
        ErrorKind::LimitReached,
        "this open file holds as many buffers as it may",
    )
    .limit(format!("{} buffers in one open file", info.max_buffers))
    .advise("free buffers that are no longer used, or open the device once more")
}

fn not_supported(request: &Request, kind: Kind) -> Explanation {
    if kind != Kind::Huge && (request.fallback || request.no_bounce) {
        return Explanation::new(
            ErrorKind::NotSupported,
            "fallback and no-bounce are options of huge buffers",
        );
    }
    Explanation::new(
        ErrorKind::NotSupported,
        format!("this card has no {kind} buffers"),
    )
    .advise("`userdma info` lists what it has")
}

fn invalid(request: &Request, memory: &Memory) -> Explanation {
    if request.length == 0 {
        return Explanation::new(ErrorKind::InvalidInput, "a buffer has at least one byte");
    }
    if let Some(node) = request.node.filter(|node| !memory.has_node(*node)) {
        return Explanation::new(
            ErrorKind::InvalidInput,
            format!("this machine has no NUMA node {node} with memory"),
        )
        .advise("list them: ls /sys/devices/system/node");
    }
    let pages = request.page_size;
    if request.kind == Kind::Coherent && pages != 0 {
        return Explanation::new(
            ErrorKind::InvalidInput,
            "the pages of a coherent buffer are the system's affair",
        )
        .advise("a huge buffer, if the size of its pages matters");
    }
    if pages == 1 << 30 {
        return Explanation::new(
            ErrorKind::InvalidInput,
            "a NUMA node cannot be chosen for pages of 1 GiB",
        )
        .advise("run the program on that node's memory: numactl --membind");
    }
    if ![0, HUGE].contains(&pages) {
        return Explanation::new(
            ErrorKind::InvalidInput,
            format!("there are no huge pages of {}", Bytes(pages)),
        )
        .limit("2 MiB or 1 GiB");
    }
    Explanation::new(
        ErrorKind::InvalidInput,
        "the driver does not take this combination of values",
    )
}

/// Neither pieces nor addresses are at fault, there is just not enough.
fn too_little(request: &Request, memory: &Memory) -> Explanation {
    let whose = node_text(request.node);
    let explanation = Explanation::new(
        ErrorKind::OutOfMemory,
        format!("too little memory is free{whose}"),
    );
    let explanation = match memory.available {
        0 => explanation,
        available => explanation.limit(format!(
            "{} available in all, {} wanted",
            Bytes(available),
            Bytes(request.length)
        )),
    };
    explanation.advise("a smaller buffer, or end programs that hold memory")
}

fn huge_memory(request: &Request, memory: &Memory) -> Explanation {
    if request.fallback || (memory.available > 0 && memory.available < request.length) {
        return too_little(request, memory);
    }
    let wanted = request.length.div_ceil(HUGE);
    let free = memory.free_blocks(9, request.node);
    let whose = node_text(request.node);
    Explanation::new(
        ErrorKind::Fragmented,
        format!("too few whole pages of 2 MiB are free{whose}: memory is fragmented"),
    )
    .limit(format!(
        "{wanted} pages of 2 MiB wanted, {free} free now; {} is available in smaller pieces",
        Bytes(memory.available)
    ))
    .advise("put memory together: echo 1 > /proc/sys/vm/compact_memory (as root), then again")
    .advise("take smaller pages, with more segments: --fallback, or .fallback(true)")
    .advise("a smaller buffer, or allocate early after boot")
}

/// Without an IOMMU a coherent buffer is one piece of memory.
fn contiguous_memory(request: &Request, info: &Info, memory: &Memory) -> Explanation {
    let length = request.length;
    if memory.available > 0 && memory.available < length {
        return too_little(request, memory);
    }
    let short_mask = memory.end > 0 && info.dma_mask < memory.end - 1;
    let reach = Bytes(info.dma_mask.saturating_add(1));
    let cma = suggested_cma(length, info, short_mask);
    let set_aside = format!("boot with {cma} on the kernel's command line");
    let without = "boot with intel_iommu=on or amd_iommu=on, if the machine has an IOMMU";
    let instead = "a huge buffer: its pages of 2 MiB need not lie side by side";

    let explanation = if memory.cma_total == 0 {
        let why = if length > LARGEST_BLOCK {
            "without an IOMMU it must be one contiguous piece, and this kernel has no area set aside for such (CmaTotal is 0)"
        } else {
            "without an IOMMU it must be one contiguous piece that the card reaches, and none is free"
        };
        Explanation::new(
            if length > LARGEST_BLOCK {
                ErrorKind::OutOfMemory
            } else {
                ErrorKind::Fragmented
            },
            why,
        )
        .limit(if short_mask {
            format!("{} in one piece, below {reach}", Bytes(LARGEST_BLOCK))
        } else {
            format!("{} in one piece", Bytes(LARGEST_BLOCK))
        })
        .advise(set_aside)
    } else if memory.cma_total < length {
        Explanation::new(
            ErrorKind::OutOfMemory,
            "the area set aside for contiguous memory is smaller than that",
        )
        .limit(format!("CmaTotal is {}", Bytes(memory.cma_total)))
        .advise(set_aside)
    } else if memory.cma_free < length {
        Explanation::new(
            ErrorKind::OutOfMemory,
            "too little of the area set aside for contiguous memory is free",
        )
        .limit(format!(
            "CmaFree is {} of {}",
            Bytes(memory.cma_free),
            Bytes(memory.cma_total)
        ))
        .advise("free other coherent buffers")
        .advise(set_aside)
    } else if short_mask {
        return above_the_mask(info, memory, &cma)
            .advise(without)
            .advise(instead);
    } else {
        Explanation::new(
            ErrorKind::Fragmented,
            "the area set aside for contiguous memory has enough free, but not in one piece",
        )
        .limit(format!(
            "CmaFree is {} of {}",
            Bytes(memory.cma_free),
            Bytes(memory.cma_total)
        ))
        .advise("allocate early after boot, when the area is still whole")
        .advise(set_aside)
    };
    explanation.advise(without).advise(instead)
}

/// The kernel puts `cma=64M` at the top of memory unless told where.
fn above_the_mask(info: &Info, memory: &Memory, cma: &str) -> Explanation {
    let given = memory
        .parameter("cma=")
        .map_or(String::new(), |given| format!(" ({given})"));
    Explanation::new(
        ErrorKind::Unreachable,
        format!(
            "the area set aside for contiguous memory{given} has {} free, but must lie where the card does not reach",
            Bytes(memory.cma_free)
        ),
    )
    .limit(mask_text(info, memory))
    .advise(format!("boot with {cma} on the kernel's command line"))
}

fn unreachable(request: &Request, info: &Info, memory: &Memory) -> Explanation {
    let short_mask = memory.end > 0 && info.dma_mask < memory.end - 1;
    if request.kind == Kind::Coherent && memory.cma_total >= request.length && short_mask {
        let cma = suggested_cma(request.length, info, true);
        return above_the_mask(info, memory, &cma);
    }
    let mut first = Vec::new();
    if request.no_bounce {
        first.push("let the driver copy through memory that the card reaches: without --no-bounce or .no_bounce(true)".to_owned());
    }
    if request.kind == Kind::Coherent {
        first.push(format!(
            "boot with {} on the kernel's command line",
            suggested_cma(request.length, info, true)
        ));
    }
    beyond_reach(info, memory, first)
}

/// Explains that memory lies beyond the card's mask; `first` is the most
/// promising advice.
pub(super) fn beyond_reach(
    info: &Info,
    memory: &Memory,
    first: impl IntoIterator<Item = String>,
) -> Explanation {
    let explanation = Explanation::new(
        ErrorKind::Unreachable,
        "the memory lies where the card does not reach, and no IOMMU helps",
    )
    .limit(mask_text(info, memory));
    let first = first.into_iter();
    first
        .fold(explanation, Explanation::advise)
        .advise("boot with intel_iommu=on or amd_iommu=on, if the machine has an IOMMU")
        .advise(wider_mask(info))
}

fn limit(request: &Request, info: &Info, memory: &Memory) -> Explanation {
    let page = if request.kind == Kind::Huge {
        HUGE
    } else {
        info.page_size.max(1)
    };
    let wanted = request
        .length
        .checked_next_multiple_of(page)
        .unwrap_or(u64::MAX);
    let limits = [
        (
            "one open file",
            info.limits.file,
            info.used.file,
            "limit_file_mib",
        ),
        (
            "one user",
            info.limits.user,
            info.used.user,
            "limit_user_mib",
        ),
        (
            "all users together",
            info.limits.total,
            info.used.total,
            "limit_total_mib",
        ),
    ];
    let met: Vec<_> = limits
        .iter()
        .filter(|(_, limit, used, _)| used.saturating_add(wanted) > *limit)
        .collect();
    let Some((whose, limit, used, _)) = met.first() else {
        // Another program freed something in the meantime.
        return Explanation::new(
            ErrorKind::LimitReached,
            "a limit of the driver would have been passed",
        )
        .advise("again");
    };
    let explanation = Explanation::new(
        ErrorKind::LimitReached,
        format!("the driver's limit for {whose} would be passed"),
    )
    .limit(format!(
        "{} for {whose}, {} of it in use, {} wanted",
        Bytes(*limit),
        Bytes(*used),
        Bytes(wanted)
    ));
    let explanation = match *used {
        0 => explanation,
        _ => explanation.advise("free buffers that are no longer used"),
    };
    if memory.end > 0 && wanted > memory.end {
        return explanation.advise(format!(
            "a smaller buffer: this machine's memory ends at {}",
            Bytes(memory.end)
        ));
    }
    // The limits may be equal: raising one alone would not help then.
    let parameters: Vec<_> = met
        .iter()
        .map(|(_, _, used, parameter)| {
            format!(
                "{parameter}={}",
                used.saturating_add(wanted).div_ceil(1 << 20)
            )
        })
        .collect();
    explanation.advise(format!(
        "raise the limit: load the module with {} or more",
        parameters.join(" ")
    ))
}

/// Gives the `cma=` that would serve: double of what is wanted, as the area is
/// used by others too, and where the card reaches it.
fn suggested_cma(length: u64, info: &Info, short_mask: bool) -> String {
    let size = length
        .saturating_mul(2)
        .max(64 << 20)
        .checked_next_power_of_two()
        .unwrap_or(length);
    let mib = size >> 20;
    match info.dma_mask.checked_add(1) {
        Some(reach) if short_mask && reach >= 1 << 20 => format!("cma={mib}M@0-{}M", reach >> 20),
        _ => format!("cma={mib}M"),
    }
}

/// The parameter is the user's word that the card can; the driver proves it.
fn wider_mask(info: &Info) -> &'static str {
    if info.backend == "edu" {
        "in QEMU: -device edu,dma_mask=0xffffffffffffffff, and load the module with dma_mask_bits=64"
    } else {
        "if the card really forms longer addresses: load the module with dma_mask_bits=64"
    }
}

fn mask_text(info: &Info, memory: &Memory) -> String {
    let end = match memory.end {
        0 => String::new(),
        end => format!("; this machine's memory ends at {}", Bytes(end)),
    };
    format!(
        "the card forms addresses of {} bits, up to {}{end}",
        info.dma_mask_bits(),
        Bytes(info.dma_mask.saturating_add(1))
    )
}

fn node_text(node: Option<u32>) -> String {
    node.map_or(String::new(), |node| format!(" on NUMA node {node}"))
}

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Mappings of buffers.

mod access;
mod disk;
mod huge;
mod lifetime;
mod range;

use userdma::sys;

use crate::device::{Buffer, Device, COHERENT, HUGE};
use crate::memory::HUGE as HUGE_PAGE;
use crate::outcome::Outcome;
use crate::registry::{Need, Test};

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "mmap.whole_and_part",
        "a part shows the bytes of the whole",
        range::whole_and_part,
    ),
    Test::new(
        "mmap.grid",
        "every offset and length around the end",
        range::grid,
    ),
    Test::new("mmap.cookies", "offsets that no buffer has", range::cookies),
    Test::new(
        "mmap.grow",
        "mremap may shrink and move, not grow",
        range::grow,
    ),
    Test::new(
        "mmap.refused",
        "MAP_PRIVATE, PROT_EXEC, misaligned",
        access::refused,
    ),
    Test::new(
        "mmap.read_only_file",
        "O_RDONLY maps for reading, and it stays so",
        access::read_only_file,
    ),
    Test::new(
        "mmap.write_only_file",
        "O_WRONLY cannot map",
        access::write_only_file,
    ),
    Test::new(
        "mmap.read_only_map",
        "a read-only mapping of a writable file",
        access::read_only_map,
    ),
    Test::new(
        "mmap.proc_mem",
        "/proc/self/mem cannot write what is read-only",
        access::proc_mem,
    ),
    Test::new(
        "mmap.flags",
        "VmFlags: not in core dumps, not to be expanded",
        access::vm_flags,
    ),
    Test::new("mmap.mlock", "mlock and madvise do no harm", access::mlock),
    Test::new(
        "mmap.huge_faults",
        "64 MiB cost at most 32 page faults",
        huge::faults,
    )
    .needs(&[Need::Huge]),
    Test::new(
        "mmap.huge_pmd",
        "smaps shows huge page-table entries",
        huge::pmd,
    )
    .needs(&[Need::Huge]),
    Test::new(
        "mmap.vmsplice",
        "pages go into a pipe and stay",
        huge::vmsplice,
    )
    .needs(&[Need::Huge]),
    Test::new(
        "mmap.process_vm",
        "another process reads and writes it",
        huge::process_vm,
    )
    .needs(&[Need::Huge]),
    Test::new(
        "mmap.uring_fixed",
        "io_uring fixed buffers",
        huge::uring_fixed,
    )
    .needs(&[Need::Huge]),
    Test::new(
        "mmap.pin_outlives_free",
        "pinned pages outlive free, munmap and close",
        huge::pin_outlives,
    )
    .needs(&[Need::Huge]),
    Test::new(
        "mmap.coherent_pin",
        "coherent memory is pinned only if it says so",
        huge::coherent_pin,
    ),
    Test::new(
        "mmap.o_direct_disk",
        "O_DIRECT from a block device",
        disk::block_device,
    )
    .needs(&[Need::Huge]),
    Test::new("mmap.o_direct_file", "O_DIRECT from a file", disk::file).needs(&[Need::Huge]),
    Test::new("mmap.fork", "a child shares the mapping", lifetime::fork),
    Test::new(
        "mmap.partial_unmap",
        "a hole; the rest works",
        lifetime::partial_unmap,
    ),
    Test::new(
        "mmap.covered",
        "other memory over a part is left alone",
        lifetime::covered,
    ),
    Test::new(
        "mmap.free_while_mapped",
        "contents stay, and nobody else gets them",
        lifetime::free_while_mapped,
    ),
    Test::new(
        "mmap.after_close",
        "a mapping outlives its file",
        lifetime::after_close,
    ),
    Test::new(
        "mmap.module_busy",
        "the module stays while a mapping does",
        lifetime::module_busy,
    ),
    Test::new(
        "mmap.passed_file",
        "a file passed to another process",
        lifetime::passed_file,
    ),
    Test::new(
        "mmap.owner_died",
        "the process that opened the file is gone",
        lifetime::owner_died,
    ),
];

/// One buffer of each kind that the card offers, of several pages.
fn each_kind(device: &Device) -> Outcome<Vec<Buffer>> {
    let mut buffers = vec![device.alloc(COHERENT, 4 * crate::memory::PAGE)?];
    if device.info()?.out_capabilities & u64::from(sys::USERDMA_CAP_HUGE) != 0 {
        buffers.push(device.alloc(HUGE, 2 * HUGE_PAGE)?);
    }
    Ok(buffers)
}

/// The lines of /proc/self/smaps about the mapping that begins at `address`.
fn smaps(address: usize) -> Outcome<crate::guest::Counters> {
    let text = std::fs::read_to_string("/proc/self/smaps")?;
    let begin = format!("{address:x}-");
    let is_header = |line: &str| {
        let word = line.split(' ').next().unwrap_or_default();
        word.contains('-') && !word.contains(':')
    };
    let lines: Vec<_> = text
        .lines()
        .skip_while(|line| !line.starts_with(&begin))
        .enumerate()
        .take_while(|(number, line)| *number == 0 || !is_header(line))
        .map(|(_, line)| line)
        .skip(1)
        .collect();
    if lines.is_empty() {
        fail!("no mapping at {address:#x} in /proc/self/smaps");
    }
    Ok(crate::guest::parse_counters(&lines.join("\n")))
}

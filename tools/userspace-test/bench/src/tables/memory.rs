// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Memory that a card can reach, until a program has written to all of it: ours,
//! a dma-heap's, udmabuf's; and the kernel's own huge pages, which no card reaches.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::ptr;

use anyhow::Context;
use anyhow::Result;
use rustix::fs::MemfdFlags;
use rustix::fs::SealFlags;
use rustix::ioctl::opcode;
use rustix::mm::Advice;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;
use userdma::sys;

use crate::card;
use crate::card::ioctl;
use crate::card::wide;
use crate::card::Card;
use crate::counter::repeat;
use crate::counter::Counter;
use crate::memory::HUGE;
use crate::memory::PAGE;
use crate::report::Report;

const LENGTH: usize = 32 << 20;

/// The heaps that a kernel may have.
const HEAPS: [&str; 2] = ["system", "default_cma_region"];

/// `struct dma_heap_allocation_data` and `struct udmabuf_create` of the kernel's
/// headers, and the numbers of their calls.
#[repr(C)]
struct HeapAllocation {
    length: u64,
    fd: u32,
    fd_flags: u32,
    heap_flags: u64,
}
const HEAP_ALLOCATE: u32 = opcode::read_write::<HeapAllocation>(b'H', 0);

#[repr(C)]
struct UdmabufCreate {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}
const UDMABUF_CREATE: u32 = opcode::write::<UdmabufCreate>(b'u', 0x42);

/// What getting memory once took.
struct Once {
    allocate: u64,
    map: u64,
    touch: u64,
}

pub(super) fn run(counter: &Counter, card: &Card, report: &mut Report) -> Result<()> {
    for (kind, name) in [
        (sys::USERDMA_BUF_HUGE, "userdma, huge"),
        (sys::USERDMA_BUF_COHERENT, "userdma, coherent"),
    ] {
        let all = repeat(|| {
            let mut request = card::alloc(kind, LENGTH);
            // SAFETY: it names no arrays.
            let call = || unsafe { card.call(&mut request) };
            let (allocate, result) = counter.time_of(call);
            result.context("BUF_ALLOC")?;
            let fd = card.file().as_fd();
            let once = mapped(counter, allocate, fd, request.out_mmap_offset)?;
            let mut freed = card::free(request.out_handle);
            // SAFETY: as above.
            unsafe { card.call(&mut freed) }.context("BUF_FREE")?;
            Ok(once)
        });
        row(report, name, &all.context(name)?);
    }
    for heap in HEAPS {
        let path = Path::new("/dev/dma_heap").join(heap);
        if !path.exists() {
            continue;
        }
        let device = File::options().read(true).write(true).open(&path)?;
        let all = repeat(|| {
            let (allocate, buffer) = counter.time_of(|| of_heap(&device));
            mapped(counter, allocate, buffer?.as_fd(), 0)
        });
        let name = format!("dma-heap, {heap}");
        row(report, &name, &all.context(name.clone())?);
    }
    let device = File::options()
        .read(true)
        .write(true)
        .open("/dev/udmabuf")?;
    for (flags, name) in [
        (MemfdFlags::empty(), "udmabuf of a memfd"),
        (
            MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB,
            "udmabuf of a hugetlb memfd",
        ),
    ] {
        let all = repeat(|| {
            let (allocate, buffer) = counter.time_of(|| of_memfd(&device, flags));
            mapped(counter, allocate, buffer?.as_fd(), 0)
        });
        row(report, name, &all.context(name)?);
    }
    let all = repeat(|| anonymous(counter))?;
    row(report, "anonymous, THP", &all);
    Ok(())
}

fn row(report: &mut Report, name: &str, all: &[Once]) {
    let values = |value: fn(&Once) -> u64| all.iter().map(value).collect();
    report.row(
        "memory",
        name,
        [
            ("allocate", values(|one| one.allocate)),
            ("map", values(|one| one.map)),
            ("touch", values(|one| one.touch)),
            ("sum", values(|one| one.allocate + one.map + one.touch)),
        ],
    );
}

/// Maps what was allocated, and touches it.
fn mapped(counter: &Counter, allocate: u64, fd: BorrowedFd<'_>, offset: u64) -> Result<Once> {
    let rights = ProtFlags::READ | ProtFlags::WRITE;
    let place = ptr::null_mut();
    // SAFETY: the kernel chooses a place where nothing is.
    let call = || unsafe { rustix::mm::mmap(place, LENGTH, rights, MapFlags::SHARED, fd, offset) };
    let (map, pointer) = counter.time_of(call);
    let pointer = pointer.context("mmap")?;
    let (touch, ()) = counter.time_of(|| write_to_all(pointer.cast()));
    // SAFETY: the mapping is ours, and nothing refers to it any more.
    unsafe { rustix::mm::munmap(pointer, LENGTH) }?;
    Ok(Once {
        allocate,
        map,
        touch,
    })
}

/// Writes to each page.
fn write_to_all(pointer: *mut u8) {
    for offset in (0..LENGTH).step_by(PAGE) {
        // SAFETY: so much is mapped, and writable.
        unsafe { pointer.wrapping_add(offset).write_volatile(1) };
    }
}

fn of_heap(device: &File) -> Result<OwnedFd> {
    let mut allocation = HeapAllocation {
        length: wide(LENGTH),
        fd: 0,
        fd_flags: rustix::fs::OFlags::RDWR.bits() | rustix::fs::OFlags::CLOEXEC.bits(),
        heap_flags: 0,
    };
    // SAFETY: number and structure belong together.
    unsafe { ioctl(device, HEAP_ALLOCATE, &raw mut allocation) }?;
    let fd = i32::try_from(allocation.fd)?;
    // SAFETY: the file was opened for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a memfd, and of it what a card can be given.
fn of_memfd(device: &File, flags: MemfdFlags) -> Result<OwnedFd> {
    let flags = flags | MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = rustix::fs::memfd_create("bench", flags)?;
    rustix::fs::ftruncate(&memfd, wide(LENGTH))?;
    rustix::fs::fcntl_add_seals(&memfd, SealFlags::SHRINK)?;
    let mut create = UdmabufCreate {
        memfd: memfd.as_raw_fd().try_into()?,
        flags: 1,
        offset: 0,
        size: wide(LENGTH),
    };
    // SAFETY: number and structure belong together.
    let fd = unsafe { ioctl(device, UDMABUF_CREATE, &raw mut create) }.context("UDMABUF_CREATE")?;
    // SAFETY: the file was opened for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn anonymous(counter: &Counter) -> Result<Once> {
    let rights = ProtFlags::READ | ProtFlags::WRITE;
    let room = LENGTH + HUGE;
    let place = ptr::null_mut();
    // SAFETY: the kernel chooses a place where nothing is.
    let call = || unsafe { rustix::mm::mmap_anonymous(place, room, rights, MapFlags::PRIVATE) };
    let (map, pointer) = counter.time_of(call);
    let pointer = pointer?;
    // SAFETY: this advice changes nothing that a program can see.
    unsafe { rustix::mm::madvise(pointer, room, Advice::LinuxHugepage) }?;
    let begin = pointer.cast::<u8>();
    let begin = begin.wrapping_add(begin.align_offset(HUGE));
    let (touch, ()) = counter.time_of(|| write_to_all(begin));
    // SAFETY: the mapping is ours, and nothing refers to it any more.
    unsafe { rustix::mm::munmap(pointer, room) }?;
    Ok(Once {
        allocate: 0,
        map,
        touch,
    })
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The kinds of memory that a program can have.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::ptr;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::fs::MemfdFlags;
use rustix::mm::Advice;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

use crate::card::wide;

/// The system's pages.
pub(crate) const PAGE: usize = 4096;
/// Huge ones.
pub(crate) const HUGE: usize = 2 << 20;

/// Frames of this process's pages, a word each.
const PAGEMAP: &str = "/proc/self/pagemap";
/// In such a word: the page is there, and its frame.
const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;

/// A kind of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anonymous, never in huge pages.
    Small,
    /// Anonymous, transparent huge pages.
    Transparent,
    /// Anonymous, of the pool of huge pages.
    Huge,
    /// A memfd of the pool of huge pages.
    HugeMemfd,
    /// A memfd of ordinary pages.
    Memfd,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Small,
        Self::Transparent,
        Self::Huge,
        Self::HugeMemfd,
        Self::Memfd,
    ];

    fn of_pool(self) -> bool {
        matches!(self, Self::Huge | Self::HugeMemfd)
    }

    /// The size of its pages.
    fn page(self) -> usize {
        match self {
            Self::Small | Self::Memfd => PAGE,
            Self::Transparent | Self::Huge | Self::HugeMemfd => HUGE,
        }
    }

    /// What the tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "4 KiB pages",
            Self::Transparent => "THP",
            Self::Huge => "hugetlb",
            Self::HugeMemfd => "hugetlb memfd",
            Self::Memfd => "memfd",
        }
    }
}

/// In which order pages are written to first, which is the order in which the
/// kernel finds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Up,
    Down,
    /// Every other one first: no page lies behind its neighbour.
    Scattered,
}

/// Memory with a page behind every address.
#[derive(Debug)]
pub(crate) struct Memory {
    mapping: usize,
    mapped: usize,
    pub(crate) address: usize,
    pub(crate) length: usize,
    /// Of a memfd, which is to be registered by this and not by address.
    pub(crate) memfd: Option<OwnedFd>,
}

impl Memory {
    /// Takes `length` bytes, a multiple of the kind's pages. Huge pages of the pool lie in few runs.
    pub(crate) fn new(kind: Kind, length: usize) -> Result<Self> {
        match kind.of_pool() {
            true => Self::pooled(kind, length, |runs, pages| runs <= pages / 8),
            false => Self::take(kind, length, Order::Up),
        }
    }

    /// The same of pages of which none, or few of 4 KiB, lie behind their neighbours.
    pub(crate) fn scattered(kind: Kind, length: usize) -> Result<Self> {
        match kind.of_pool() {
            true => Self::pooled(kind, length, |runs, pages| runs == pages),
            false => Self::take(kind, length, Order::Scattered),
        }
    }

    /// The pool gives first what came back last: what order helps depends on what was before.
    fn pooled(kind: Kind, length: usize, good: fn(u64, u64) -> bool) -> Result<Self> {
        for order in [Order::Up, Order::Up, Order::Down, Order::Scattered] {
            let memory = Self::take(kind, length, order)?;
            if good(memory.runs()?, wide(length / HUGE)) {
                return Ok(memory);
            }
        }
        bail!("the pool of huge pages is in disorder: {}", kind.name());
    }

    fn take(kind: Kind, length: usize, order: Order) -> Result<Self> {
        let memfd = match kind {
            Kind::HugeMemfd => Some(MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB),
            Kind::Memfd => Some(MemfdFlags::empty()),
            _ => None,
        };
        let memfd = memfd
            .map(|flags| {
                let memfd = rustix::fs::memfd_create("bench", flags | MemfdFlags::CLOEXEC)?;
                rustix::fs::ftruncate(&memfd, u64::try_from(length).unwrap_or(u64::MAX))?;
                rustix::io::Result::Ok(memfd)
            })
            .transpose()
            .with_context(|| format!("making a {}", kind.name()))?;
        // Room to begin at a multiple of a huge page.
        let mapped = length + HUGE;
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        let place = ptr::null_mut();
        let pointer = match &memfd {
            // SAFETY: the kernel chooses a place where nothing is.
            Some(memfd) => unsafe {
                rustix::mm::mmap(place, length, rights, MapFlags::SHARED, memfd, 0)
            },
            None => {
                let (room, flags) = match kind {
                    Kind::Huge => (length, MapFlags::HUGETLB | MapFlags::HUGE_2MB),
                    _ => (mapped, MapFlags::empty()),
                };
                // SAFETY: as above.
                unsafe {
                    rustix::mm::mmap_anonymous(place, room, rights, MapFlags::PRIVATE | flags)
                }
            }
        };
        let pointer = pointer.with_context(|| format!("mapping {}", kind.name()))?;
        let whole = matches!(kind, Kind::Small | Kind::Transparent);
        let mapping = pointer.expose_provenance();
        let this = Self {
            mapping,
            mapped: if whole { mapped } else { length },
            address: if whole {
                mapping.next_multiple_of(HUGE)
            } else {
                mapping
            },
            length,
            memfd,
        };
        let advice = match kind {
            Kind::Small => Some(Advice::LinuxNoHugepage),
            Kind::Transparent => Some(Advice::LinuxHugepage),
            _ => None,
        };
        if let Some(advice) = advice {
            // SAFETY: this advice changes nothing that a program can see.
            unsafe { rustix::mm::madvise(pointer, this.mapped, advice) }
                .with_context(|| format!("advice for {}", kind.name()))?;
        }
        this.touch(kind.page(), order);
        Ok(this)
    }

    /// How many runs of frames, each behind the last, it lies in.
    pub(crate) fn runs(&self) -> Result<u64> {
        let pagemap = File::open(PAGEMAP).with_context(|| format!("opening {PAGEMAP}"))?;
        let mut words = vec![0; self.length / PAGE * 8];
        pagemap
            .read_exact_at(&mut words, wide(self.address / PAGE * 8))
            .with_context(|| format!("reading {PAGEMAP}"))?;
        let (mut runs, mut next) = (0, None);
        for word in words.chunks_exact(8) {
            let word = u64::from_ne_bytes(word.try_into()?);
            ensure!(word & PRESENT != 0, "a page is not there");
            let frame = word & FRAME;
            runs += u64::from(next != Some(frame));
            next = Some(frame + 1);
        }
        Ok(runs)
    }

    /// Its first byte.
    pub(crate) fn pointer(&self) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.address)
    }

    /// Writes to every page.
    fn touch(&self, page: usize, order: Order) {
        let pages = self.length.div_ceil(page);
        let places: Vec<usize> = match order {
            Order::Up => (0..pages).collect(),
            Order::Down => (0..pages).rev().collect(),
            Order::Scattered => {
                let odd = (1..pages).step_by(2);
                (0..pages).step_by(2).chain(odd).collect()
            }
        };
        for place in places {
            // SAFETY: the mapping is ours, writable, and has so many pages.
            unsafe {
                self.pointer()
                    .wrapping_add(place * page)
                    .write_volatile(0x5a)
            };
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing refers to it any more.
        let result = unsafe {
            rustix::mm::munmap(ptr::with_exposed_provenance_mut(self.mapping), self.mapped)
        };
        debug_assert!(result.is_ok(), "munmap of a whole mapping of our own");
    }
}

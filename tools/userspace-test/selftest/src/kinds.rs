// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The kinds of memory that a program can have. A stack is not among them: it
//! belongs to a function, see `suites/register/stack.rs`.

use std::cell::UnsafeCell;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::ops::Deref;
use std::os::fd::{AsFd as _, OwnedFd};

use libc::c_int;
use nix::errno::Errno;
use rustix::fs::MemfdFlags;

use crate::hugepool::Pool;
use crate::memory::{Mapping, Window, HUGE, PAGE, RW};
use crate::outcome::Outcome;
use crate::raw::{self, wide};

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of malloc().
    Heap,
    /// Anonymous, in pages of 4 KiB.
    Anonymous,
    /// Anonymous, in transparent huge pages as far as there are any.
    Thp,
    /// Anonymous, of the pool of huge pages.
    HugetlbAnonymous,
    /// A memfd of the pool of huge pages.
    HugetlbMemfd,
    /// A memfd.
    Memfd,
    /// System V shared memory.
    SystemV,
    /// A private mapping of a file.
    FilePrivate,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Heap,
        Self::Anonymous,
        Self::Thp,
        Self::HugetlbAnonymous,
        Self::HugetlbMemfd,
        Self::Memfd,
        Self::SystemV,
        Self::FilePrivate,
    ];

    /// Whether it takes pages of the pool: a [`Pool`] must be there before.
    pub(crate) fn of_pool(self) -> bool {
        matches!(self, Self::HugetlbAnonymous | Self::HugetlbMemfd)
    }

    /// The pages that it has if all goes well.
    pub(crate) fn page(self) -> usize {
        match self {
            Self::Thp | Self::HugetlbAnonymous | Self::HugetlbMemfd => HUGE,
            _ => PAGE,
        }
    }

    /// Makes at least `length` bytes of it, and touches them all.
    pub(crate) fn make(self, length: usize) -> Outcome<Memory> {
        let length = match self {
            Self::Heap => length,
            _ => length.next_multiple_of(self.page()),
        };
        let memory = self.untouched(length)?;
        memory.fill(0..memory.length(), 0);
        Ok(memory)
    }

    fn untouched(self, length: usize) -> Outcome<Memory> {
        let mut memfd = None;
        let mut inside = 0;
        let owner = match self {
            Self::Heap => {
                let cells = (0..length).map(|_| UnsafeCell::new(0));
                Owner::Heap(cells.collect())
            }
            Self::Anonymous => {
                let mapping = Mapping::anonymous(length)?;
                no_huge_pages(&mapping)?;
                Owner::Mapped(mapping)
            }
            Self::Thp => {
                let mapping = Mapping::anonymous(length + HUGE)?;
                inside = mapping.address().next_multiple_of(HUGE) - mapping.address();
                raw::madvise(mapping.address(), mapping.length(), libc::MADV_HUGEPAGE)?;
                Owner::Mapped(mapping)
            }
            Self::HugetlbAnonymous => {
                let flags = libc::MAP_HUGETLB | libc::MAP_HUGE_2MB;
                Owner::Mapped(Mapping::anonymous_with(length, flags)?)
            }
            Self::HugetlbMemfd | Self::Memfd => {
                let fd = self::memfd(self.of_pool(), length)?;
                let mapping = Mapping::of(&fd, 0, length, RW)?;
                memfd = Some(fd);
                Owner::Mapped(mapping)
            }
            Self::SystemV => Owner::SystemV(Attached::new(length)?),
            Self::FilePrivate => Owner::Mapped(private(length)?),
        };
        let address = match &owner {
            Owner::Heap(cells) => cells.as_ptr().expose_provenance(),
            Owner::Mapped(mapping) => mapping.address() + inside,
            Owner::SystemV(attached) => attached.0,
        };
        Ok(Memory {
            kind: self,
            window: Window::new(address, length),
            _owner: owner,
            memfd,
        })
    }
}

/// Memory of one kind, as long as this lives.
#[derive(Debug)]
pub(crate) struct Memory {
    kind: Kind,
    window: Window,
    _owner: Owner,
    memfd: Option<OwnedFd>,
}

#[derive(Debug)]
enum Owner {
    Heap(Box<[UnsafeCell<u8>]>),
    Mapped(Mapping),
    SystemV(Attached),
}

impl Memory {
    /// Which it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The file behind it, if that is a memfd.
    pub(crate) fn memfd(&self) -> Option<&OwnedFd> {
        self.memfd.as_ref()
    }
}

impl Deref for Memory {
    type Target = Window;

    fn deref(&self) -> &Window {
        &self.window
    }
}

/// A memfd of so many bytes that can be sealed, in ordinary or in huge pages.
pub(crate) fn memfd(huge: bool, length: usize) -> Outcome<OwnedFd> {
    let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    if huge {
        flags |= MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
    }
    let fd = rustix::fs::memfd_create("userdma-selftest", flags)?;
    rustix::fs::ftruncate(&fd, wide(length))?;
    Ok(fd)
}

/// Sees to it that memory stays in small pages whatever the machine's policy.
pub(crate) fn no_huge_pages(mapping: &Mapping) -> Outcome {
    match raw::madvise(mapping.address(), mapping.length(), libc::MADV_NOHUGEPAGE) {
        // A kernel without them.
        Ok(()) | Err(Errno::EINVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A private mapping of a file with something in it.
fn private(length: usize) -> Outcome<Mapping> {
    let path = std::env::temp_dir().join(format!("userdma-{}", std::process::id()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    file.write_all(&vec![0xf1; length])?;
    Ok(Mapping::with(
        &file.as_fd(),
        0,
        length,
        RW,
        libc::MAP_PRIVATE,
    )?)
}

/// System V shared memory, at this address.
#[derive(Debug)]
struct Attached(usize);

impl Attached {
    fn new(length: usize) -> Outcome<Self> {
        // SAFETY: no memory is involved.
        let id = unsafe { libc::shmget(libc::IPC_PRIVATE, length, libc::IPC_CREAT | 0o600) };
        let id = Errno::result(id)?;
        let anywhere: *const libc::c_void = std::ptr::null();
        // SAFETY: the kernel takes room that is free.
        let address = unsafe { libc::shmat(id, anywhere, 0) };
        let nothing: *mut libc::shmid_ds = std::ptr::null_mut();
        // It goes with its last user. SAFETY: this command takes no structure.
        let removed: c_int = unsafe { libc::shmctl(id, libc::IPC_RMID, nothing) };
        if address.addr() == usize::MAX {
            return Err(Errno::last().into());
        }
        Errno::result(removed)?;
        Ok(Self(address.expose_provenance()))
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let address: *const libc::c_void = std::ptr::with_exposed_provenance(self.0);
        // SAFETY: nothing refers into it.
        unsafe { libc::shmdt(address) };
    }
}

/// At least `length` bytes of each kind. A [`pool`] must be there before.
pub(crate) fn set(length: usize) -> Outcome<Vec<Memory>> {
    Kind::ALL.iter().map(|kind| kind.make(length)).collect()
}

/// The pool for so many sets.
pub(crate) fn pool(length: usize, sets: usize) -> Outcome<Pool> {
    let count = Kind::ALL.iter().filter(|kind| kind.of_pool()).count();
    Pool::of(sets * count * length.div_ceil(HUGE))
}

/// Memory of every kind, and the pool behind some of it.
#[derive(Debug)]
pub(crate) struct All {
    pub(crate) memory: Vec<Memory>,
    _pool: Pool,
}

impl All {
    /// At least `length` bytes of each kind.
    pub(crate) fn make(length: usize) -> Outcome<Self> {
        let pool = pool(length, 1)?;
        Ok(Self {
            memory: set(length)?,
            _pool: pool,
        })
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What memory to allocate.

use std::os::fd::OwnedFd;

use rustix::fs::FallocateFlags;
use rustix::fs::MemfdFlags;
use rustix::fs::SealFlags;
use rustix::io::Errno;

use super::pool;
use super::pool::Grown;
use super::Memory;
use super::Pages;
use crate::explain;
use crate::Error;
use crate::Mapping;
use crate::Result;

/// What memory to allocate.
///
/// # Examples
///
/// ```no_run
/// use userdma::{Memory, Pages};
///
/// let memory = Memory::memfd(4 << 30).pages(Pages::Huge1G).allocate()?;
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is allocated until `allocate`"]
pub struct MemoryBuilder {
    request: explain::PagesRequest,
}

impl MemoryBuilder {
    pub(super) fn new(length: u64, memfd: bool) -> Self {
        Self {
            request: explain::PagesRequest {
                pages: Pages::Small,
                length,
                memfd,
                reserve: true,
            },
        }
    }

    /// Sets in which pages; [`Pages::Small`] unless told otherwise.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use userdma::{Memory, Pages};
    ///
    /// let memory = Memory::anonymous(64 << 20).pages(Pages::Huge2M).allocate()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn pages(mut self, pages: Pages) -> Self {
        self.request.pages = pages;
        self
    }

    /// Sets whether huge pages may be made for this memory when the pool has
    /// too few, as a program of root can: yes unless told otherwise. They go
    /// back to the system with the memory, however the program ends.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use userdma::{Memory, Pages};
    ///
    /// // Only of what the administrator has set aside.
    /// let memory = Memory::anonymous(64 << 20).pages(Pages::Huge2M).reserve(false).allocate()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn reserve(mut self, yes: bool) -> Self {
        self.request.reserve = yes;
        self
    }

    /// Allocates; the length is rounded up to whole pages.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`](crate::ErrorKind)s `OutOfMemory`, `Fragmented`,
    /// `Permission` if there are too few huge pages and the program may not
    /// make more, `NotSupported`, `InvalidInput`, `Interrupted`.
    ///
    /// # Examples
    ///
    /// ```
    /// let memory = userdma::Memory::anonymous(1 << 20).allocate()?;
    /// assert_eq!(memory.len(), 1 << 20);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn allocate(self) -> Result<Memory> {
        let request = self.request;
        let size = size(&request)?;
        let (memfd, mapping) = if request.memfd {
            let (memfd, mapping) = file(&request, size)?;
            (Some(memfd), mapping)
        } else {
            let map = || Mapping::anonymous(size, request.pages);
            let mapping = pool::draw(&request, map);
            (
                None,
                mapping.map_err(|(errno, grown)| error(&request, errno, grown))?,
            )
        };
        Ok(Memory {
            mapping,
            memfd,
            pages: request.pages,
        })
    }
}

/// Makes a memfd of whole huge pages, all of them there.
pub(crate) fn huge_file(length: u64, pages: Pages) -> Result<OwnedFd> {
    let request = explain::PagesRequest {
        pages,
        length,
        memfd: true,
        reserve: true,
    };
    let (memfd, _) = file(&request, size(&request)?)?;
    Ok(memfd)
}

/// Gives the length in whole pages, if it makes sense.
fn size(request: &explain::PagesRequest) -> Result<usize> {
    let size = request.size().and_then(|size| usize::try_from(size).ok());
    match size {
        None => Err(error(request, Errno::NOMEM, None)),
        Some(0) => Err(error(request, Errno::INVAL, None)),
        Some(_) if request.memfd && request.pages == Pages::Transparent => {
            Err(error(request, Errno::INVAL, None))
        }
        Some(size) => Ok(size),
    }
}

fn file(request: &explain::PagesRequest, size: usize) -> Result<(OwnedFd, Mapping)> {
    let told = |errno| error(request, errno, None);
    let length = u64::try_from(size).map_err(|_| told(Errno::NOMEM))?;
    let flags = match request.pages {
        Pages::Huge2M => MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB,
        Pages::Huge1G => MemfdFlags::HUGETLB | MemfdFlags::HUGE_1GB,
        _ => MemfdFlags::empty(),
    };
    let flags = flags | MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL;
    let memfd = rustix::fs::memfd_create(c"userdma", flags).map_err(told)?;
    rustix::fs::ftruncate(&memfd, length).map_err(told)?;
    // Of huge pages this takes what it needs out of the pool; they are filled
    // afterwards, which takes long.
    let map = || Mapping::shared(&memfd, 0, size, request.pages.size(), true);
    let mapping = pool::draw(request, map);
    let mapping = mapping.map_err(|(errno, grown)| error(request, errno, grown))?;
    if request.pages.are_pooled() {
        rustix::fs::fallocate(&memfd, FallocateFlags::empty(), 0, length).map_err(told)?;
    }
    // Nobody who is given the file may cut off what is mapped here.
    rustix::fs::fcntl_add_seals(&memfd, SealFlags::SHRINK | SealFlags::GROW).map_err(told)?;
    Ok((memfd, mapping))
}

fn error(request: &explain::PagesRequest, errno: Errno, grown: Option<Grown>) -> Error {
    let pool = pool::Pool::of(request.pages).map(|pool| pool.state());
    let memory = explain::Memory::read(Pages::Small.size());
    Error::Memory {
        pages: request.pages,
        length: request.length,
        errno,
        explanation: Box::new(explain::pages(request, errno, pool, grown, &memory)),
    }
}

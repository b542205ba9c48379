// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Memory of the program's own, made so that a card can use it well.

mod builder;
mod pool;

use std::fmt;
use std::ops::Deref;
use std::ops::DerefMut;
use std::os::fd::AsFd as _;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use serde::Serialize;

pub(crate) use builder::huge_file;
pub use builder::MemoryBuilder;
pub(crate) use pool::Grown;
pub(crate) use pool::State as PoolState;

use crate::Mapping;

/// In which pages memory is wanted.
///
/// The larger the pages, the fewer pieces the card sees, and the less it costs
/// to register them.
///
/// # Examples
///
/// ```
/// use userdma::Pages;
///
/// assert_eq!(Pages::Huge2M.size(), 2 << 20);
/// assert_eq!(Pages::Huge1G.to_string(), "pages of 1 GiB");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "lowercase")]
pub enum Pages {
    /// The system's smallest, 4 KiB on most: there are always some.
    Small,
    /// Transparent huge pages of 2 MiB, as far as the kernel has some: needs no
    /// set-up, promises nothing. Not for a memfd.
    Transparent,
    /// Pages of 2 MiB from the kernel's pool of huge pages.
    Huge2M,
    /// Pages of 1 GiB from the kernel's pool of huge pages.
    Huge1G,
}

impl Pages {
    /// Gives the size of one, in bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(userdma::Pages::Transparent.size(), 2 << 20);
    /// ```
    #[must_use]
    pub fn size(self) -> u64 {
        match self {
            Self::Small => u64::try_from(rustix::param::page_size()).unwrap_or(4096),
            Self::Transparent | Self::Huge2M => 2 << 20,
            Self::Huge1G => 1 << 30,
        }
    }

    /// Says whether they come from the kernel's pool of huge pages.
    pub(crate) fn are_pooled(self) -> bool {
        matches!(self, Self::Huge2M | Self::Huge1G)
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transparent => f.write_str("transparent huge pages"),
            _ => write!(f, "pages of {}", crate::Bytes(self.size())),
        }
    }
}

/// Memory of the program's own, all zero at first; given back when this is
/// dropped.
///
/// Register it ([`Device::register`](crate::Device::register)) and the card
/// reaches it, with one card or several. It is read and written as a
/// [`Mapping`], whose methods it has; unlike one of a card's buffer it stays
/// when the card goes away.
///
/// # Examples
///
/// ```
/// use userdma::Memory;
///
/// let mut memory = Memory::anonymous(1 << 20).allocate()?;
/// memory.copy_from(100, b"sample")?;
/// let mut back = [0; 6];
/// memory.copy_to(100, &mut back)?;
/// assert_eq!(&back, b"sample");
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Debug)]
pub struct Memory {
    mapping: Mapping,
    memfd: Option<OwnedFd>,
    pages: Pages,
}

impl Memory {
    /// Begins to allocate at least `length` bytes that belong to nothing but
    /// this process: as malloc gives them, and in pages of your choice.
    ///
    /// # Examples
    ///
    /// ```
    /// use userdma::{Memory, Pages};
    ///
    /// let memory = Memory::anonymous(4 << 20).pages(Pages::Transparent).allocate()?;
    /// assert_eq!(memory.len(), 4 << 20);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn anonymous(length: u64) -> MemoryBuilder {
        MemoryBuilder::new(length, false)
    }

    /// Begins to allocate at least `length` bytes as a memfd: a file that lives
    /// in memory and can be given to other processes.
    ///
    /// # Examples
    ///
    /// ```
    /// use userdma::Memory;
    ///
    /// let memory = Memory::memfd(1 << 20).allocate()?;
    /// assert!(memory.as_memfd().is_some());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn memfd(length: u64) -> MemoryBuilder {
        MemoryBuilder::new(length, true)
    }

    /// Gives the pages that were asked for. What transparent huge pages came to
    /// be, [`Buffer::page_size`](crate::Buffer::page_size) tells when it is registered.
    ///
    /// # Examples
    ///
    /// ```
    /// use userdma::{Memory, Pages};
    ///
    /// assert_eq!(Memory::anonymous(1).allocate()?.pages(), Pages::Small);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// Gives the memfd, for other processes to map; its size is sealed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use userdma::Memory;
    /// assert!(Memory::anonymous(1).allocate()?.as_memfd().is_none());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn as_memfd(&self) -> Option<BorrowedFd<'_>> {
        self.memfd.as_ref().map(|fd| fd.as_fd())
    }
}

impl Deref for Memory {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        &self.mapping
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut Mapping {
        &mut self.mapping
    }
}

impl AsRef<Memory> for Memory {
    fn as_ref(&self) -> &Memory {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::Result;

    /// All of it is there, zero, and can be written.
    fn use_whole(mut memory: Memory) -> Result<()> {
        let mut last = [0xee; 16];
        let end = memory.len() - last.len();
        memory.copy_to(end, &mut last)?;
        assert_eq!(last, [0; 16]);
        memory.fill(0..100, 7)?;
        memory.copy_from(end, &[9; 16])?;
        memory.copy_to(end, &mut last)?;
        assert_eq!(last, [9; 16]);
        Ok(())
    }

    #[test]
    fn what_every_machine_has() -> Result<()> {
        for pages in [Pages::Small, Pages::Transparent] {
            let memory = Memory::anonymous((6 << 20) + 1).pages(pages).allocate()?;
            let size = usize::try_from(pages.size()).expect("it is small");
            assert_eq!(memory.len() % size, 0);
            assert!(memory.len() > 6 << 20 && memory.len() <= (6 << 20) + size);
            assert_eq!(memory.as_ptr().addr() % size, 0, "{pages}");
            use_whole(memory)?;
        }
        use_whole(Memory::memfd(100_000).allocate()?)
    }

    /// Nobody can cut off what is mapped: that would be SIGBUS.
    #[test]
    fn the_size_of_a_memfd_is_sealed() -> Result<()> {
        let memory = Memory::memfd(8192).allocate()?;
        let fd = memory.as_memfd().expect("it is one");
        for size in [0, 4096, 16384] {
            let result = rustix::fs::ftruncate(fd, size);
            assert_eq!(result, Err(rustix::io::Errno::PERM), "{size}");
        }
        Ok(())
    }

    #[test]
    fn nonsense_is_refused() {
        for builder in [
            Memory::anonymous(0),
            Memory::memfd(0),
            Memory::memfd(1).pages(Pages::Transparent),
        ] {
            let error = builder.allocate().expect_err("nonsense");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
        for length in [u64::MAX, u64::MAX - 4096, 1 << 62] {
            let error = Memory::anonymous(length).allocate().expect_err("too large");
            assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
            assert!(Memory::memfd(length).allocate().is_err());
        }
    }

    #[test]
    fn memory_goes_to_other_threads() {
        fn needs<T: Send + Sync>() {}
        needs::<Memory>();
    }
}

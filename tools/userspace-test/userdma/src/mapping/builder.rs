// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What of a buffer to map, and how.

use std::ops::Range;
use std::os::fd::AsFd as _;

use rustix::io::Errno;

use super::Mapping;
use crate::explain;
use crate::Access;
use crate::Buffer;
use crate::Bytes;
use crate::Error;
use crate::ErrorKind;
use crate::Explanation;
use crate::Kind;
use crate::Result;

/// What of a buffer to map, and how.
///
/// # Examples
///
/// ```no_run
/// # let buffer = userdma::Device::first()?.huge(4 << 20).allocate()?;
/// let first_page = buffer.mapping().range(0..2 << 20).map()?;
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is mapped until `map`"]
pub struct MappingBuilder<'a> {
    buffer: &'a Buffer,
    range: Range<u64>,
    writable: bool,
}

impl<'a> MappingBuilder<'a> {
    pub(crate) fn new(buffer: &'a Buffer) -> Self {
        Self {
            buffer,
            range: 0..buffer.length(),
            writable: true,
        }
    }

    /// Maps only these bytes; the first is a multiple of the system's page.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(4 << 20).allocate()?;
    /// let part = buffer.mapping().range(4096..8192).map()?;
    /// assert_eq!(part.len(), 4096);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn range(mut self, range: Range<u64>) -> Self {
        self.range = range;
        self
    }

    /// Maps for reading only, which also a file opened read-only may.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(4 << 20).allocate()?;
    /// let samples = buffer.mapping().read_only().map()?;
    /// assert!(!samples.is_writable());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn read_only(mut self) -> Self {
        self.writable = false;
        self
    }

    /// Maps.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`]s `BadAccess` if the device was opened for less,
    /// `InvalidInput` and `OutOfRange` for the range, `OutOfMemory`, `Gone`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(4 << 20).allocate()?;
    /// let memory = buffer.mapping().map()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn map(self) -> Result<Mapping> {
        let length = self.range.end.saturating_sub(self.range.start);
        let offset = self.buffer.mmap_offset().checked_add(self.range.start);
        let (Some(offset), Ok(size)) = (offset, usize::try_from(length)) else {
            return Err(self.error(Errno::INVAL));
        };
        let result = match self.buffer.file() {
            Some(file) => Mapping::shared(file, offset, size, self.page(), self.writable),
            None if self.buffer.kind() == Kind::User => Err(Errno::INVAL),
            None => {
                let device = self.buffer.device().as_fd();
                Mapping::shared(device, offset, size, self.page(), self.writable)
            }
        };
        result.map_err(|errno| self.error(errno))
    }

    /// Gives what the first byte must be a multiple of.
    fn page(&self) -> u64 {
        let file = self.buffer.file().map(|_| self.buffer.page_size());
        file.unwrap_or(self.buffer.device().info().page_size).max(1)
    }

    fn error(&self, errno: Errno) -> Error {
        let length = self.range.end.saturating_sub(self.range.start);
        let page = self.page();
        let size = self.buffer.length();
        let told = |kind, why: &str| Explanation::new(kind, why);
        let explanation = match errno {
            Errno::INVAL if self.buffer.kind() == Kind::User => told(
                ErrorKind::NotSupported,
                "it is the program's own memory, registered: there is no other mapping of it",
            )
            .advise("use the memory that was registered"),
            Errno::INVAL if length == 0 => {
                told(ErrorKind::InvalidInput, "a mapping has at least one byte")
            }
            Errno::INVAL if self.range.start % page != 0 => {
                told(ErrorKind::InvalidInput, "a mapping begins at a whole page")
                    .limit(format!("offsets are multiples of {}", Bytes(page)))
            }
            Errno::INVAL if self.range.end > size => {
                told(ErrorKind::OutOfRange, "it reaches behind the buffer's end")
                    .limit(format!("the buffer has {} ({size})", Bytes(size)))
            }
            Errno::ACCESS => match self.buffer.device().access() {
                Access::WriteOnly => told(ErrorKind::BadAccess, "the device was opened write-only")
                    .advise("open it for reading too: a mapping can always be read"),
                _ => told(ErrorKind::BadAccess, "the device was opened read-only")
                    .advise("map it read-only, or open the device for writing too"),
            },
            Errno::NOMEM => told(
                ErrorKind::OutOfMemory,
                "no address range or no memory for page tables is free",
            )
            .advise("unmap something; look at ulimit -v and /proc/sys/vm/max_map_count"),
            _ => explain::general(errno),
        };
        Error::Map {
            handle: self.buffer.handle(),
            offset: self.range.start,
            length,
            errno,
            explanation: Box::new(explanation),
        }
    }
}

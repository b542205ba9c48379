// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Memory that the card can reach.

mod builder;
mod gigantic;
mod sync;

use std::fmt;
use std::os::fd::AsFd as _;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use serde::Serialize;

pub use builder::BufferBuilder;

use crate::explain;
use crate::ioctl;
use crate::sys;
use crate::Device;
use crate::Error;
use crate::Mapping;
use crate::MappingBuilder;
use crate::Result;

/// Kinds of buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Memory that card and program see alike at all times.
    Coherent,
    /// Pages of 2 MiB or 1 GiB: ordinary memory to the program, few segments to
    /// the card.
    Huge,
    /// The program's own memory, registered.
    User,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Coherent => "coherent",
            Self::Huge => "huge",
            Self::User => "user",
        })
    }
}

/// Memory that the card can reach, freed when this is dropped.
///
/// What is still mapped or in flight then stays until its last user is gone.
///
/// # Examples
///
/// ```no_run
/// # let card = userdma::Device::first()?;
/// let buffer = card.huge(64 << 20).allocate()?;
/// println!("{} segments", buffer.segments());
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Debug)]
pub struct Buffer {
    device: Device,
    handle: u32,
    kind: Kind,
    segments: u32,
    length: u64,
    page_size: u64,
    mmap_offset: u64,
    /// Where its memory is, if it is not the driver's.
    file: Option<OwnedFd>,
}

/// What a buffer is now.
///
/// # Examples
///
/// ```no_run
/// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
/// println!("{} mappings", buffer.info()?.mappings);
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct BufferInfo {
    /// Its name in this open file.
    pub handle: u32,
    /// Its kind.
    pub kind: Kind,
    /// Bytes.
    pub length: u64,
    /// The smallest page got, in bytes.
    pub page_size: u64,
    /// Pieces that the card sees, 0 if bounced.
    pub segments: u32,
    /// What to give to mmap.
    pub mmap_offset: u64,
    /// Where its first page lies, if known.
    pub numa_node: Option<u32>,
    /// Mappings that exist.
    pub mappings: u32,
    /// The card cannot reach it: the driver copies.
    pub bounced: bool,
    /// It was got in smaller pages than asked for.
    pub fell_back: bool,
    /// Its mappings serve O_DIRECT, io_uring and vmsplice.
    pub pinnable: bool,
    /// Transfers may only read it: it was registered as a source.
    pub source: bool,
}

impl Buffer {
    /// Gives the buffer's name in this open file.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
    /// assert_ne!(buffer.handle(), 0);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn handle(&self) -> u32 {
        self.handle
    }

    /// Gives the device that it was allocated from.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
    /// println!("{}", buffer.device().path().display());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Makes one of memory that was registered.
    pub(crate) fn registered(device: &Device, raw: &sys::userdma_buf_register) -> Self {
        Self {
            device: device.clone(),
            handle: raw.out_handle,
            kind: Kind::User,
            segments: raw.out_segments,
            length: raw.length,
            page_size: raw.out_page_size,
            mmap_offset: 0,
            file: None,
        }
    }

    /// Gives the file that its memory is in, if it is not the driver's.
    pub(crate) fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(|file| file.as_fd())
    }

    /// Gives the kind that was asked for.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
    /// assert_eq!(buffer.kind(), userdma::Kind::Huge);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Gives the bytes got: what was asked for, rounded up to whole pages; of
    /// registered memory what was registered.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// assert_eq!(card.huge(1).allocate()?.length(), 2 << 20);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Gives the smallest page got, in bytes.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
    /// assert_eq!(buffer.page_size(), 2 << 20);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn page_size(&self) -> u64 {
        self.page_size
    }

    /// Gives the pieces that the card sees, 0 if transfers are bounced.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(64 << 20).allocate()?;
    /// assert!(buffer.segments() <= 32);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn segments(&self) -> u32 {
        self.segments
    }

    /// Says whether the driver copies each transfer, as the card cannot reach
    /// the memory.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.coherent(4096).allocate()?;
    /// assert!(!buffer.is_bounced());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn is_bounced(&self) -> bool {
        self.segments == 0
    }

    /// Says whether a huge buffer was got in smaller pages than 2 MiB.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
    /// assert!(!buffer.fell_back());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn fell_back(&self) -> bool {
        self.kind == Kind::Huge && self.page_size < 2 << 20
    }

    /// Gives what to pass to `mmap` of the device, for programs that call it
    /// themselves; 0 for memory that is not the driver's: pages of 1 GiB, and
    /// what was registered.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
    /// assert_eq!(buffer.mmap_offset() % (2 << 20), 0);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn mmap_offset(&self) -> u64 {
        self.mmap_offset
    }

    /// Asks what the buffer is now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Gone`](crate::ErrorKind::Gone).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
    /// println!("on node {:?}", buffer.info()?.numa_node);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn info(&self) -> Result<BufferInfo> {
        let raw = self
            .device
            .buffer_info(self.handle)
            .map_err(|errno| self.error("ask about", errno))?;
        let state = |bit: u32| raw.out_state & bit != 0;
        Ok(BufferInfo {
            handle: self.handle,
            kind: self.kind,
            length: raw.out_length,
            page_size: raw.out_page_size,
            segments: raw.out_segments,
            mmap_offset: raw.out_mmap_offset,
            numa_node: u32::try_from(raw.out_numa_node).ok(),
            mappings: raw.out_mappings,
            bounced: state(sys::USERDMA_BUF_BOUNCED),
            fell_back: state(sys::USERDMA_BUF_FELL_BACK),
            // Mappings of a memfd are ordinary memory.
            pinnable: state(sys::USERDMA_BUF_PINNABLE) || self.file.is_some(),
            source: state(sys::USERDMA_BUF_SOURCE),
        })
    }

    /// Maps all of the buffer for reading and writing.
    ///
    /// # Errors
    ///
    /// As [`MappingBuilder::map`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
    /// let mut memory = buffer.map()?;
    /// memory.copy_from(0, &[1, 2, 3])?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn map(&self) -> Result<Mapping> {
        self.mapping().map()
    }

    /// Begins to say what to map and how.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(4 << 20).allocate()?;
    /// let second_half = buffer.mapping().range(2 << 20..4 << 20).read_only().map()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn mapping(&self) -> MappingBuilder<'_> {
        MappingBuilder::new(self)
    }

    /// Frees the buffer and says whether that worked, which dropping cannot.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Gone`](crate::ErrorKind::Gone); the handle is then dead too.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
    /// buffer.free()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn free(mut self) -> Result<()> {
        let result = self.release().map_err(|errno| self.error("free", errno));
        // Once is enough, and 0 names no buffer.
        self.handle = 0;
        result
    }

    fn release(&self) -> Result<(), Errno> {
        let mut raw = sys::userdma_buf_free {
            handle: self.handle,
            ..ioctl::zeroed()
        };
        ioctl::buf_free(self.device.as_fd(), &mut raw)
    }

    fn error(&self, action: &'static str, errno: Errno) -> Error {
        Error::Buffer {
            action,
            handle: self.handle,
            errno,
            explanation: Box::new(explain::general(errno)),
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.handle != 0 {
            // It fails only if the device is gone, and the buffer with it.
            let _ = self.release();
        }
    }
}

impl Device {
    /// Asks about any handle of this file.
    pub(crate) fn buffer_info(&self, handle: u32) -> Result<sys::userdma_buf_info, Errno> {
        let mut raw = sys::userdma_buf_info {
            handle,
            ..ioctl::zeroed()
        };
        ioctl::buf_info(self.as_fd(), &mut raw)?;
        Ok(raw)
    }
}

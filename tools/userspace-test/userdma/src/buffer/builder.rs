// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What to allocate.

use std::os::fd::AsFd as _;

use rustix::io::Errno;

use super::Buffer;
use super::Kind;
use crate::explain;
use crate::ioctl;
use crate::sys;
use crate::Device;
use crate::Error;
use crate::ErrorKind;
use crate::Pages;
use crate::Result;

/// What to allocate.
///
/// # Examples
///
/// ```no_run
/// # let card = userdma::Device::first()?;
/// let buffer = card.huge(64 << 20).fallback(true).allocate()?;
/// if buffer.fell_back() {
///     eprintln!("only got pages of {}", userdma::Bytes(buffer.page_size()));
/// }
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is allocated until `allocate`"]
pub struct BufferBuilder<'a> {
    device: &'a Device,
    request: explain::Request,
}

impl<'a> BufferBuilder<'a> {
    pub(crate) fn new(device: &'a Device, kind: Kind, length: u64) -> Self {
        Self {
            device,
            request: explain::Request {
                kind,
                length,
                page_size: 0,
                node: None,
                fallback: false,
                no_bounce: false,
            },
        }
    }

    /// Allocates on this NUMA node and nowhere else.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let node = card.info().numa_node.unwrap_or(0);
    /// let buffer = card.huge(2 << 20).node(node).allocate()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn node(mut self, node: u32) -> Self {
        self.request.node = Some(node);
        self
    }

    /// Sets the size of a huge buffer's pages: 2 MiB, as it is unless told
    /// otherwise, or 1 GiB, of which the card sees one segment each.
    ///
    /// Pages of 1 GiB come from the kernel's pool of huge pages, are made for the
    /// buffer if the program may, and count against RLIMIT_MEMLOCK instead of
    /// the driver's limits.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let buffer = card.huge(4 << 30).page_size(1 << 30).allocate()?;
    /// assert_eq!(buffer.segments(), 4);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn page_size(mut self, bytes: u64) -> Self {
        self.request.page_size = bytes;
        self
    }

    /// Lets a huge buffer have smaller pages where there are no huge ones.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let buffer = card.huge(64 << 20).fallback(true).allocate()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn fallback(mut self, yes: bool) -> Self {
        self.request.fallback = yes;
        self
    }

    /// Lets a huge buffer fail with [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable)
    /// where the driver would have to copy each transfer.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let buffer = card.huge(64 << 20).no_bounce(true).allocate()?;
    /// assert!(!buffer.is_bounced());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn no_bounce(mut self, yes: bool) -> Self {
        self.request.no_bounce = yes;
        self
    }

    /// Allocates; all of the memory is zero.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`](crate::ErrorKind)s `OutOfMemory`, `Fragmented`,
    /// `LimitReached`, `Unreachable`, `NotSupported`, `InvalidInput`, `Gone`,
    /// `Interrupted`, and `Permission` for pages of 1 GiB that the program may
    /// not make.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let buffer = card.coherent(1 << 20).allocate()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn allocate(self) -> Result<Buffer> {
        if !self.is_gigantic() {
            return self.allocate_of_driver();
        }
        let request = self.request;
        match Buffer::gigantic(self.device, request.length, request.no_bounce) {
            Err(error) if request.fallback && error.kind() != ErrorKind::Gone => {
                self.page_size(0).allocate_of_driver()
            }
            result => result,
        }
    }

    /// Says whether it is the library that allocates. What makes no sense is
    /// left to the driver, which says so.
    fn is_gigantic(&self) -> bool {
        let request = &self.request;
        request.kind == Kind::Huge
            && request.page_size == Pages::Huge1G.size()
            && request.length > 0
            && request.node.is_none()
    }

    fn allocate_of_driver(self) -> Result<Buffer> {
        let request = self.request;
        let mut flags = 0;
        if request.node.is_some() {
            flags |= sys::USERDMA_ALLOC_NODE;
        }
        if request.fallback {
            flags |= sys::USERDMA_ALLOC_FALLBACK;
        }
        if request.no_bounce {
            flags |= sys::USERDMA_ALLOC_NO_BOUNCE;
        }
        let mut raw = sys::userdma_buf_alloc {
            flags,
            kind: match request.kind {
                Kind::Coherent => sys::USERDMA_BUF_COHERENT,
                Kind::Huge => sys::USERDMA_BUF_HUGE,
                Kind::User => sys::USERDMA_BUF_USER,
            },
            numa_node: request.node.unwrap_or(0),
            length: request.length,
            page_size: request.page_size,
            ..ioctl::zeroed()
        };
        ioctl::buf_alloc(self.device.as_fd(), &mut raw).map_err(|errno| self.error(errno))?;
        Ok(Buffer {
            device: self.device.clone(),
            handle: raw.out_handle,
            kind: request.kind,
            segments: raw.out_segments,
            length: raw.out_length,
            page_size: raw.out_page_size,
            mmap_offset: raw.out_mmap_offset,
            file: None,
        })
    }

    fn error(&self, errno: Errno) -> Error {
        let cached = self.device.info();
        // What is in use has changed since the device was opened.
        let now = self.device.query();
        let info = now.as_ref().unwrap_or(cached);
        let memory = explain::Memory::read(info.page_size.max(1));
        Error::Allocate {
            kind: self.request.kind,
            length: self.request.length,
            errno,
            explanation: Box::new(explain::allocate(&self.request, errno, info, &memory)),
        }
    }
}

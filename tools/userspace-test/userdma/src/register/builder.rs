// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What memory to register, and how.

use std::ops::Range;
use std::os::fd::AsFd as _;
use std::os::fd::AsRawFd as _;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::Place;
use super::Registered;
use crate::explain;
use crate::ioctl;
use crate::sys;
use crate::Buffer;
use crate::Bytes;
use crate::Device;
use crate::Error;
use crate::ErrorKind;
use crate::Explanation;
use crate::Memory;
use crate::Result;

/// What memory to register, and how.
///
/// # Examples
///
/// ```no_run
/// use userdma::Memory;
///
/// # let card = userdma::Device::first()?;
/// let memory = Memory::memfd(1 << 20).allocate()?;
/// let registered = card.register(memory).range(0..4096).no_bounce(true).pin()?;
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is registered until `pin`"]
pub struct RegisterBuilder<'d, M> {
    device: &'d Device,
    memory: M,
    whole: Whole<'d, M>,
    range: Option<Range<u64>>,
    source: bool,
    no_bounce: bool,
}

/// Where the memory is.
#[derive(Debug)]
enum Whole<'d, M> {
    /// It is asked when it is pinned: the answer holds while it is borrowed.
    Asked(fn(&M) -> Span<'_>),
    Known(Span<'d>),
}

/// Memory, before a range of it is chosen.
#[derive(Clone, Copy, Debug)]
struct Span<'a> {
    memfd: Option<BorrowedFd<'a>>,
    /// Address, or offset in the memfd.
    start: u64,
    length: u64,
}

impl<'d, M> RegisterBuilder<'d, M> {
    fn new(device: &'d Device, memory: M, whole: Whole<'d, M>) -> Self {
        Self {
            device,
            memory,
            whole,
            range: None,
            source: false,
            no_bounce: false,
        }
    }

    /// Lets the card only read the memory: no transfer may write to it. The memory
    /// may then be read-only.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Memory;
    /// # let card = userdma::Device::first()?;
    /// let registered = card.register(Memory::memfd(4096).allocate()?).source().pin()?;
    /// assert!(registered.info()?.source);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn source(mut self) -> Self {
        self.source = true;
        self
    }

    /// Registers only these bytes of the memory; transfers count from the first
    /// of them.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Memory;
    /// # let card = userdma::Device::first()?;
    /// let registered = card.register(Memory::memfd(8192).allocate()?).range(100..200).pin()?;
    /// assert_eq!(registered.length(), 100);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn range(mut self, range: Range<u64>) -> Self {
        self.range = Some(range);
        self
    }

    /// Lets it fail with [`ErrorKind::Unreachable`]
    /// where the driver would have to copy each transfer.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Memory;
    /// # let card = userdma::Device::first()?;
    /// let registered = card.register(Memory::memfd(8192).allocate()?).no_bounce(true).pin()?;
    /// assert!(!registered.is_bounced());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn no_bounce(mut self, yes: bool) -> Self {
        self.no_bounce = yes;
        self
    }

    /// Registers: the memory is pinned, and charged to the process's
    /// RLIMIT_MEMLOCK.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`]s `LimitReached` (RLIMIT_MEMLOCK, or too many buffers),
    /// `BadAccess` (read-only memory, or such as cannot be pinned), `OutOfRange`
    /// (not mapped), `OutOfMemory`, `Unreachable`, `Permission`,
    /// `InvalidInput`, `NotSupported`, `Interrupted`, `Gone`. The memory is then
    /// dropped; whoever wants to keep it registers a reference to it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Memory;
    /// # let card = userdma::Device::first()?;
    /// let registered = card.register(Memory::anonymous(1 << 20).allocate()?).pin()?;
    /// println!("{} segments", registered.segments());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn pin(self) -> Result<Registered<M>> {
        let whole = match &self.whole {
            Whole::Asked(ask) => ask(&self.memory),
            Whole::Known(span) => *span,
        };
        let span = self.cut(whole)?;
        let set = |yes, flag| if yes { flag } else { 0 };
        let mut raw = sys::userdma_buf_register {
            flags: set(self.source, sys::USERDMA_REGISTER_SOURCE)
                | set(span.memfd.is_some(), sys::USERDMA_REGISTER_MEMFD)
                | set(self.no_bounce, sys::USERDMA_REGISTER_NO_BOUNCE),
            address: span.start,
            length: span.length,
            fd: span.memfd.map_or(0, |fd| fd.as_raw_fd()),
            ..ioctl::zeroed()
        };
        // SAFETY: the memory is a `Memory`, or a slice and a source, or the
        // caller of `register_raw` has promised it.
        unsafe { ioctl::buf_register(self.device.as_fd(), &mut raw) }
            .map_err(|errno| self.refused(span, errno))?;
        let registered = Registered {
            buffer: Buffer::registered(self.device, &raw),
            pinned: raw.out_pinned,
            memory: self.memory,
        };
        Ok(registered)
    }

    /// Takes the range that was asked for.
    fn cut<'a>(&self, whole: Span<'a>) -> Result<Span<'a>> {
        let Some(range) = &self.range else {
            return Ok(whole);
        };
        let length = range.end.saturating_sub(range.start);
        if range.end.max(range.start) > whole.length {
            let explanation =
                Explanation::new(ErrorKind::OutOfRange, "it reaches outside the memory").limit(
                    format!("the memory has {} ({})", Bytes(whole.length), whole.length),
                );
            return Err(Error::Register {
                place: whole.place().from(range.start),
                length,
                errno: Errno::RANGE,
                explanation: Box::new(explanation),
            });
        }
        Ok(Span {
            memfd: whole.memfd,
            start: whole.start.saturating_add(range.start),
            length,
        })
    }

    fn refused(&self, span: Span<'_>, errno: Errno) -> Error {
        let status = span.memfd.and_then(|fd| rustix::fs::fstat(fd).ok());
        let what = explain::Registration {
            place: span.place(),
            length: span.length,
            source: self.source,
            file_size: status.and_then(|status| u64::try_from(status.st_size).ok()),
        };
        let info = self.device.info();
        let memory = explain::Memory::read(info.page_size.max(1));
        let process = explain::Process::read();
        let explanation = explain::register(&what, errno, info, &process, &memory);
        Error::Register {
            place: what.place,
            length: span.length,
            errno,
            explanation: Box::new(explanation),
        }
    }
}

impl<'d, M: AsRef<Memory>> RegisterBuilder<'d, M> {
    pub(super) fn of_memory(device: &'d Device, memory: M) -> Self {
        Self::new(device, memory, Whole::Asked(Self::ask))
    }

    fn ask(memory: &M) -> Span<'_> {
        let memory = memory.as_ref();
        match memory.as_memfd() {
            // By far the cheapest: folio by folio, without page tables.
            Some(memfd) => Span {
                memfd: Some(memfd),
                start: 0,
                length: wide(memory.len()),
            },
            None => at(memory.as_ptr(), memory.len()),
        }
    }
}

impl<'d, 'a> RegisterBuilder<'d, &'a [u8]> {
    pub(super) fn of_slice(device: &'d Device, bytes: &'a [u8]) -> Self {
        let span = at(bytes.as_ptr(), bytes.len());
        Self::new(device, bytes, Whole::Known(span)).source()
    }
}

impl<'d> RegisterBuilder<'d, ()> {
    pub(super) fn of_address(device: &'d Device, address: *mut u8, length: usize) -> Self {
        Self::new(device, (), Whole::Known(at(address, length)))
    }

    pub(super) fn of_memfd(
        device: &'d Device,
        memfd: BorrowedFd<'d>,
        offset: u64,
        length: u64,
    ) -> Self {
        let span = Span {
            memfd: Some(memfd),
            start: offset,
            length,
        };
        Self::new(device, (), Whole::Known(span))
    }
}

impl Span<'_> {
    fn place(&self) -> Place {
        match self.memfd {
            Some(_) => Place::Memfd(self.start),
            None => Place::Address(self.start),
        }
    }
}

impl Place {
    fn from(self, offset: u64) -> Self {
        match self {
            Self::Address(start) => Self::Address(start.saturating_add(offset)),
            Self::Memfd(start) => Self::Memfd(start.saturating_add(offset)),
        }
    }
}

/// Names memory by its address. The card may write to it, so the pointer's
/// provenance must be exposed.
fn at<'a>(address: *const u8, length: usize) -> Span<'a> {
    Span {
        memfd: None,
        // CAST: an address has at most 64 bits on every system that Linux runs on.
        start: address.expose_provenance() as u64,
        length: wide(length),
    }
}

fn wide(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

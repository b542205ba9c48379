// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Memory that the program already has, registered: the card reaches it without
//! a copy.
//!
//! Why the safe functions are sound: a registered page stays pinned until the
//! last transfer that uses it has ended, whatever the program does meanwhile,
//! so the card never writes to memory that became something else. What it may
//! write to is [`Memory`](crate::Memory), which is only ever read and written
//! by copying, or a memfd; memory that Rust knows as a slice it only reads.

mod builder;

use std::fmt;
use std::ops::Deref;
use std::os::fd::BorrowedFd;

pub use builder::RegisterBuilder;

use crate::Buffer;
use crate::Device;
use crate::Memory;
use crate::Result;

/// Where memory was to be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// At an address of the program.
    Address(u64),
    /// At an offset in a memfd.
    Memfd(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "at {address:#x}"),
            Self::Memfd(offset) => write!(f, "at offset {offset} of a memfd"),
        }
    }
}

/// Memory of the program's that the card reaches: a [`Buffer`], and what keeps
/// the memory. Unregistered when this is dropped; what is in flight then still
/// ends in the memory as it was.
///
/// # Examples
///
/// ```no_run
/// use userdma::{Memory, Pages, Transfer};
///
/// # let card = userdma::Device::first()?;
/// let memory = Memory::anonymous(64 << 20).pages(Pages::Transparent).allocate()?;
/// let registered = card.register(memory).pin()?;
/// for completion in card.run(&[Transfer::from_card(&registered, 0..4096, 0)], None)? {
///     completion.result()?;
/// }
/// let mut samples = [0; 4096];
/// registered.memory().copy_to(0, &mut samples)?;
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Debug)]
pub struct Registered<M> {
    // Unregistered before the memory is given back.
    buffer: Buffer,
    pinned: u64,
    memory: M,
}

impl<M> Registered<M> {
    /// Gives the memory.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Memory;
    /// # let card = userdma::Device::first()?;
    /// let registered = card.register(Memory::memfd(8192).allocate()?).pin()?;
    /// assert_eq!(registered.memory().len(), 8192);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Gives the memory, to write to it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Memory;
    /// # let card = userdma::Device::first()?;
    /// let mut registered = card.register(Memory::memfd(8192).allocate()?).pin()?;
    /// registered.memory_mut().copy_from(0, b"command")?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn memory_mut(&mut self) -> &mut M {
        &mut self.memory
    }

    /// Gives the bytes that are pinned, in whole pages: so much is charged to
    /// the process's RLIMIT_MEMLOCK.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Memory;
    /// # let card = userdma::Device::first()?;
    /// let registered = card.register(Memory::memfd(8192).allocate()?).range(100..5000).pin()?;
    /// assert_eq!(registered.pinned(), 8192);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn pinned(&self) -> u64 {
        self.pinned
    }

    /// Unregisters and gives the memory back.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Gone`](crate::ErrorKind::Gone); it is unregistered then too.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::Memory;
    /// # let card = userdma::Device::first()?;
    /// let registered = card.register(Memory::memfd(8192).allocate()?).pin()?;
    /// let memory = registered.unregister()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn unregister(self) -> Result<M> {
        self.buffer.free()?;
        Ok(self.memory)
    }
}

impl Registered<()> {
    pub(crate) fn into_buffer(self) -> Buffer {
        self.buffer
    }
}

impl<M> Deref for Registered<M> {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.buffer
    }
}

impl Device {
    /// Begins to register memory that this library allocated: a [`Memory`], a
    /// reference to one, or an `Arc` of one, if several cards are to reach it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::sync::Arc;
    /// use userdma::{Device, Memory, Pages};
    ///
    /// let (first, second) = (Device::open_index(0)?, Device::open_index(1)?);
    /// let memory = Memory::anonymous(64 << 20).pages(Pages::Huge2M).allocate()?;
    /// let memory = Arc::new(memory);
    /// let at_first = first.register(memory.clone()).pin()?;
    /// let at_second = second.register(memory).pin()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn register<M: AsRef<Memory>>(&self, memory: M) -> RegisterBuilder<'_, M> {
        RegisterBuilder::of_memory(self, memory)
    }

    /// Begins to register a slice as a source: the card only reads it.
    ///
    /// The card cannot write to a slice: Rust would not know. To fill one use
    /// [`read_at`](Self::read_at), which moves the card's data right into a large slice, or
    /// [`register_raw`](Self::register_raw).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use userdma::Transfer;
    ///
    /// # let card = userdma::Device::first()?;
    /// let firmware = std::fs::read("firmware.bin").expect("a file");
    /// let source = card.register_source(&firmware).pin()?;
    /// card.run(&[Transfer::to_card(&source, 0..4096, 0)], None)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn register_source<'a>(&self, bytes: &'a [u8]) -> RegisterBuilder<'_, &'a [u8]> {
        RegisterBuilder::of_slice(self, bytes)
    }

    /// Begins to register `length` bytes of a memfd from `offset` on, mapped or
    /// not; also of shared memory or of a file in hugetlbfs.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// # let memfd = std::fs::File::open("/dev/shm/samples").expect("a file");
    /// let registered = card.register_memfd(&memfd, 0, 1 << 20).source().pin()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn register_memfd<'a>(
        &'a self,
        memfd: &'a impl std::os::fd::AsFd,
        offset: u64,
        length: u64,
    ) -> RegisterBuilder<'a, ()> {
        let memfd: BorrowedFd<'a> = memfd.as_fd();
        RegisterBuilder::of_memfd(self, memfd, offset, length)
    }

    /// Begins to register any memory of the program: of malloc, of a `Vec`, of
    /// another library.
    ///
    /// # Safety
    ///
    /// To Rust, a transfer from the card into the buffer is a thread that writes
    /// to the memory, from when it is submitted until its completion has come or
    /// its channel has run empty; and a transfer to the card one that reads it.
    /// So while a transfer from the card is in flight nothing may refer to the
    /// bytes that it writes, nor may they be freed; while one to the card is in
    /// flight, nothing may write to the bytes that it reads, nor may they be
    /// freed.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use userdma::Transfer;
    ///
    /// # let card = userdma::Device::first()?;
    /// let mut samples = vec![0_u8; 1 << 20];
    /// // SAFETY: the vector is neither used nor dropped before the transfer's
    /// // completion has come.
    /// let registered = unsafe { card.register_raw(samples.as_mut_ptr(), samples.len()) }.pin()?;
    /// for completion in card.run(&[Transfer::from_card(&registered, 0..4096, 0)], None)? {
    ///     completion.result()?;
    /// }
    /// drop(registered);
    /// println!("{:?}", &samples[..16]);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub unsafe fn register_raw(&self, address: *mut u8, length: usize) -> RegisterBuilder<'_, ()> {
        RegisterBuilder::of_address(self, address, length)
    }
}

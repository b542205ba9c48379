// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A buffer in the program's address space.

mod builder;
mod map;
mod volatile;

use std::ops::Range;
use std::ptr::NonNull;

pub use builder::MappingBuilder;

use crate::Bytes;
use crate::Error;
use crate::ErrorKind;
use crate::Explanation;
use crate::Result;

/// Memory that a card may use too, in the program's address space: a buffer, or
/// part of one, or [`Memory`](crate::Memory). Unmapped when this is dropped.
///
/// The card may write to the memory at any time, and so may other mappings of
/// the same buffer, so it is not lent as a slice: bytes are copied in and out,
/// or reached by pointer, or lent by the unsafe
/// [`as_slice`](Self::as_slice) to a program that knows that nothing is in
/// flight.
///
/// The memory stays when the [`Buffer`](crate::Buffer) is freed. When the *card* goes away,
/// that of a buffer that the driver allocated does not: a touched byte then
/// raises SIGBUS.
///
/// # Examples
///
/// ```no_run
/// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
/// let mut memory = buffer.map()?;
/// memory.copy_from(100, b"sample")?;
/// let mut back = [0; 6];
/// memory.copy_to(100, &mut back)?;
/// assert_eq!(&back, b"sample");
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Debug)]
pub struct Mapping {
    address: NonNull<u8>,
    size: usize,
    /// What was mapped: `size` rounded up to whole pages.
    mapped: usize,
    writable: bool,
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: through a shared reference it is only read, and volatile.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Gives its length in bytes.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
    /// assert_eq!(buffer.map()?.len(), 2 << 20);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.size
    }

    /// Says whether it can be written to.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
    /// assert!(buffer.map()?.is_writable());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Gives the address of the first byte.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
    /// let memory = buffer.map()?;
    /// // SAFETY: the mapping has more than one byte.
    /// let first = unsafe { memory.as_ptr().read_volatile() };
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.address.as_ptr()
    }

    /// Gives the address of the first byte, for writing. A write to a
    /// read-only mapping raises SIGSEGV.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
    /// let mut memory = buffer.map()?;
    /// // SAFETY: the mapping has more than one byte and is writable.
    /// unsafe { memory.as_mut_ptr().write_volatile(1) };
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.address.as_ptr()
    }

    /// Copies bytes from `offset` on out into `to`. Bytes that the card writes
    /// meanwhile are taken as they are at some moment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfRange`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let memory = userdma::Device::first()?.huge(2 << 20).allocate()?.map()?;
    /// let mut samples = [0; 512];
    /// memory.copy_to(4096, &mut samples)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn copy_to(&self, offset: usize, to: &mut [u8]) -> Result<()> {
        self.check("read", offset, to.len())?;
        let from = self.address.as_ptr().cast_const().wrapping_add(offset);
        // SAFETY: `check` found the bytes inside the mapping, which is readable.
        unsafe { volatile::copy_out(from, to) };
        Ok(())
    }

    /// Copies the bytes of `from` in, from `offset` on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfRange`], and [`ErrorKind::BadAccess`] if the mapping
    /// is read-only.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let mut memory = userdma::Device::first()?.huge(2 << 20).allocate()?.map()?;
    /// memory.copy_from(4096, b"command")?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn copy_from(&mut self, offset: usize, from: &[u8]) -> Result<()> {
        self.check_writable(offset, from.len())?;
        let to = self.address.as_ptr().wrapping_add(offset);
        // SAFETY: `check_writable` found the bytes inside the mapping, which
        // is writable, and `&mut self` keeps other threads of this mapping off.
        unsafe { volatile::copy_in(to, from) };
        Ok(())
    }

    /// Sets a range of bytes to `value`.
    ///
    /// # Errors
    ///
    /// As [`copy_from`](Self::copy_from).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let mut memory = userdma::Device::first()?.huge(2 << 20).allocate()?.map()?;
    /// memory.fill(0..4096, 0xa5)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn fill(&mut self, range: Range<usize>, value: u8) -> Result<()> {
        let piece = [value; 512];
        let length = range.end.saturating_sub(range.start);
        self.check_writable(range.start, length)?;
        for start in range.clone().step_by(piece.len()) {
            let count = piece.len().min(range.end - start);
            self.copy_from(start, &piece[..count])?;
        }
        Ok(())
    }

    /// Lends the memory as a slice, without a copy.
    ///
    /// # Safety
    ///
    /// As long as the slice lives, nothing may write to the mapped part of the
    /// buffer: no transfer into it is in flight or submitted, and neither
    /// another mapping of it nor another process that shares one is written to.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// # let buffer = card.huge(2 << 20).allocate()?;
    /// let memory = buffer.mapping().read_only().map()?;
    /// for completion in card.run(&[userdma::Transfer::from_card(&buffer, 0..4096, 0)], None)? {
    ///     completion.result()?;
    /// }
    /// // SAFETY: the only transfer has ended and there is no other mapping.
    /// let samples = unsafe { memory.as_slice() };
    /// println!("{}", samples[..4096].iter().map(|sample| u64::from(*sample)).sum::<u64>());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: the mapping is `size` readable bytes that live as long as
        // `self`; the caller promises that nothing writes to them.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.size) }
    }

    /// Lends the memory as a slice that can be written, without a copy; `None`
    /// if the mapping is read-only.
    ///
    /// # Safety
    ///
    /// As [`as_slice`](Self::as_slice), and nothing but the slice may read
    /// the memory either.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let buffer = userdma::Device::first()?.huge(2 << 20).allocate()?;
    /// let mut memory = buffer.map()?;
    /// // SAFETY: nothing is in flight yet and there is no other mapping.
    /// if let Some(bytes) = unsafe { memory.as_mut_slice() } {
    ///     bytes[..4].copy_from_slice(&[1, 2, 3, 4]);
    /// }
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub unsafe fn as_mut_slice(&mut self) -> Option<&mut [u8]> {
        if !self.writable {
            return None;
        }
        // SAFETY: the mapping is `size` writable bytes that live as long as
        // `self`; the caller promises that nothing else uses them.
        Some(unsafe { std::slice::from_raw_parts_mut(self.address.as_ptr(), self.size) })
    }

    fn check(&self, action: &'static str, offset: usize, length: usize) -> Result<()> {
        if offset
            .checked_add(length)
            .is_some_and(|end| end <= self.size)
        {
            return Ok(());
        }
        let explanation =
            Explanation::new(ErrorKind::OutOfRange, "it reaches outside the mapping").limit(
                format!("the mapping has {} ({})", Bytes(wide(self.size)), self.size),
            );
        Err(Self::error(action, offset, length, explanation))
    }

    fn check_writable(&self, offset: usize, length: usize) -> Result<()> {
        self.check("write", offset, length)?;
        if self.writable {
            return Ok(());
        }
        let explanation = Explanation::new(ErrorKind::BadAccess, "the mapping is read-only")
            .advise("map the buffer for writing too");
        Err(Self::error("write", offset, length, explanation))
    }

    fn error(
        action: &'static str,
        offset: usize,
        length: usize,
        explanation: Explanation,
    ) -> Error {
        Error::Mapping {
            action,
            offset: wide(offset),
            length: wide(length),
            explanation: Box::new(explanation),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is what was mapped, and nothing refers to it any
        // more. It cannot fail for a range that exists.
        let _ = unsafe { rustix::mm::munmap(self.address.as_ptr().cast(), self.mapped) };
    }
}

fn wide(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pages;

    /// Anonymous memory, as a mapping of a buffer is to these functions.
    fn memory(size: usize, writable: bool) -> Mapping {
        let mut memory = Mapping::anonymous(size, Pages::Small).expect("anonymous memory");
        memory.writable = writable;
        memory
    }

    #[test]
    fn every_alignment_is_copied_whole() {
        let data: Vec<u8> = (1..=40).collect();
        for offset in 0..16 {
            for length in 0..data.len() {
                let mut memory = memory(4096, true);
                memory
                    .copy_from(offset + 1, &data[..length])
                    .expect("inside");
                let mut back = vec![0xee; length + 2];
                memory.copy_to(offset, &mut back).expect("inside");
                assert_eq!(back[0], 0, "before, {offset} {length}");
                assert_eq!(back[1..=length], data[..length], "{offset} {length}");
                assert_eq!(back[length + 1], 0, "behind, {offset} {length}");
            }
        }
    }

    #[test]
    fn fill_keeps_to_its_range() {
        let mut memory = memory(8192, true);
        memory.fill(3..2000, 7).expect("inside");
        let mut back = [0xee; 2100];
        memory.copy_to(0, &mut back).expect("inside");
        assert!(back[..3].iter().all(|byte| *byte == 0));
        assert!(back[3..2000].iter().all(|byte| *byte == 7));
        assert!(back[2000..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn nothing_outside_is_touched() {
        let mut memory = memory(4096, true);
        for (offset, length) in [
            (4096, 1),
            (4095, 2),
            (0, 4097),
            (usize::MAX, 1),
            (1, usize::MAX),
        ] {
            let kind = memory
                .check("read", offset, length)
                .map_err(|error| error.kind());
            assert_eq!(kind, Err(ErrorKind::OutOfRange), "{offset} {length}");
        }
        assert!(memory.copy_from(4096, &[]).is_ok());
        assert!(memory.copy_from(4095, &[1, 2]).is_err());
        assert!(memory.copy_to(4095, &mut [0; 2]).is_err());
        assert!(memory.fill(0..4097, 1).is_err());
    }

    #[test]
    fn a_read_only_mapping_is_not_written() {
        let mut memory = memory(4096, false);
        let error = memory.copy_from(0, &[1]).expect_err("read-only");
        assert_eq!(error.kind(), ErrorKind::BadAccess);
        assert!(memory.fill(0..1, 1).is_err());
        // SAFETY: nothing else knows of the memory.
        assert!(unsafe { memory.as_mut_slice() }.is_none());
        // SAFETY: as above.
        assert_eq!(unsafe { memory.as_slice() }.len(), 4096);
    }

    #[test]
    fn a_mapping_goes_to_other_threads() {
        fn needs<T: Send + Sync>() {}
        needs::<Mapping>();
    }
}

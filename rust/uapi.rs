// SPDX-License-Identifier: GPL-2.0

//! The ABI: types generated from `include/uapi/linux/userdma.h`, and how structures that carry
//! their size cross the border.
//!
//! Nothing here may be called with the guard held: it touches user memory.

use zerocopy::{
    FromZeros,
    Immutable, //
};

use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceReader, //
    }, //
};

use crate::ext::uaccess;

#[allow(
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    clippy::all
)]
mod generated {
    include!(env!("USERDMA_UAPI"));
}

pub(crate) use self::generated::*;
pub(crate) use kernel::ffi::c_char;

/// A structure of the ABI that begins with its size and flags.
pub(crate) trait Sized32: FromBytes + IntoBytes + Immutable {
    /// The size of the structure's first version: no program has a smaller one.
    const FIRST: usize;

    /// Returns the size that it says it has.
    fn size(&self) -> usize {
        let size = self.as_bytes().first_chunk().copied().unwrap_or_default();
        u32::from_ne_bytes(size) as usize
    }
}

macro_rules! first_sizes {
    ($($name:ident: $first:literal,)*) => {
        $(impl Sized32 for $name {
            const FIRST: usize = $first;
        }
        // The first version is what programs were compiled with; a structure only grows.
        const _: () = assert!(core::mem::size_of::<$name>() >= $first);)*
    };
}

first_sizes! {
    userdma_info: 200,
    userdma_buf_alloc: 64,
    userdma_buf_info: 56,
    userdma_buf_free: 16,
    userdma_submit: 32,
    userdma_wait: 40,
    userdma_cancel: 32,
    userdma_eventfd: 16,
    userdma_buf_register: 56,
    userdma_buf_sync: 32,
    userdma_transfer: 64,
    userdma_completion: 64,
}

const _: () = assert!(core::mem::size_of::<userdma_transfer>() == 64);
const _: () = assert!(core::mem::size_of::<userdma_completion>() == 64);

/// Checks the size that a program says a structure has.
fn check_size<T: Sized32>(size: usize) -> Result {
    if size < T::FIRST {
        return Err(EINVAL);
    }
    if size > PAGE_SIZE {
        return Err(E2BIG);
    }
    Ok(())
}

/// Reads `size` bytes into a `T`: what the program does not have is zero, what we do not know must
/// be.
fn read_sized<T: Sized32>(reader: &mut UserSliceReader, size: usize) -> Result<T> {
    let mut value = T::new_zeroed();
    let known = size.min(core::mem::size_of::<T>());
    if let Some(bytes) = value.as_mut_bytes().get_mut(..known) {
        reader.read_slice(bytes)?;
    }
    let mut rest = size - known;
    let mut tail = [0u8; 64];
    while rest > 0 {
        let part = rest.min(tail.len());
        let Some(bytes) = tail.get_mut(..part) else {
            break;
        };
        reader.read_slice(bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(E2BIG);
        }
        rest -= part;
    }
    Ok(value)
}

/// The argument of an ioctl: where it is and how long.
#[derive(Clone, Copy)]
pub(crate) struct Argument {
    at: usize,
    size: usize,
}

impl Argument {
    /// Reads the argument of an ioctl. May sleep.
    ///
    /// # Errors
    ///
    /// [`EFAULT`]; [`EINVAL`] or [`E2BIG`] as the header says.
    pub(crate) fn read<T: Sized32>(at: usize) -> Result<(Self, T)> {
        // Programs that know what we know, in one go. For others it may have read too far.
        if let Ok(value) = uaccess::read::<T>(at) {
            let size = size_of::<T>();
            if value.size() == size {
                return Ok((Self { at, size }, value));
            }
        }
        Self::read_other(at)
    }

    /// The same, if the structure has another size, or cannot be read.
    #[cold]
    fn read_other<T: Sized32>(at: usize) -> Result<(Self, T)> {
        let mut size = [0u8; 4];
        UserSlice::new(UserPtr::from_addr(at), size.len())
            .reader()
            .read_slice(&mut size)?;
        let size = u32::from_ne_bytes(size) as usize;
        check_size::<T>(size)?;
        // The size is not read a second time: `read_sized()` fills the field, nobody uses it.
        let mut reader = UserSlice::new(UserPtr::from_addr(at), size).reader();
        Ok((Self { at, size }, read_sized(&mut reader, size)?))
    }

    /// Writes `value` back: as much as the program knows, and zeroes behind what we know.
    /// May sleep.
    ///
    /// # Errors
    ///
    /// [`EFAULT`].
    pub(crate) fn write<T: Sized32>(self, value: &T) -> Result {
        write_sized(self.at, self.size, value)
    }

    /// Writes one field back, which is `offset` bytes behind the start and a part of every version. May sleep.
    ///
    /// # Errors
    ///
    /// [`EFAULT`].
    pub(crate) fn write_field(self, offset: usize, value: u32) -> Result {
        uaccess::write_u32(self.at.wrapping_add(offset), value)
    }

    /// Makes sure that `value`, as it was read, can be written back: fails before anything was
    /// done that could not be undone.
    pub(crate) fn check_writable<T: Sized32>(self, value: &T) -> Result {
        self.write(value)
    }
}

/// Writes `value` to `size` bytes at `at`.
fn write_sized<T: Sized32>(at: usize, size: usize, value: &T) -> Result {
    let mut writer = UserSlice::new(UserPtr::from_addr(at), size).writer();
    let known = size.min(core::mem::size_of::<T>());
    if let Some(bytes) = value.as_bytes().get(..known) {
        writer.write_slice(bytes)?;
    }
    let mut rest = size - known;
    let zeroes = [0u8; 64];
    while rest > 0 {
        let part = rest.min(zeroes.len());
        if let Some(bytes) = zeroes.get(..part) {
            writer.write_slice(bytes)?;
        }
        rest -= part;
    }
    Ok(())
}

/// An array in a program, whose elements have a size that the program tells.
#[derive(Clone, Copy)]
pub(crate) struct Array {
    at: u64,
    entry_size: usize,
    count: u32,
}

impl Array {
    /// Checks the size that a program says an element has.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] or [`E2BIG`].
    pub(crate) fn check<T: Sized32>(entry_size: u32) -> Result {
        check_size::<T>(entry_size as usize)
    }

    /// Describes an array of `count` elements at `at`, whose size was checked.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if it has none; [`EFAULT`] if it ends behind the address space.
    pub(crate) fn new(at: u64, entry_size: u32, count: u32) -> Result<Self> {
        if count == 0 {
            return Err(EINVAL);
        }
        let bytes = u64::from(entry_size) * u64::from(count);
        let end = at.checked_add(bytes).ok_or(EFAULT)?;
        usize::try_from(end).map_err(|_| EFAULT)?;
        Ok(Self {
            at,
            entry_size: entry_size as usize,
            count,
        })
    }

    /// Returns how many elements there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    fn address(&self, index: u32) -> usize {
        // Cannot wrap: `new()` checked the end.
        self.at as usize + self.entry_size * index as usize
    }

    /// Reads element `index`. May sleep.
    ///
    /// # Errors
    ///
    /// [`EFAULT`]; [`E2BIG`] if it has something that we do not know.
    pub(crate) fn read<T: Sized32>(&self, index: u32) -> Result<T> {
        let (at, size) = (self.address(index), self.entry_size);
        if size == size_of::<T>() {
            return uaccess::read(at);
        }
        read_sized(
            &mut UserSlice::new(UserPtr::from_addr(at), size).reader(),
            size,
        )
    }

    /// Reads elements from `index` on, as many as `to` has places, if they can all be read in one go. May sleep.
    fn read_all<T: Sized32>(&self, index: u32, to: &mut [T]) -> Result {
        if self.entry_size != size_of::<T>() {
            return Err(EINVAL);
        }
        uaccess::read_all(self.address(index), to)
    }

    /// Writes element `index`. May sleep.
    ///
    /// # Errors
    ///
    /// [`EFAULT`].
    pub(crate) fn write<T: Sized32>(&self, index: u32, value: &T) -> Result {
        if self.entry_size == size_of::<T>() {
            return uaccess::write(self.address(index), value);
        }
        write_sized(self.address(index), self.entry_size, value)
    }
}

/// Reads an array from front to back, some elements at a time.
pub(crate) struct Elements<'a, T, const N: usize> {
    array: &'a Array,
    read: [T; N],
    /// The elements in `read`.
    from: u32,
    to: u32,
}

impl<'a, T: Sized32, const N: usize> Elements<'a, T, N> {
    /// Begins to read `array`.
    pub(crate) fn new(array: &'a Array) -> Self {
        Self {
            array,
            read: FromZeros::new_zeroed(),
            from: 0,
            to: 0,
        }
    }

    /// Returns element `index`, of which there are so many. May sleep.
    ///
    /// # Errors
    ///
    /// As [`Array::read`].
    pub(crate) fn get(&mut self, index: u32) -> Result<&T> {
        if !(self.from..self.to).contains(&index) {
            self.fill(index)?;
        }
        self.read.get((index - self.from) as usize).ok_or(EINVAL)
    }

    fn fill(&mut self, index: u32) -> Result {
        (self.from, self.to) = (index, index);
        let count = (self.array.count - index).min(N as u32);
        let places = self.read.get_mut(..count as usize).ok_or(EINVAL)?;
        match self.array.read_all(index, places) {
            Ok(()) => self.to += count,
            // One by one, so that those before a bad one are good.
            Err(_) => {
                *places.first_mut().ok_or(EINVAL)? = self.array.read(index)?;
                self.to += 1;
            }
        }
        Ok(())
    }
}

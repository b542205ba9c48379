// SPDX-License-Identifier: GPL-2.0 OR MIT
//! read and write of any kind, on any memory.

use crate::device::Device;
use crate::memory::{Mapping, Window};
use crate::outcome::Outcome;
use crate::raw::{self, size, Sys};

/// pread into memory anywhere.
pub(crate) fn pread(device: &Device, address: usize, length: usize, offset: i64) -> Sys<usize> {
    // SAFETY: tests give memory that is for it, or none of this program's.
    unsafe { raw::transfer(libc::SYS_pread64, device, address, length, offset) }
}

/// pwrite from memory anywhere.
pub(crate) fn pwrite(device: &Device, address: usize, length: usize, offset: i64) -> Sys<usize> {
    // SAFETY: the kernel only reads it.
    unsafe { raw::transfer(libc::SYS_pwrite64, device, address, length, offset) }
}

/// The card's whole memory.
pub(crate) fn contents(device: &Device) -> Outcome<Vec<u8>> {
    let length = size(device.info()?.out_card_size);
    let memory = Mapping::anonymous(length)?;
    check_eq!(pread(device, memory.address(), length, 0), Ok(length));
    Ok(memory.read(0, length))
}

/// Writes all of the card's memory.
pub(crate) fn set_contents(device: &Device, bytes: &[u8]) -> Outcome {
    let memory = Mapping::anonymous(bytes.len())?;
    memory.write(0, bytes);
    check_eq!(
        pwrite(device, memory.address(), bytes.len(), 0),
        Ok(bytes.len())
    );
    Ok(())
}

/// A part of memory, as readv and writev take it.
pub(crate) fn vector(memory: &Window, offset: usize, length: usize) -> libc::iovec {
    libc::iovec {
        iov_base: std::ptr::with_exposed_provenance_mut(memory.address() + offset),
        iov_len: length,
    }
}

/// preadv or pwritev.
pub(crate) fn vectored(
    call: i64,
    device: &Device,
    vectors: &[libc::iovec],
    offset: i64,
) -> Sys<usize> {
    let address = vectors.as_ptr().expose_provenance();
    // SAFETY: the vectors name memory for it, or none of this program's.
    unsafe { raw::transfer(call, device, address, vectors.len(), offset) }
}

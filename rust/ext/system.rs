// SPDX-License-Identifier: GPL-2.0

//! Facts about the machine and about who opened a file.

use kernel::{
    bindings,
    device,
    fs::File,
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use super::shim;

/// What `poll(2)` may say.
pub(crate) const EPOLLIN: u32 = bindings::POLLIN;
pub(crate) const EPOLLOUT: u32 = bindings::POLLOUT;
pub(crate) const EPOLLERR: u32 = bindings::POLLERR;
pub(crate) const EPOLLHUP: u32 = bindings::POLLHUP;
pub(crate) const EPOLLRDNORM: u32 = bindings::POLLRDNORM;
pub(crate) const EPOLLWRNORM: u32 = bindings::POLLWRNORM;

/// Returns the bytes of memory that the machine has.
pub(crate) fn total_memory() -> u64 {
    // SAFETY: Reads a counter of the memory manager.
    let pages = unsafe { shim::userdma_total_pages() };
    (pages as u64).saturating_mul(PAGE_SIZE as u64)
}

/// Returns the real user id, in the initial namespace, of whoever opened `file`.
pub(crate) fn opener(file: &File) -> u32 {
    // SAFETY: A `File` refers to a valid `struct file`, whose `f_cred` lives as long as it does.
    unsafe { shim::userdma_file_uid(file.as_ptr()) }
}

/// Returns whether `file` was opened for reading and whether for writing.
pub(crate) fn access(file: &File) -> (bool, bool) {
    // SAFETY: A `File` refers to a valid `struct file`; `f_mode`'s access bits never change.
    let mode = unsafe { (*file.as_ptr()).f_mode };
    const READ: bindings::fmode_t = 1;
    const WRITE: bindings::fmode_t = 2;
    (mode & READ != 0, mode & WRITE != 0)
}

/// Returns the NUMA node that `dev` is attached to.
pub(crate) fn numa_node(dev: &device::Device) -> Option<u32> {
    // SAFETY: `Device` is a transparent wrapper of a valid `struct device`.
    let node = unsafe { shim::userdma_dev_to_node(core::ptr::from_ref(dev).cast_mut().cast()) };
    u32::try_from(node).ok()
}

/// Returns whether memory can be asked for on NUMA node `node`.
pub(crate) fn node_exists(node: u32) -> bool {
    // SAFETY: `node_states` is a static array, filled before modules are loaded; index 1 is
    // `N_ONLINE`, which every kernel has.
    let online = unsafe { &raw const bindings::node_states[1] };
    let bits = 8 * core::mem::size_of::<bindings::nodemask_t>();
    let node = node as usize;
    if node >= bits {
        return false;
    }
    let word = 8 * core::mem::size_of::<usize>();
    // SAFETY: A `nodemask_t` is an array of `unsigned long`; `node` is below its number of bits.
    let bits = unsafe { online.cast::<usize>().add(node / word).read_volatile() };
    bits >> (node % word) & 1 != 0
}

/// Returns whether a signal that ends the process is pending for the caller.
pub(crate) fn fatal_signal_pending() -> bool {
    // SAFETY: Looks at the caller's own signals.
    unsafe { shim::userdma_fatal_signal_pending() }
}

/// A number that is unique among the living holders, counted from 0.
pub(crate) struct Number(u32);

/// Bits of the numbers in use: 64 a word.
static NUMBERS: [Atomic<u64>; 16] = [const { Atomic::new(0) }; 16];

impl Number {
    /// Takes the lowest free number.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] when 1024 are in use.
    pub(crate) fn take() -> Result<Self> {
        for (index, word) in NUMBERS.iter().enumerate() {
            let mut seen = word.load(Relaxed);
            while seen != u64::MAX {
                let bit = (!seen).trailing_zeros();
                match word.cmpxchg(seen, seen | 1 << bit, Relaxed) {
                    // CAST: below 16 * 64.
                    Ok(_) => return Ok(Self(index as u32 * 64 + bit)),
                    Err(now) => seen = now,
                }
            }
        }
        Err(ENOSPC)
    }

    /// Returns the number.
    pub(crate) fn get(&self) -> u32 {
        self.0
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        if let Some(word) = NUMBERS.get(self.0 as usize / 64) {
            let bit = 1u64 << (self.0 % 64);
            let mut seen = word.load(Relaxed);
            while let Err(now) = word.cmpxchg(seen, seen & !bit, Relaxed) {
                seen = now;
            }
        }
    }
}

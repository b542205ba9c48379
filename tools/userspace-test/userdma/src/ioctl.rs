// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One safe function for each ioctl. All the `unsafe` of calling the kernel is
//! here; what the errors mean to a person is said by the callers.

use std::os::fd::AsRawFd as _;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::ioctl;
use zerocopy::FromBytes;
use zerocopy::FromZeros;

use crate::sys;

/// Makes a structure of zeroes; its callers fill in the size.
pub(crate) fn zeroed<T: FromZeros>() -> T {
    T::new_zeroed()
}

/// Passes `argument` to the kernel and back.
///
/// # Safety
///
/// The header binds `NUMBER` to a pointer to a `T`, whose `size` is right, and
/// what its pointers and counts name is valid for what the command does.
unsafe fn call<const NUMBER: ioctl::Opcode, T: FromBytes>(
    fd: BorrowedFd<'_>,
    argument: &mut T,
) -> Result<(), Errno> {
    // SAFETY: the caller's promise; every value of a `T` is valid.
    let updater = unsafe { ioctl::Updater::<NUMBER, T>::new(argument) };
    // SAFETY: the caller's promise.
    unsafe { ioctl::ioctl(fd, updater) }
}

/// Asks what the device is.
pub(crate) fn info(fd: BorrowedFd<'_>, argument: &mut sys::userdma_info) -> Result<(), Errno> {
    argument.size = sys::size_of::<sys::userdma_info>();
    // SAFETY: number and type belong together, and it has no pointers.
    unsafe { call::<{ sys::USERDMA_IOCTL_INFO }, _>(fd, argument) }
}

/// Allocates a buffer.
pub(crate) fn buf_alloc(
    fd: BorrowedFd<'_>,
    argument: &mut sys::userdma_buf_alloc,
) -> Result<(), Errno> {
    argument.size = sys::size_of::<sys::userdma_buf_alloc>();
    // SAFETY: number and type belong together, and it has no pointers.
    unsafe { call::<{ sys::USERDMA_IOCTL_BUF_ALLOC }, _>(fd, argument) }
}

/// Asks what a buffer is.
pub(crate) fn buf_info(
    fd: BorrowedFd<'_>,
    argument: &mut sys::userdma_buf_info,
) -> Result<(), Errno> {
    argument.size = sys::size_of::<sys::userdma_buf_info>();
    // SAFETY: number and type belong together, and it has no pointers.
    unsafe { call::<{ sys::USERDMA_IOCTL_BUF_INFO }, _>(fd, argument) }
}

/// Frees a buffer.
pub(crate) fn buf_free(
    fd: BorrowedFd<'_>,
    argument: &mut sys::userdma_buf_free,
) -> Result<(), Errno> {
    argument.size = sys::size_of::<sys::userdma_buf_free>();
    // SAFETY: number and type belong together, and it has no pointers.
    unsafe { call::<{ sys::USERDMA_IOCTL_BUF_FREE }, _>(fd, argument) }
}

/// Registers memory of the program's.
///
/// # Safety
///
/// Without `USERDMA_REGISTER_MEMFD`: what `address` and `length` name may be
/// used by transfers of the buffer as if they were the program's threads.
pub(crate) unsafe fn buf_register(
    fd: BorrowedFd<'_>,
    argument: &mut sys::userdma_buf_register,
) -> Result<(), Errno> {
    argument.size = sys::size_of::<sys::userdma_buf_register>();
    // SAFETY: number and type belong together. The command itself writes
    // nothing to what the address names, of which the caller promises the rest.
    unsafe { call::<{ sys::USERDMA_IOCTL_BUF_REGISTER }, _>(fd, argument) }
}

/// Hands memory over between the program and the card.
pub(crate) fn buf_sync(
    fd: BorrowedFd<'_>,
    argument: &mut sys::userdma_buf_sync,
) -> Result<(), Errno> {
    argument.size = sys::size_of::<sys::userdma_buf_sync>();
    // SAFETY: number and type belong together, and it has no pointers.
    unsafe { call::<{ sys::USERDMA_IOCTL_BUF_SYNC }, _>(fd, argument) }
}

/// Withdraws transfers and gives how many.
pub(crate) fn cancel(
    fd: BorrowedFd<'_>,
    channel: u32,
    user_data: u64,
    flags: u32,
) -> Result<u32, Errno> {
    let mut argument = sys::userdma_cancel {
        size: sys::size_of::<sys::userdma_cancel>(),
        flags,
        user_data,
        channel,
        ..zeroed()
    };
    // SAFETY: number and type belong together, and it has no pointers.
    unsafe { call::<{ sys::USERDMA_IOCTL_CANCEL }, _>(fd, &mut argument) }?;
    Ok(argument.out_count)
}

/// Says which eventfd is told of what; `None` takes the one before away.
pub(crate) fn eventfd(
    fd: BorrowedFd<'_>,
    eventfd: Option<BorrowedFd<'_>>,
    vector: Option<u32>,
) -> Result<(), Errno> {
    let mut argument = sys::userdma_eventfd {
        size: sys::size_of::<sys::userdma_eventfd>(),
        flags: vector.map_or(0, |_| sys::USERDMA_EVENTFD_VECTOR),
        fd: eventfd.map_or(-1, |eventfd| eventfd.as_raw_fd()),
        vector: vector.unwrap_or(0),
    };
    // SAFETY: number and type belong together, and it has no pointers.
    unsafe { call::<{ sys::USERDMA_IOCTL_EVENTFD }, _>(fd, &mut argument) }
}

/// Queues a prefix of `transfers` and gives its length.
pub(crate) fn submit(
    fd: BorrowedFd<'_>,
    transfers: &[sys::userdma_transfer],
) -> Result<u32, Errno> {
    let mut argument = sys::userdma_submit {
        size: sys::size_of::<sys::userdma_submit>(),
        entries: address(transfers.as_ptr()),
        entry_size: sys::size_of::<sys::userdma_transfer>(),
        // More than this can never be accepted at once.
        count: u32::try_from(transfers.len()).unwrap_or(u32::MAX),
        ..zeroed()
    };
    // SAFETY: number and type belong together. The kernel reads `count` entries of `entry_size` bytes at
    // `entries`: no more than the slice, which is borrowed until it returns.
    unsafe { call::<{ sys::USERDMA_IOCTL_SUBMIT }, _>(fd, &mut argument) }?;
    Ok(argument.out_count)
}

/// Collects completions into `room` and gives how many.
pub(crate) fn wait(
    fd: BorrowedFd<'_>,
    room: &mut [sys::userdma_completion],
    min: u32,
    deadline_ns: u64,
) -> Result<u32, Errno> {
    let mut argument = sys::userdma_wait {
        size: sys::size_of::<sys::userdma_wait>(),
        entries: address(room.as_mut_ptr()),
        entry_size: sys::size_of::<sys::userdma_completion>(),
        max: u32::try_from(room.len()).unwrap_or(u32::MAX),
        min,
        deadline_ns,
        ..zeroed()
    };
    // SAFETY: number and type belong together. The kernel writes at most `max` entries of `entry_size` bytes at
    // `entries`: no more than the slice, which is borrowed mutably until it
    // returns. Every value of the fields is valid.
    unsafe { call::<{ sys::USERDMA_IOCTL_WAIT }, _>(fd, &mut argument) }?;
    Ok(argument.out_count)
}

/// Gives a pointer as the ABI carries it. The kernel writes through it, so its
/// provenance must be exposed.
fn address<T>(pointer: *const T) -> u64 {
    // CAST: an address has at most 64 bits on every system that Linux runs on.
    pointer.expose_provenance() as u64
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;

    use super::*;

    /// A file that is not ours does not know the commands, whatever they carry.
    #[test]
    fn other_files_do_not_know_the_commands() -> std::io::Result<()> {
        let null = File::open("/dev/null")?;
        let fd = null.as_fd();
        assert_eq!(info(fd, &mut zeroed()), Err(Errno::NOTTY));
        assert_eq!(buf_alloc(fd, &mut zeroed()), Err(Errno::NOTTY));
        assert_eq!(buf_info(fd, &mut zeroed()), Err(Errno::NOTTY));
        assert_eq!(buf_free(fd, &mut zeroed()), Err(Errno::NOTTY));
        assert_eq!(buf_sync(fd, &mut zeroed()), Err(Errno::NOTTY));
        // SAFETY: no memory is named.
        let registered = unsafe { buf_register(fd, &mut zeroed()) };
        assert_eq!(registered, Err(Errno::NOTTY));
        assert_eq!(cancel(fd, 0, 0, 0), Err(Errno::NOTTY));
        assert_eq!(eventfd(fd, None, None), Err(Errno::NOTTY));
        assert_eq!(submit(fd, &[zeroed()]), Err(Errno::NOTTY));
        assert_eq!(
            wait(fd, &mut [zeroed()], 0, sys::USERDMA_WAIT_POLL),
            Err(Errno::NOTTY)
        );
        Ok(())
    }
}

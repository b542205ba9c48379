// SPDX-License-Identifier: GPL-2.0 OR MIT
//! System calls as the kernel has them, for tests that must give it wrong
//! arguments. Everything that can be said with safe types is elsewhere.
//!
//! None of these functions looks at its arguments: a wrong address is the
//! point of many tests. Those that let the kernel *write* to memory are unsafe.

use std::os::fd::{AsFd, AsRawFd as _};

use libc::{c_int, c_long, c_ulong};
use nix::errno::Errno;

/// What a system call gives.
pub(crate) type Sys<T> = Result<T, Errno>;

/// `usize` from an offset or a length of the ABI. Guests are 64-bit.
#[must_use]
pub(crate) fn size(value: u64) -> usize {
    usize::try_from(value).expect("64-bit guest")
}

/// The other way.
#[must_use]
pub(crate) fn wide(value: usize) -> u64 {
    u64::try_from(value).expect("64-bit guest")
}

/// Arguments of a variadic function must have the kernel's width.
const ZERO: c_long = 0;
const ONE: c_long = 1;

fn result(value: c_long) -> Sys<usize> {
    Errno::result(value).map(|value| usize::try_from(value).expect("not negative"))
}

fn number(fd: &impl AsFd) -> c_long {
    c_long::from(fd.as_fd().as_raw_fd())
}

/// ioctl with an address.
///
/// # Safety
///
/// The kernel may write to what is at `address`: nothing of this program may
/// be there but memory meant for it.
pub(crate) unsafe fn ioctl(fd: &impl AsFd, command: u32, address: usize) -> Sys<usize> {
    // SAFETY: the caller answers for the memory.
    result(unsafe { libc::syscall(libc::SYS_ioctl, number(fd), c_ulong::from(command), address) })
}

/// mmap without the C library's checks of its own.
///
/// # Safety
///
/// With MAP_FIXED, nothing of this program may be in the range.
pub(crate) unsafe fn mmap(
    address: usize,
    length: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: u64,
) -> Sys<usize> {
    // SAFETY: the caller answers for MAP_FIXED; otherwise the kernel takes room that is free.
    let value = unsafe {
        libc::syscall(
            libc::SYS_mmap,
            address,
            length,
            protection,
            flags,
            fd,
            offset,
        )
    };
    // Not through `result`: it is an address, and cannot be one of the last page.
    Errno::result(value).map(|value| usize::from_ne_bytes(value.to_ne_bytes()))
}

/// read and write of any kind: which call, and up to six numbers.
///
/// # Safety
///
/// As for [`ioctl`].
pub(crate) unsafe fn transfer(
    call: c_long,
    fd: &impl AsFd,
    address: usize,
    length: usize,
    offset: i64,
) -> Sys<usize> {
    // SAFETY: the caller answers for the memory.
    result(unsafe { libc::syscall(call, number(fd), address, length, offset, ZERO, ZERO) })
}

/// munmap.
///
/// # Safety
///
/// Nothing in the range may be used afterwards.
pub(crate) unsafe fn munmap(address: usize, length: usize) -> Sys<()> {
    // SAFETY: the caller answers for it.
    result(unsafe { libc::syscall(libc::SYS_munmap, address, length) }).map(drop)
}

/// mprotect.
pub(crate) fn mprotect(address: usize, length: usize, protection: c_int) -> Sys<()> {
    // SAFETY: it changes no memory. Taking away access to what is in use ends in a signal, not in
    // undefined behaviour.
    result(unsafe { libc::syscall(libc::SYS_mprotect, address, length, protection) }).map(drop)
}

/// mremap; may move.
///
/// # Safety
///
/// On success the old range is gone.
pub(crate) unsafe fn mremap(address: usize, old: usize, new: usize, flags: c_int) -> Sys<usize> {
    // SAFETY: the caller answers for the range.
    result(unsafe { libc::syscall(libc::SYS_mremap, address, old, new, flags) })
}

/// madvise on memory to which nothing refers: advice may change what is in it.
pub(crate) fn madvise(address: usize, length: usize, advice: c_int) -> Sys<()> {
    // SAFETY: only called with mappings that are looked at through windows.
    result(unsafe { libc::syscall(libc::SYS_madvise, address, length, advice) }).map(drop)
}

/// mlock.
pub(crate) fn mlock(address: usize, length: usize) -> Sys<()> {
    // SAFETY: it changes no memory.
    result(unsafe { libc::syscall(libc::SYS_mlock, address, length) }).map(drop)
}

/// lseek with any whence.
pub(crate) fn lseek(fd: &impl AsFd, offset: i64, whence: c_int) -> Sys<usize> {
    // SAFETY: no memory is involved.
    result(unsafe { libc::syscall(libc::SYS_lseek, number(fd), offset, whence) })
}

/// vmsplice of one piece of memory into a pipe.
///
/// # Safety
///
/// `address` to `address + length` must be mapped or no memory of this
/// program's; the pipe refers to the pages and does not copy them.
pub(crate) unsafe fn vmsplice(fd: &impl AsFd, address: usize, length: usize) -> Sys<usize> {
    let vector = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address),
        iov_len: length,
    };
    // SAFETY: `vector` lives through the call; the caller answers for the memory.
    result(unsafe { libc::syscall(libc::SYS_vmsplice, number(fd), &raw const vector, ONE, ZERO) })
}

/// process_vm_readv or process_vm_writev of one piece.
///
/// # Safety
///
/// The kernel writes to `local` (read) or to the other process (write).
pub(crate) unsafe fn process_vm(
    call: c_long,
    pid: i32,
    local: usize,
    remote: usize,
    length: usize,
) -> Sys<usize> {
    let vector = |address| libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address),
        iov_len: length,
    };
    let (local, remote) = (vector(local), vector(remote));
    // SAFETY: the vectors live through the call; the caller answers for the memory.
    result(unsafe {
        libc::syscall(
            call,
            pid,
            &raw const local,
            ONE,
            &raw const remote,
            ONE,
            ZERO,
        )
    })
}

/// delete_module without waiting.
pub(crate) fn delete_module(name: &std::ffi::CStr) -> Sys<()> {
    // SAFETY: `name` lives through the call.
    result(unsafe { libc::syscall(libc::SYS_delete_module, name.as_ptr(), libc::O_NONBLOCK) })
        .map(drop)
}

/// finit_module.
pub(crate) fn load_module(file: &impl AsFd, parameters: &std::ffi::CStr) -> Sys<()> {
    // SAFETY: `parameters` lives through the call.
    result(unsafe {
        libc::syscall(
            libc::SYS_finit_module,
            number(file),
            parameters.as_ptr(),
            ZERO,
        )
    })
    .map(drop)
}

/// Sends a signal to one thread of this process.
pub(crate) fn signal_thread(thread: i32, signal: c_int) -> Sys<()> {
    let own = nix::unistd::getpid().as_raw();
    // SAFETY: no memory is involved.
    result(unsafe { libc::syscall(libc::SYS_tgkill, own, thread, signal) }).map(drop)
}

/// userfaultfd, for faults of the kernel too.
pub(crate) fn userfaultfd() -> Sys<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd as _;
    // SAFETY: no memory is involved.
    let fd = result(unsafe {
        libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK)
    })?;
    let fd = c_int::try_from(fd).expect("a file descriptor");
    // SAFETY: it was just opened, and nobody else knows it.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) })
}

/// A timer that is stopped when it goes.
#[derive(Debug)]
pub(crate) struct Alarm;

/// Sends this process SIGALRM once after so many milliseconds.
pub(crate) fn alarm_after(milliseconds: u16) -> Alarm {
    set_timer(milliseconds, 0);
    Alarm
}

/// The same, and then again and again: on a slow machine the first may come
/// before the call that it is meant for.
pub(crate) fn alarms_after(milliseconds: u16, every: u16) -> Alarm {
    set_timer(milliseconds, every);
    Alarm
}

fn set_timer(milliseconds: u16, every: u16) {
    let time = |milliseconds: u16| libc::timeval {
        tv_sec: 0,
        tv_usec: i64::from(milliseconds) * 1000,
    };
    let timer = libc::itimerval {
        it_interval: time(every),
        it_value: time(milliseconds),
    };
    let none: *mut libc::itimerval = std::ptr::null_mut();
    // SAFETY: `timer` lives through the call.
    unsafe {
        libc::syscall(
            libc::SYS_setitimer,
            libc::ITIMER_REAL,
            &raw const timer,
            none,
        )
    };
}

impl Drop for Alarm {
    fn drop(&mut self) {
        set_timer(0, 0);
    }
}

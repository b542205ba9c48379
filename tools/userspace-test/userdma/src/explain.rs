// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Turns an errno and the state of the machine into a reason, a limit and a
//! way out. Runs only after a failure, so it may read as much as it likes.

mod alloc;
mod eventfd;
mod memory;
mod open;
mod pages;
mod process;
mod register;
mod transfer;
mod uring;

pub(crate) use alloc::allocate;
pub(crate) use alloc::Request;
pub(crate) use eventfd::eventfd;
pub(crate) use memory::Memory;
pub(crate) use open::no_device;
pub(crate) use open::not_a_node;
pub(crate) use open::open;
pub(crate) use pages::pages;
pub(crate) use pages::PagesRequest;
pub(crate) use process::Process;
pub(crate) use register::register;
pub(crate) use register::Registration;
pub(crate) use transfer::cancel;
pub(crate) use transfer::card_memory;
pub(crate) use transfer::completion;
pub(crate) use transfer::submit;
pub(crate) use transfer::sync;
pub(crate) use transfer::wait;
pub(crate) use transfer::Refused;
pub(crate) use uring::ring_full;
pub(crate) use uring::uring;

use rustix::io::Errno;

use crate::ErrorKind;
use crate::Explanation;

/// Explains an errno whose cause does not depend on what was tried.
pub(crate) fn general(errno: Errno) -> Explanation {
    use ErrorKind as K;
    match errno {
        Errno::NODEV => gone(),
        Errno::NOTTY => Explanation::new(K::NotSupported, "the driver does not know this command")
            .advise("load a userdma module of this library's version; check that the node is a userdma node"),
        Errno::TOOBIG => {
            Explanation::new(K::NotSupported, "the driver is older than this library and lacks something it asked for")
                .advise("load a userdma module of this library's version")
        }
        Errno::OPNOTSUPP => Explanation::new(K::NotSupported, "this card or its driver cannot do that")
            .advise("`userdma info` lists what it can"),
        Errno::INTR => Explanation::new(K::Interrupted, "a signal came first").advise("call again"),
        Errno::AGAIN => {
            Explanation::new(K::WouldBlock, "it would have to wait, and the file is non-blocking")
                .advise("poll the file, or open it without the non-blocking option")
        }
        Errno::TIMEDOUT => Explanation::new(K::TimedOut, "the time was over"),
        Errno::IO => Explanation::new(K::CardError, "the card reported an error"),
        Errno::CANCELED => Explanation::new(K::Canceled, "it was withdrawn"),
        Errno::BADF => Explanation::new(K::BadAccess, "the file was not opened for this")
            .advise("open the device for reading and writing"),
        Errno::PERM | Errno::ACCESS => Explanation::new(K::Permission, "the program may not do this"),
        Errno::NOENT => Explanation::new(K::NotFound, "this open file has no such buffer")
            .advise("handles are of one open file, and end when the buffer is freed"),
        Errno::RANGE => Explanation::new(K::OutOfRange, "it reaches outside the buffer or the card's memory"),
        Errno::OVERFLOW => Explanation::new(K::OutOfRange, "offset and length together overflow"),
        Errno::NOMEM => Explanation::new(K::OutOfMemory, "too little memory is free"),
        Errno::DQUOT => Explanation::new(K::LimitReached, "a limit of the driver would be passed"),
        Errno::ADDRNOTAVAIL => Explanation::new(K::Unreachable, "the card cannot reach the memory"),
        Errno::NOSPC => Explanation::new(K::OutOfRange, "it is at the end"),
        Errno::INVAL => Explanation::new(K::InvalidInput, "a value makes no sense"),
        Errno::FAULT => Explanation::new(K::BadAccess, "part of the memory is not there, or may not be used so"),
        Errno::MFILE | Errno::NFILE => Explanation::new(K::LimitReached, "too many files are open")
            .advise("raise the limit: ulimit -n"),
        other => Explanation::new(K::Other, other.to_string()),
    }
}

/// Explains that the device is no longer there.
fn gone() -> Explanation {
    Explanation::new(
        ErrorKind::Gone,
        "the device is gone: unbound from its driver, or unplugged",
    )
    .advise("open it again when it is bound: ls /dev/userdma*")
    .advise("look why it went: dmesg | grep userdma")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The errnos that the header promises, each with a kind of its own making.
    #[test]
    fn every_errno_of_the_header_has_a_kind() {
        for errno in [
            Errno::NODEV,
            Errno::NOTTY,
            Errno::INVAL,
            Errno::TOOBIG,
            Errno::OPNOTSUPP,
            Errno::PERM,
            Errno::BADF,
            Errno::NOENT,
            Errno::OVERFLOW,
            Errno::RANGE,
            Errno::NOMEM,
            Errno::DQUOT,
            Errno::AGAIN,
            Errno::INTR,
            Errno::TIMEDOUT,
            Errno::IO,
            Errno::CANCELED,
            Errno::ADDRNOTAVAIL,
            Errno::NOSPC,
            Errno::FAULT,
            Errno::ACCESS,
        ] {
            assert_ne!(general(errno).kind, ErrorKind::Other, "{errno}");
        }
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Why a ring of io_uring could not be had, or used.

use rustix::io::Errno;

use super::general;
use crate::ErrorKind;
use crate::Explanation;

/// Explains why there is no ring, or why it takes nothing.
pub(crate) fn uring(errno: Errno) -> Explanation {
    match errno {
        Errno::NOSYS => Explanation::new(ErrorKind::NotSupported, "this kernel has no io_uring")
            .advise("use Device::submit and Device::wait, which need none"),
        Errno::OPNOTSUPP => Explanation::new(
            ErrorKind::NotSupported,
            "the driver takes no commands of io_uring",
        )
        .advise("load a userdma module of this library's version")
        .advise("use Device::submit and Device::wait, which need none"),
        Errno::PERM => Explanation::new(
            ErrorKind::Permission,
            "io_uring is forbidden to this program, by the system or a seccomp filter",
        )
        .limit("/proc/sys/kernel/io_uring_disabled: 0 allows all, 1 a group, 2 nobody")
        .advise("as root: sysctl kernel.io_uring_disabled=0"),
        Errno::AGAIN | Errno::BUSY => Explanation::new(
            ErrorKind::WouldBlock,
            "the kernel takes no more entries just now",
        )
        .advise("take completions, and try again"),
        _ => general(errno),
    }
}

/// Explains why a ring takes no more transfers.
pub(crate) fn ring_full(in_flight: usize) -> Explanation {
    Explanation::new(ErrorKind::WouldBlock, "no more transfers fit")
        .limit(format!("{in_flight} are in flight"))
        .advise("take completions first: Ring::wait")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_a_way_out() {
        for (errno, kind) in [
            (Errno::NOSYS, ErrorKind::NotSupported),
            (Errno::OPNOTSUPP, ErrorKind::NotSupported),
            (Errno::PERM, ErrorKind::Permission),
            (Errno::BUSY, ErrorKind::WouldBlock),
        ] {
            let explanation = uring(errno);
            assert_eq!(explanation.kind, kind, "{errno}");
            assert!(!explanation.advice.is_empty(), "{errno}");
        }
        assert_eq!(uring(Errno::NOMEM).kind, ErrorKind::OutOfMemory);
        assert_eq!(ring_full(8).limit.as_deref(), Some("8 are in flight"));
    }
}

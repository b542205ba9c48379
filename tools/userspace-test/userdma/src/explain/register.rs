// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Why memory could not be registered.

use std::ops::Range;

use rustix::io::Errno;

use super::alloc::beyond_reach;
use super::alloc::too_many;
use super::general;
use super::process::Area;
use super::Memory;
use super::Process;
use crate::register::Place;
use crate::Bytes;
use crate::ErrorKind;
use crate::Explanation;
use crate::Info;

/// What was to be registered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registration {
    pub(crate) place: Place,
    pub(crate) length: u64,
    pub(crate) source: bool,
    /// Of the memfd's file, if it could be asked.
    pub(crate) file_size: Option<u64>,
}

impl Registration {
    fn start(&self) -> u64 {
        match self.place {
            Place::Address(start) | Place::Memfd(start) => start,
        }
    }

    /// Gives the whole pages in which it lies.
    fn pages(&self, page: u64) -> Range<u64> {
        let start = self.start();
        let end = start.saturating_add(self.length);
        start - start % page..end.checked_next_multiple_of(page).unwrap_or(u64::MAX)
    }
}

/// Explains why `what` was refused with `errno`.
pub(crate) fn register(
    what: &Registration,
    errno: Errno,
    info: &Info,
    process: &Process,
    memory: &Memory,
) -> Explanation {
    match (errno, what.place) {
        (Errno::NOMEM, _) => no_memory(what, info, process, memory),
        (Errno::FAULT, Place::Address(_)) => fault(what, info, process),
        (Errno::INTR, _) => Explanation::new(
            ErrorKind::Interrupted,
            "a signal came while the memory was pinned; none of it is",
        )
        .advise("call again"),
        (Errno::ADDRNOTAVAIL, _) => {
            let first = "let the driver copy through memory that the card reaches: without --no-bounce or .no_bounce(true)";
            beyond_reach(info, memory, [first.to_owned()])
        }
        (Errno::NOSPC, _) => too_many(info),
        (Errno::OPNOTSUPP, _) if !info.capabilities.register => Explanation::new(
            ErrorKind::NotSupported,
            "this card, or its driver, registers no memory",
        )
        .advise("`userdma info` lists what it can; allocate a buffer instead"),
        (Errno::NOTTY, _) => Explanation::new(
            ErrorKind::NotSupported,
            "the driver registers no memory: it is older than this library",
        )
        .advise("load a userdma module of this library's version, or allocate a buffer instead"),
        (Errno::INVAL | Errno::RANGE | Errno::OVERFLOW, _) => invalid(what, errno, info),
        (Errno::BADF, Place::Memfd(_)) => Explanation::new(
            ErrorKind::BadAccess,
            if what.source {
                "the memfd is not open for reading"
            } else {
                "the memfd is not open for reading and writing"
            },
        )
        .advise("open it for both, or register it as a source, which is only read: .source()"),
        (Errno::PERM, Place::Memfd(_)) => Explanation::new(
            ErrorKind::Permission,
            "the memfd is sealed against writing, and the card would write to it",
        )
        .advise("register it as a source: .source()")
        .advise(
            "register it before it is sealed, or do not seal it: F_SEAL_WRITE, F_SEAL_FUTURE_WRITE",
        ),
        _ => general(errno),
    }
}

fn invalid(what: &Registration, errno: Errno, info: &Info) -> Explanation {
    let alignment = u64::from(info.alignment.max(1));
    if what.length == 0 {
        Explanation::new(ErrorKind::InvalidInput, "there must be at least one byte")
    } else if errno == Errno::OVERFLOW {
        Explanation::new(ErrorKind::OutOfRange, "start and length together overflow")
    } else if what.start() % alignment != 0 {
        Explanation::new(ErrorKind::InvalidInput, "its start is not aligned")
            .limit(format!("multiples of {}", Bytes(alignment)))
    } else if errno == Errno::RANGE {
        let explanation = Explanation::new(ErrorKind::OutOfRange, "it ends behind the memfd's end");
        match what.file_size {
            None => explanation,
            Some(size) => explanation.limit(format!("the memfd has {} ({size})", Bytes(size))),
        }
        .advise("give the memfd a size first: ftruncate()")
    } else if matches!(what.place, Place::Memfd(_)) {
        Explanation::new(
            ErrorKind::InvalidInput,
            "the file is no memfd, and not in shared memory or hugetlbfs either",
        )
        .advise("map it private, or read it into a buffer, and register that memory by its address")
    } else {
        Explanation::new(
            ErrorKind::InvalidInput,
            "the driver does not take this combination of values",
        )
    }
}

fn no_memory(what: &Registration, info: &Info, process: &Process, memory: &Memory) -> Explanation {
    let pages = what.pages(info.page_size.max(1));
    let needed = pages.end - pages.start;
    let total = process.locked.saturating_add(needed);
    let limit = match process.memlock {
        Some(limit) if total > limit => limit,
        _ => {
            let explanation = Explanation::new(
                ErrorKind::OutOfMemory,
                "too little memory is free for its pages, or for the tables of them",
            );
            return match memory.available {
                0 => explanation,
                free => explanation.limit(format!("{} available in all", Bytes(free))),
            }
            .advise("less at once, or end programs that hold memory");
        }
    };
    let explanation = Explanation::new(
        ErrorKind::LimitReached,
        "this process may not lock so much memory",
    )
    .limit(format!(
        "RLIMIT_MEMLOCK is {}, {} are locked, this needs {}",
        Bytes(limit),
        Bytes(process.locked),
        Bytes(needed)
    ))
    .advise(format!(
        "raise it in the shell that starts the program: ulimit -l {} (KiB; beyond `ulimit -Hl` only root may)",
        total.div_ceil(1024)
    ))
    .advise(format!(
        "of a systemd service: LimitMEMLOCK={}M in its unit",
        total.div_ceil(1 << 20)
    ));
    if process.ipc_lock {
        return explanation.advise(
            "CAP_IPC_LOCK would lift it, but this process has it in a name space of users only",
        );
    }
    explanation
        .advise("give the program CAP_IPC_LOCK, which lifts it: setcap cap_ipc_lock+ep PROGRAM")
}

fn fault(what: &Registration, info: &Info, process: &Process) -> Explanation {
    let bad = |why: String| Explanation::new(ErrorKind::BadAccess, why);
    let start = what.start();
    let range = start..start.saturating_add(what.length);
    if process.areas.is_empty() {
        return bad("part of it is not mapped, not writable, or cannot be pinned".to_owned());
    }
    if let Some(at) = process.gap(&range) {
        let last = info.page_size.max(1) - 1;
        return Explanation::new(
            ErrorKind::OutOfRange,
            format!("nothing is mapped at {at:#x}"),
        )
        .limit(format!(
            "the pages from {:#x} to {:#x} must be there",
            start & !last,
            (range.end.saturating_sub(1)) | last
        ));
    }
    let mut areas = process.overlapping(&range);
    let guilty = areas.find_map(|area| guilty(area, what.source));
    guilty.unwrap_or_else(|| {
        bad(
            "the kernel could not bring in one of its pages, or does not let it be pinned"
                .to_owned(),
        )
        .advise("look whether it can be touched at all: a file may be shorter than its mapping")
    })
}

/// Says why a mapping cannot be registered, if that can be seen.
fn guilty(area: &Area, source: bool) -> Option<Explanation> {
    let at = format!("{:#x}", area.range.start);
    let of = match area.name.as_str() {
        "" => String::new(),
        name => format!(" of {name}"),
    };
    let bad = |why: String| Explanation::new(ErrorKind::BadAccess, why);
    let told = if area.device && area.name.contains("[userdma]") {
        bad(format!(
            "the mapping at {at} is of a coherent buffer, which the card reaches as it is"
        ))
        .advise("use that buffer itself in the transfer")
        .advise("for another card's use allocate a huge buffer: its mappings can be registered")
    } else if area.device {
        bad(format!(
            "the mapping at {at} is{of}: registers or memory of a device, which cannot be pinned"
        ))
        .advise("copy through memory of the program's own")
    } else if area.name.starts_with("/secretmem") {
        bad(format!(
            "the mapping at {at} is secret memory, which nothing but the program may reach"
        ))
        .advise("copy what may be seen into other memory")
    } else if !area.readable && !area.writable {
        bad(format!(
            "the mapping at {at}{of} may not be touched at all (PROT_NONE)"
        ))
        .advise("mprotect() it first")
    } else if !area.writable && !source {
        bad(format!(
            "the mapping at {at}{of} is read-only, and the card would write to it"
        ))
        .advise("register it as a source, which the card only reads: .source() or --source")
        .advise("or make it writable: mprotect()")
    } else if area.shared && area.name.starts_with('/') {
        bad(format!(
            "the mapping at {at} is a shared one of the file {}, and the kernel does not let pages of a file on disk be pinned for long",
            area.name
        ))
        .advise("a private mapping (MAP_PRIVATE), or read() into a buffer, if the file is only read")
        .advise("a memfd, or a file in hugetlbfs or /dev/shm, if it is shared with other programs")
        .advise("register it as a source, if the card only reads it: .source() or --source")
    } else {
        return None;
    };
    Some(told)
}

#[cfg(test)]
mod tests;

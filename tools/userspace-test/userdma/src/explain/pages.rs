// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Why memory could not be had in the pages that were asked for.

use rustix::io::Errno;

use super::general;
use super::Memory;
use crate::memory::Grown;
use crate::memory::PoolState;
use crate::Bytes;
use crate::ErrorKind;
use crate::Explanation;
use crate::Pages;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PagesRequest {
    pub(crate) pages: Pages,
    pub(crate) length: u64,
    pub(crate) memfd: bool,
    pub(crate) reserve: bool,
}

impl PagesRequest {
    /// Gives the length in whole pages; `None` if that wraps.
    pub(crate) fn size(&self) -> Option<u64> {
        self.length.checked_next_multiple_of(self.pages.size())
    }

    /// Gives how many pages it takes.
    pub(crate) fn count(&self) -> u64 {
        self.length.div_ceil(self.pages.size())
    }
}

/// Explains why `request` failed. `pool` is `None` if the machine has none of
/// such pages; `grown` says what came of making some.
pub(crate) fn pages(
    request: &PagesRequest,
    errno: Errno,
    pool: Option<PoolState>,
    grown: Option<Grown>,
    memory: &Memory,
) -> Explanation {
    let invalid = |why| Explanation::new(ErrorKind::InvalidInput, why);
    if request.pages.are_pooled() && pool.is_none() {
        return Explanation::new(
            ErrorKind::NotSupported,
            format!(
                "this machine, or its kernel, has no {} to set aside",
                request.pages
            ),
        )
        .advise("look what it has: ls /sys/kernel/mm/hugepages");
    }
    match (errno, pool) {
        (Errno::INVAL, _) if request.length == 0 => invalid("memory has at least one byte"),
        (Errno::INVAL, _) if request.pages == Pages::Transparent && request.memfd => {
            invalid("a memfd does not have transparent huge pages")
                .advise("pages of 2 MiB from the pool: Pages::Huge2M; or anonymous memory")
        }
        (Errno::INVAL, _) if request.pages == Pages::Transparent => Explanation::new(
            ErrorKind::NotSupported,
            "this kernel has no transparent huge pages",
        )
        .advise("pages of 2 MiB from the pool: Pages::Huge2M"),
        (Errno::NOMEM | Errno::NOSPC, Some(pool)) => too_few(request, pool, grown, memory),
        (Errno::NOMEM | Errno::FBIG, None) => Explanation::new(
            ErrorKind::OutOfMemory,
            "there is no room for it: too little address space, or a limit of the process",
        )
        .limit(format!("{} wanted", Bytes(request.length)))
        .advise("less; look at ulimit -v and /proc/sys/vm/overcommit_memory"),
        _ => general(errno),
    }
}

fn too_few(
    request: &PagesRequest,
    pool: PoolState,
    grown: Option<Grown>,
    memory: &Memory,
) -> Explanation {
    let pages = request.pages;
    let (kind, why) = match grown {
        Some(Grown::TooFew) => (
            ErrorKind::Fragmented,
            format!("too few {pages} are set aside, and the kernel found too little free memory in such pieces to make more"),
        ),
        Some(Grown::Refused) => (
            ErrorKind::Permission,
            format!("too few {pages} are set aside, and this program may not make more: that is for root"),
        ),
        None => (
            ErrorKind::OutOfMemory,
            format!("too few {pages} are set aside"),
        ),
    };
    let (count, available) = (request.count(), pool.available());
    let missing = count.saturating_sub(available);
    // What is surplus was not set aside, and may be of the attempt itself.
    let set_aside = pool.total.saturating_sub(pool.surplus);
    let explanation = Explanation::new(kind, why).limit(format!(
        "{count} wanted, {set_aside} set aside, {available} of them available; {} of other memory is free",
        Bytes(memory.available)
    ));
    if memory.end > 0 && request.length > memory.end {
        return explanation.advise(format!(
            "less: this machine's memory ends at {}",
            Bytes(memory.end)
        ));
    }
    let (kib, suffix) = (pages.size() >> 10, suffix(pages));
    let target = set_aside.saturating_add(missing);
    let directory = format!("/sys/kernel/mm/hugepages/hugepages-{kib}kB");
    let boot = format!("boot with hugepagesz={suffix} hugepages={target} on the kernel's command line: memory is whole then");
    let now = format!("set some aside now, as root: echo {target} > {directory}/nr_hugepages");
    let on_demand = format!("or let the kernel make them on demand, as root: echo {count} > {directory}/nr_overcommit_hugepages");
    match grown {
        Some(Grown::TooFew) => explanation
            .advise(boot)
            .advise("end programs that hold memory, then echo 1 > /proc/sys/vm/compact_memory (as root), then again")
            .advise("smaller pages"),
        Some(Grown::Refused) | None => explanation.advise(now).advise(on_demand).advise(boot),
    }
}

/// The size as the kernel's command line takes it.
fn suffix(pages: Pages) -> &'static str {
    match pages {
        Pages::Huge1G => "1G",
        _ => "2M",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pages: Pages, length: u64) -> PagesRequest {
        PagesRequest {
            pages,
            length,
            memfd: true,
            reserve: true,
        }
    }

    fn memory() -> Memory {
        Memory {
            available: 3 << 30,
            end: 8 << 30,
            ..Memory::default()
        }
    }

    /// Four in all, one of them surplus; one is free that nobody was promised.
    const POOL: PoolState = PoolState {
        total: 4,
        free: 2,
        promised: 1,
        surplus: 1,
    };

    #[test]
    fn sizes_are_whole_pages() {
        let third = request(Pages::Huge1G, (2 << 30) + 1);
        assert_eq!(third.size(), Some(3 << 30));
        assert_eq!(third.count(), 3);
        assert_eq!(request(Pages::Huge1G, u64::MAX).size(), None);
        assert_eq!(request(Pages::Huge2M, 0).size(), Some(0));
    }

    #[test]
    fn who_may_not_make_pages_is_told_who_may() {
        let told = pages(
            &request(Pages::Huge1G, 3 << 30),
            Errno::NOSPC,
            Some(POOL),
            Some(Grown::Refused),
            &memory(),
        );
        assert_eq!(told.kind, ErrorKind::Permission);
        let limit = told.limit.as_deref().unwrap_or_default();
        assert!(
            limit.contains("3 wanted, 3 set aside, 1 of them available"),
            "{limit}"
        );
        let advice = told.advice.join("\n");
        for words in [
            // Three that stay, and two that are missing.
            "echo 5 > /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages",
            "echo 3 > /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_overcommit_hugepages",
            "hugepagesz=1G hugepages=5",
        ] {
            assert!(advice.contains(words), "{advice}");
        }
    }

    #[test]
    fn fragmented_memory_is_told_apart() {
        let told = pages(
            &request(Pages::Huge2M, 64 << 20),
            Errno::NOMEM,
            Some(PoolState::default()),
            Some(Grown::TooFew),
            &memory(),
        );
        assert_eq!(told.kind, ErrorKind::Fragmented);
        let advice = told.advice.join("\n");
        assert!(
            advice.contains("hugepagesz=2M hugepages=32") && advice.contains("compact_memory"),
            "{advice}"
        );
        // What is not there at all cannot be set aside.
        let told = pages(
            &request(Pages::Huge1G, 20 << 30),
            Errno::NOMEM,
            Some(PoolState::default()),
            Some(Grown::TooFew),
            &memory(),
        );
        assert_eq!(told.advice, ["less: this machine's memory ends at 8 GiB"]);
    }

    #[test]
    fn a_pool_that_is_not_there_is_told() {
        let told = pages(
            &request(Pages::Huge1G, 1 << 30),
            Errno::INVAL,
            None,
            None,
            &memory(),
        );
        assert_eq!(told.kind, ErrorKind::NotSupported);
        assert!(told.why.contains("no pages of 1 GiB"), "{}", told.why);
    }

    #[test]
    fn small_pages_run_out_of_room() {
        let told = pages(
            &request(Pages::Small, 1 << 60),
            Errno::NOMEM,
            None,
            None,
            &memory(),
        );
        assert_eq!(told.kind, ErrorKind::OutOfMemory);
        assert!(told.advice.join("\n").contains("ulimit -v"));
    }
}

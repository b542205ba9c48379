// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The kernel's pool of huge pages of 2 MiB.

use std::fs;

use crate::guest;
use crate::outcome::Outcome;
use crate::poll::until;
use crate::raw::size;

const POOL: &str = "/proc/sys/vm/nr_hugepages";

/// The pool as a test wants it; as it was before when this goes.
#[derive(Debug)]
pub(crate) struct Pool {
    before: usize,
}

fn total() -> Outcome<usize> {
    Ok(size(guest::meminfo("HugePages_Total")?))
}

/// Makes the pool this large, as far as there is memory; how large it is then.
fn set(pages: usize) -> Outcome<usize> {
    fs::write(POOL, pages.to_string())?;
    if total()? < pages {
        // What is cached and scattered need not stay so.
        fs::write("/proc/sys/vm/drop_caches", "3")?;
        let _ = fs::write("/proc/sys/vm/compact_memory", "1");
        fs::write(POOL, pages.to_string())?;
    }
    total()
}

impl Pool {
    /// A pool with at least so many pages free.
    pub(crate) fn of(pages: usize) -> Outcome<Self> {
        let pool = Self::as_it_is()?;
        match free()? {
            free if free >= pages => {}
            free => pool.grow(pages - free)?,
        }
        Ok(pool)
    }

    /// A pool with so many pages free and no more: whoever takes as many takes
    /// them all.
    pub(crate) fn exactly(pages: usize) -> Outcome<Self> {
        let pool = Self::as_it_is()?;
        let free = free()?;
        if free < pages {
            pool.grow(pages - free)?;
        } else {
            set(pool.before + pages - free)?;
        }
        check_eq!(self::free()?, pages, "free huge pages");
        Ok(pool)
    }

    fn as_it_is() -> Outcome<Self> {
        if fs::metadata(POOL).is_err() {
            skip!("needs a kernel with hugetlbfs");
        }
        Ok(Self { before: total()? })
    }

    fn grow(&self, more: usize) -> Outcome {
        let want = self.before + more;
        let got = set(want)?;
        check!(got >= want, "{got} huge pages in the pool, want {want}");
        Ok(())
    }

    /// Waits until so many of the pool's pages are free.
    pub(crate) fn wait_free(&self, pages: usize) -> Outcome {
        until("huge pages that are free again", || Ok(free()? >= pages))
    }
}

/// Pages of the pool that are free and that nobody has reserved.
pub(crate) fn free() -> Outcome<usize> {
    let free = guest::meminfo("HugePages_Free")?;
    let reserved = guest::meminfo("HugePages_Rsvd")?;
    // Linux lets that go below 0 while a page is pinned that nobody maps any more.
    Ok(size(free.saturating_sub(reserved)))
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = set(self.before);
    }
}

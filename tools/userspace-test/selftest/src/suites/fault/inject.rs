// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The kernel's fault injection: the n-th site of one thread, of those that our
//! module's code is on the stack of.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::guest::debug_kernel;
use crate::outcome::Outcome;

const DEBUGFS: &str = "/sys/kernel/debug";
/// What can be made to fail.
const KINDS: [&str; 3] = ["failslab", "fail_page_alloc", "fail_usercopy"];
const SECTION: &str = "/sys/module/userdma/sections/.text";

/// The count of one thread, and the filter while this lives.
#[derive(Debug)]
pub(super) struct Injector {
    nth: File,
    kinds: Vec<PathBuf>,
}

/// Where the module's code is: from, to.
fn text() -> Outcome<(u64, u64)> {
    let begin = fs::read_to_string(SECTION)?;
    let begin = u64::from_str_radix(begin.trim().trim_start_matches("0x"), 16)?;
    let modules = fs::read_to_string("/proc/modules")?;
    let line = modules
        .lines()
        .find_map(|line| line.strip_prefix("userdma "));
    let size = line.and_then(|line| line.split(' ').next()?.parse::<u64>().ok());
    match size {
        // All of the module's size: only this module is that near.
        Some(size) if begin != 0 => Ok((begin, begin + size)),
        _ => fail!("the module's code is not found ({begin:#x}, {size:?})"),
    }
}

/// Where the code of DMA_API_DEBUG is. It keeps books of what drivers map, and
/// ends when it cannot: its own allocations must not fail.
fn debugger() -> Outcome<(u64, u64)> {
    const BOUNDS: [&str; 2] = ["debug_dma_dump_mappings", "debug_dma_free_pages"];
    let symbols = fs::read_to_string("/proc/kallsyms")?;
    let address = |wanted: &str| {
        symbols.lines().find_map(|line| {
            let (address, rest) = line.split_once(' ')?;
            let name = rest.split_once(' ')?.1;
            (name == wanted).then(|| u64::from_str_radix(address, 16).ok())?
        })
    };
    match BOUNDS.map(address) {
        [Some(begin), Some(end)] if begin != 0 && begin < end => Ok((begin, end)),
        found => fail!("{BOUNDS:?} are at {found:x?}"),
    }
}

/// Lets objects of every slab cache fail but those of /proc, because the kernel
/// does not look whether it could make the files of an interrupt, and warns when
/// it removes them; and kmemleak's own, whose books are its own affair.
fn choose_caches() -> Outcome {
    const CACHES: &str = "/sys/kernel/slab";
    const SPARED: [&str; 3] = ["proc_dir_entry", "kmemleak_object", "kmemleak_scan_area"];
    for spared in SPARED {
        check!(Path::new(CACHES).join(spared).exists(), "no cache {spared}");
    }
    for cache in fs::read_dir(CACHES)? {
        let cache = cache?;
        let spared = SPARED.iter().any(|spared| cache.file_name() == *spared);
        let fails = if spared { "0" } else { "1" };
        // A cache that others share cannot be chosen.
        let _ = fs::write(cache.path().join("failslab"), fails);
    }
    Ok(())
}

/// Writes one setting, if this kind has it.
fn set(kind: &Path, key: &str, value: &str) -> Outcome {
    let path = kind.join(key);
    if path.exists() {
        fs::write(path, value)?;
    }
    Ok(())
}

impl Injector {
    pub(super) fn new() -> Outcome<Self> {
        let path = "/proc/thread-self/fail-nth";
        let Ok(nth) = OpenOptions::new().read(true).write(true).open(path) else {
            check!(!debug_kernel(), "{path} is not there");
            skip!("needs a kernel with fault injection (the debug kernel)");
        };
        let kinds: Vec<_> = KINDS
            .iter()
            .map(|kind| Path::new(DEBUGFS).join(kind))
            .filter(|kind| kind.join("require-start").exists())
            .collect();
        if kinds.len() < KINDS.len() {
            check!(!debug_kernel(), "only {kinds:?} are there");
            skip!(
                "needs {} under {DEBUGFS}, with stack filters",
                KINDS.join(", ")
            );
        }
        choose_caches()?;
        let (begin, end) = text()?;
        let (debugger, debugger_end) = debugger()?;
        for kind in &kinds {
            set(kind, "reject-start", &format!("{debugger:#x}"))?;
            set(kind, "reject-end", &format!("{debugger_end:#x}"))?;
            set(kind, "require-start", &format!("{begin:#x}"))?;
            set(kind, "require-end", &format!("{end:#x}"))?;
            // Its report has a trace, which is a failure.
            set(kind, "verbose", "0")?;
            set(kind, "ignore-gfp-wait", "N")?;
            set(kind, "ignore-gfp-highmem", "N")?;
            set(kind, "cache-filter", "Y")?;
            set(kind, "min-order", "0")?;
        }
        Ok(Self { nth, kinds })
    }

    /// Lets the n-th site of `call` fail; what came of the call, and what is
    /// left of the count: 0 if a site failed.
    pub(super) fn during<R>(&mut self, nth: u32, mut call: impl FnMut() -> R) -> Outcome<(R, u32)> {
        self.nth.write_all_at(nth.to_string().as_bytes(), 0)?;
        let result = call();
        let mut text = [0; 16];
        let length = self.nth.read_at(&mut text, 0)?;
        self.nth.write_all_at(b"0", 0)?;
        let left = String::from_utf8_lossy(&text[..length]).trim().parse()?;
        Ok((result, left))
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        let _ = self.nth.write_all_at(b"0", 0);
        for kind in &self.kinds {
            let _ = set(kind, "require-start", "0");
            let _ = set(kind, "require-end", &format!("{:#x}", u64::MAX));
            let _ = set(kind, "reject-start", "0");
            let _ = set(kind, "reject-end", "0");
            let _ = set(kind, "cache-filter", "N");
        }
    }
}

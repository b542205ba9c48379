// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a test must leave as it found it.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use crate::guest::{self, Card};
use crate::outcome::Outcome;
use crate::poll::until_within;

/// A freed buffer may stay busy until the card is done with it.
const SETTLE: Duration = Duration::from_secs(10);
/// Per card, in debugfs.
const COUNTERS: [&str; 4] = ["files", "buffers", "buffer_bytes", "segments"];

/// A count of everything that could be left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    counts: Vec<(String, u64)>,
}

impl Snapshot {
    /// Counts now.
    pub(crate) fn take(cards: &[Card]) -> Outcome<Self> {
        let mut counts = vec![
            ("bound cards".to_owned(), raw_len(cards)),
            (
                "pinned pages".to_owned(),
                // They only ever grow; the difference is what is pinned.
                guest::vmstat("nr_foll_pin_acquired")?
                    .wrapping_sub(guest::vmstat("nr_foll_pin_released")?),
            ),
        ];
        if let Ok(free) = guest::meminfo("HugePages_Free") {
            counts.push(("free hugetlb pages".to_owned(), free));
        }
        if guest::has_debugfs() {
            for card in cards {
                let stats = card.stats()?;
                for key in COUNTERS {
                    // Which there are is the business of info.debugfs.
                    if let Ok(value) = guest::number(&stats, key) {
                        counts.push((format!("{key} of {}", card.bus), value));
                    }
                }
            }
        }
        // By name: cards may come back with other numbers.
        counts.sort();
        Ok(Self { counts })
    }

    /// Requires everything to be as it was, soon.
    pub(crate) fn check_same(&self) -> Outcome {
        let mut now = self.clone();
        let settled = until_within(SETTLE, "nothing left behind", || {
            now = Self::take(&guest::cards()?)?;
            Ok(now == *self)
        });
        if settled.is_ok() {
            return Ok(());
        }
        let changed: Vec<_> = self
            .counts
            .iter()
            .map(|(name, before)| {
                let after = now.counts.iter().find(|(other, _)| other == name);
                (name, before, after.map_or(0, |(_, value)| *value))
            })
            .filter(|(_, before, after)| *before != after)
            .map(|(name, before, after)| format!("{name}: {before} before, {after} after"))
            .collect();
        fail!("left behind: {}", changed.join("; "));
    }
}

fn raw_len(cards: &[Card]) -> u64 {
    crate::raw::wide(cards.len())
}

/// How many files this process has open.
pub(crate) fn open_files() -> Outcome<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

/// The kernel's log from now on.
#[derive(Debug)]
pub(crate) struct KernelLog {
    file: Option<File>,
}

impl KernelLog {
    /// Begins behind the newest line.
    pub(crate) fn follow() -> Self {
        let open = || -> io::Result<File> {
            let mut file = fs::OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK)
                .open("/dev/kmsg")?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        Self { file: open().ok() }
    }

    /// The new lines that tell of trouble.
    pub(crate) fn trouble(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        let Some(file) = &mut self.file else {
            return found;
        };
        let mut record = vec![0; 8192];
        loop {
            // One record each; EPIPE: some were overwritten, go on behind them.
            match file.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]).into_owned();
                    let line = text.split_once(';').map_or(&*text, |(_, line)| line);
                    let line = line.lines().next().unwrap_or_default();
                    if is_trouble(line) {
                        found.push(line.to_owned());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(_) => break,
            }
        }
        found
    }
}

/// The lines that no run may leave behind.
fn is_trouble(line: &str) -> bool {
    const WORDS: [&str; 12] = [
        "WARNING:",
        "BUG:",
        "KASAN",
        "UBSAN",
        "DMA-API:",
        "refcount_t",
        "kmemleak",
        "Oops",
        "DMAR: [",
        "general protection",
        "Bad page",
        "panicked at",
    ];
    const INFO: [&str; 4] = ["lock", "task", "rcu", "leak"];
    let info = line
        .split_once("INFO: ")
        .is_some_and(|(_, rest)| INFO.iter().any(|word| rest.contains(word)));
    info || WORDS.iter().any(|word| line.contains(word))
}

#[cfg(test)]
mod tests {
    use super::is_trouble;

    #[test]
    fn knows_trouble() {
        assert!(is_trouble("WARNING: CPU: 0 PID: 1 at mm/page_alloc.c:5363"));
        assert!(is_trouble(
            "INFO: task userdma:99 blocked for more than 120 seconds"
        ));
        assert!(is_trouble(
            "DMAR: [DMA Write NO_PASID] Request device [00:04.0]"
        ));
        assert!(is_trouble("rust_kernel: panicked at userdma.rs:1:1"));
        assert!(!is_trouble("userdma 0000:00:04.0: INFO: bound"));
        assert!(!is_trouble("DMAR: Intel-IOMMU force enabled"));
    }
}

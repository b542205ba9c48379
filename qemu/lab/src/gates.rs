// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What must not be in the logs of a guest.

use regex::Regex;

use anyhow::Result;

/// Signs of a defect in the kernel's log. The last line: faults that the IOMMUs
/// of AMD and of virtio report.
const BAD: &str = concat!(
    r"WARNING:|BUG:|KASAN|UBSAN|INFO: .*(lock|task|rcu|leak)|DMA-API:|refcount_t|kmemleak|Oops",
    r"|DMAR: \[|general protection|Bad page|Kernel panic|Call Trace|soft lockup|hung_task",
    r"|kernel BUG at|BUG \S+ \(|pagealloc:|ODEBUG:|nobody cared",
    r"|AMD-Vi: Event logged|virtio_iommu.*fault",
);

/// Lines of a sound boot of the debug kernel that say one of these words.
const HARMLESS: &str = concat!(
    r"kmemleak: (Kernel memory leak detector initialized|Automatic memory scanning thread)",
    r"|DMA-API: (preallocated \d+ debug entries|debugging enabled by kernel config)",
);

/// Signs that nothing more will come of this guest.
const FATAL: &str = r"Kernel panic|Oops:|end Kernel|Attempted to kill init";

/// What QEMU says of each model when it starts: models have no interrupt for errors
/// of the bus.
const MODELS: &str =
    r"warning: vfio vfio-user:\S+: Could not enable error recovery for the device$";

/// What QEMU says of a card whose model is gone, at each attempt to talk to it.
const GONE: &str = concat!(
    r"vfio|failed to read header|short read|server closed socket|timed out waiting for reply",
    r"|Unable to (read from|write to) socket",
);

/// What QEMU says when it cannot go on, whatever else the line says.
const END: &str = r"Assertion|hardware error";

/// The end of QEMU if the card of a model that is gone is behind an IOMMU which the
/// guest switches off; each guest does when it powers off. The processors'
/// registers follow.
const NO_MAPPING: &str = "hardware error: vfio: DMA mapping failed";

/// What the kernel says when it hands over to process 1.
const INIT: &str = "Run /init as init process";

/// How many lines after a bad one are shown with it.
const AFTER: usize = 12;

/// Watches a kernel log line by line.
#[derive(Debug)]
pub(crate) struct Watch {
    bad: Regex,
    harmless: Regex,
    fatal: Regex,
    mark: Option<String>,
    after: usize,
    problems: Vec<String>,
    dead: bool,
    init: bool,
}

impl Watch {
    /// A watch that has seen nothing yet.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            bad: Regex::new(BAD)?,
            harmless: Regex::new(HARMLESS)?,
            fatal: Regex::new(FATAL)?,
            mark: None,
            after: 0,
            problems: Vec::new(),
            dead: false,
            init: false,
        })
    }

    /// Takes the next line.
    pub(crate) fn line(&mut self, line: &str) {
        // The guest's init notes each test's end in the kernel log.
        if let Some((_, mark)) = line.split_once("lab: ") {
            self.mark = Some(mark.to_owned());
            return;
        }
        self.init |= line.contains(INIT);
        self.dead |= self.fatal.is_match(line);
        if self.bad.is_match(line) && !self.harmless.is_match(line) {
            if self.after == 0 {
                let place = self.mark.as_deref().unwrap_or("the first test's end");
                self.problems.push(format!("after \"{place}\":"));
            }
            self.after = AFTER;
        }
        if self.after > 0 {
            self.after -= 1;
            self.problems.push(line.to_owned());
        }
    }

    /// Whether the guest is beyond help.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Whether the kernel has started process 1.
    pub(crate) fn has_init(&self) -> bool {
        self.init
    }

    /// What was found: where, and the lines.
    pub(crate) fn into_problems(self) -> Vec<String> {
        self.problems
    }
}

/// The lines in QEMU's own log in which the edu card complains.
pub(crate) fn card_complaints(log: &str) -> Vec<String> {
    log.lines()
        .filter(|line| line.contains("EDU:"))
        .map(str::to_owned)
        .collect()
}

/// The lines of QEMU's own words that it should not have said. `gone`: a model was
/// told to die.
pub(crate) fn qemu_complaints(words: Vec<String>, gone: bool) -> Result<Vec<String>> {
    let (models, dead, end) = (Regex::new(MODELS)?, Regex::new(GONE)?, Regex::new(END)?);
    let mut words = words;
    if let Some(last) = words.iter().position(|line| line.contains(NO_MAPPING)) {
        // All results were there before; a guest that had more to say lacks them.
        words.truncate(if gone { last } else { words.len() });
    }
    words.retain(|line| {
        let expected = models.is_match(line) || (gone && dead.is_match(line));
        !expected || end.is_match(line)
    });
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(lines: &[&str]) -> Result<Watch> {
        let mut watch = Watch::new()?;
        for line in lines {
            watch.line(line);
        }
        Ok(watch)
    }

    #[test]
    fn every_pattern_is_seen() -> Result<()> {
        for line in [
            "WARNING: CPU: 0 PID: 1 at kernel/dma/swiotlb.c:450",
            "BUG: sleeping function called from invalid context",
            "BUG: KASAN: slab-use-after-free in x",
            "UBSAN: array-index-out-of-bounds",
            "INFO: task userdma:12 blocked for more than 120 seconds",
            "INFO: possible recursive locking detected",
            "rcu: INFO: rcu_preempt detected stalls",
            "DMA-API: device driver has pending DMA allocations",
            "refcount_t: underflow; use-after-free.",
            "kmemleak: 3 new suspected memory leaks",
            "DMAR: [DMA Read NO_PASID] Request device [00:03.0] fault addr 0x1000",
            "Oops: general protection fault, probably for non-canonical address",
            "Bad page state in process userdma",
            "kernel BUG at mm/slub.c:540!",
            "BUG kmalloc-64 (Tainted: G           O): Object already free",
            "pagealloc: memory corruption",
            "ODEBUG: free active (active state 0) object type: timer_list",
            "irq 11: nobody cared (try booting with the \"irqpoll\" option)",
            "pci 0000:00:03.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0001]",
            "virtio_iommu virtio0: page fault from EP 24 at 0x1000 [R]",
        ] {
            let watch = judge(&["fine", line])?;
            assert!(!watch.into_problems().is_empty(), "not seen: {line}");
        }
        Ok(())
    }

    #[test]
    fn an_ordinary_boot_is_clean() -> Result<()> {
        let watch = judge(&[
            "DMAR: Host address width 39",
            "Linux version 7.3.4+deb13-amd64",
            "userdma 0000:00:03.0: edu card",
            "userdma: loading out-of-tree module taints kernel.",
            "kmemleak: Kernel memory leak detector initialized (mem pool available: 15500)",
            "kmemleak: Automatic memory scanning thread started",
            "DMA-API: preallocated 65536 debug entries",
            "DMA-API: debugging enabled by kernel config",
            "kasan: KernelAddressSanitizer initialized",
            "Run /init as init process",
        ])?;
        assert!(watch.has_init());
        assert!(!watch.is_dead());
        assert_eq!(watch.into_problems(), [""; 0]);
        Ok(())
    }

    #[test]
    fn a_problem_is_laid_at_a_tests_door() -> Result<()> {
        let watch = judge(&["lab: ok 3 abi.info", "WARNING: x", "trace"])?;
        let problems = watch.into_problems();
        assert_eq!(
            problems,
            ["after \"ok 3 abi.info\":", "WARNING: x", "trace"]
        );
        Ok(())
    }

    #[test]
    fn a_panic_is_fatal_and_a_start_is_none() -> Result<()> {
        assert!(judge(&["Kernel panic - not syncing: Attempted to kill init!"])?.is_dead());
        assert!(!judge(&["smp: Brought up 1 node, 2 CPUs"])?.has_init());
        Ok(())
    }

    #[test]
    fn qemu_may_complain_of_a_model_that_was_told_to_die() -> Result<()> {
        let ever = "qemu-system-x86_64: -device {}: warning: vfio vfio-user:/tmp/cards-a/card0: \
                    Could not enable error recovery for the device";
        let gone = [
            "qemu-system-x86_64: failed to read header: EOF",
            "qemu-system-x86_64: vfio_region_read(vfio-user:/tmp/c/card0:region0+0x0, 4) failed: \
             Bad address",
            "qemu-system-x86_64: vfio_user_device_io_region_write: Unable to write to socket: \
             Broken pipe",
            "qemu-system-x86_64: vfio_container_dma_unmap(0x5613, 0x0, 0xc3000) = -14 (Bad address)",
        ];
        let never = [
            "qemu-system-x86_64: hw/vfio/pci.c:1: vfio_exit: Assertion `x' failed.",
            "qemu-system-x86_64: -device edu: out of memory",
        ];
        let all = [&[ever], &gone[..], &never].concat();
        let mut all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        assert_eq!(qemu_complaints(all.clone(), true)?, never);
        assert_eq!(
            qemu_complaints(all.clone(), false)?,
            [&gone[..], &never].concat()
        );
        all.extend([format!("qemu: {NO_MAPPING}"), "RAX=0".to_owned()]);
        assert_eq!(qemu_complaints(all.clone(), true)?, never);
        assert_eq!(
            qemu_complaints(all, false)?.len(),
            gone.len() + never.len() + 2
        );
        Ok(())
    }

    #[test]
    fn the_card_complains_in_qemus_log() {
        let log = "guest error\nEDU: DMA range 0x0-0xfff out of bounds (0x40000-0x40fff)!\n";
        assert_eq!(card_complaints(log).len(), 1);
    }
}

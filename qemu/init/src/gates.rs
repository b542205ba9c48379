// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a run must leave behind: nothing.
//!
//! Each gate is a test of its own, so that a leak is a failure with a name.

use std::fs;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use userdma_init::job::Job;

use crate::output::Output;

/// The gates of a job, in the order in which they are judged.
pub(crate) fn names(job: &Job) -> Vec<&'static str> {
    let mut names = Vec::new();
    if job.gates {
        names.extend([
            "gate.tasks",
            "gate.unload",
            "gate.pins",
            "gate.hugepages",
            "gate.files",
            "gate.taint",
        ]);
    }
    if job.kmemleak {
        names.push("gate.kmemleak");
    }
    names
}

/// Freed files and pages are counted back by work that runs a little later.
const SETTLE: Duration = Duration::from_secs(5);

/// Taint bits that a module built out of tree and unsigned sets (O and E), and
/// KUnit (N).
const TAINT_EXPECTED: u64 = (1 << 12) | (1 << 13) | (1 << 18);

/// Counters of the machine before the module was loaded.
#[derive(Debug)]
pub(crate) struct Snapshot {
    files: i64,
    huge_free: i64,
    huge_total: i64,
    taint: u64,
}

impl Snapshot {
    /// Reads the counters; one that the kernel lacks counts as -1 throughout.
    pub(crate) fn take() -> Self {
        Self {
            files: open_files(),
            huge_free: meminfo("HugePages_Free"),
            huge_total: meminfo("HugePages_Total"),
            taint: taint().unwrap_or(0),
        }
    }
}

/// Judges the gates `names` against the state `before`.
pub(crate) fn judge(names: &[&str], before: &Snapshot, output: &mut Output) -> Result<()> {
    for name in names {
        let result = match *name {
            "gate.tasks" => settle(no_tasks),
            "gate.unload" => unload(),
            "gate.pins" => settle(pins_returned),
            "gate.hugepages" => settle(|| {
                same(
                    "HugePages_Free",
                    before.huge_free,
                    meminfo("HugePages_Free"),
                )?;
                same(
                    "HugePages_Total",
                    before.huge_total,
                    meminfo("HugePages_Total"),
                )
            }),
            "gate.files" => settle(|| same("open files", before.files, open_files())),
            "gate.taint" => taint_unchanged(before.taint),
            _ => no_leaks(),
        };
        output.result(name, result)?;
    }
    Ok(())
}

/// Repeats `check` until it passes or the settling time is over.
fn settle(check: impl Fn() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let result = check();
        if result.is_ok() || Instant::now() > deadline {
            return result;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn same(what: &str, before: i64, after: i64) -> Result<()> {
    if after != before {
        bail!("{what}: {before} before, {after} after");
    }
    Ok(())
}

/// No process but this one; kernel threads have no executable.
fn no_tasks() -> Result<()> {
    // Orphans come to process 1, and stay as zombies until waited for.
    while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if id == 1 || fs::read_link(format!("/proc/{id}/exe")).is_err() {
            continue;
        }
        let command = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        bail!("process {id} is left: {}", command.replace('\0', " "));
    }
    Ok(())
}

fn unload() -> Result<()> {
    let loaded = fs::read_to_string("/proc/modules")?;
    if !loaded.lines().any(|line| line.starts_with("userdma ")) {
        return Ok(());
    }
    settle(|| {
        rustix::system::delete_module(c"userdma", rustix::fs::OFlags::NONBLOCK.bits() as i32)
            .context("rmmod userdma")
    })
}

fn pins_returned() -> Result<()> {
    let vmstat = fs::read_to_string("/proc/vmstat")?;
    let taken = field(&vmstat, "nr_foll_pin_acquired");
    let given = field(&vmstat, "nr_foll_pin_released");
    if taken != given {
        bail!("{taken} page pins were taken, {given} returned");
    }
    Ok(())
}

const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";

/// A leak counts when the second scan still sees it.
fn no_leaks() -> Result<()> {
    for _ in 0..2 {
        fs::write(KMEMLEAK, "scan").context("starting a kmemleak scan")?;
    }
    let leaks = fs::read_to_string(KMEMLEAK)?;
    if !leaks.is_empty() {
        bail!("{leaks}");
    }
    Ok(())
}

fn taint_unchanged(before: u64) -> Result<()> {
    let new = taint()? & !before & !TAINT_EXPECTED;
    if new != 0 {
        bail!("the kernel is newly tainted: bits {new:#x} (512 is a warning, 128 an oops)");
    }
    Ok(())
}

fn taint() -> Result<u64> {
    let text = fs::read_to_string("/proc/sys/kernel/tainted")?;
    text.trim().parse().context("/proc/sys/kernel/tainted")
}

fn open_files() -> i64 {
    let text = fs::read_to_string("/proc/sys/fs/file-nr").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|field| field.parse().ok()).unwrap_or(-1)
}

fn meminfo(name: &str) -> i64 {
    field(
        &fs::read_to_string("/proc/meminfo").unwrap_or_default(),
        name,
    )
}

/// The number after `name` in "name value" or "name: value" lines.
fn field(text: &str, name: &str) -> i64 {
    text.lines()
        .find_map(|line| {
            let rest = line.strip_prefix(name)?;
            let rest = rest.strip_prefix(':').unwrap_or(rest);
            rest.starts_with(char::is_whitespace).then_some(rest)
        })
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(-1)
}

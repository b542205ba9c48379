// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The kernel's own killer.

use std::fs;
use std::path::PathBuf;

use super::victim::for_ever;
use super::{fill_cards, wait_gone, watch};
use crate::account::pins;
use crate::child::{spawn, Exit, Gate};
use crate::device::Device;
use crate::hugepool::Pool;
use crate::kinds::Kind;
use crate::memory::{Mapping, HUGE as HUGE_PAGE, PAGE};
use crate::outcome::{Context as _, Outcome};
use crate::registry::Context;

const ROOT: &str = "/sys/fs/cgroup";
const LIMIT: usize = 24 << 20;

/// A group of processes that may have so much memory; goes with its owner.
struct Group(PathBuf);

impl Group {
    fn new() -> Outcome<Self> {
        let root = PathBuf::from(ROOT);
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        if !controllers.split_whitespace().any(|word| word == "memory") {
            skip!("needs a kernel with memory cgroups, mounted at {ROOT}");
        }
        fs::write(root.join("cgroup.subtree_control"), "+memory")?;
        let group = Self(root.join("userdma-selftest"));
        fs::create_dir(&group.0)?;
        fs::write(group.0.join("memory.max"), LIMIT.to_string())?;
        Ok(group)
    }

    /// Puts this process into it.
    fn enter(&self) -> Outcome {
        Ok(fs::write(self.0.join("cgroup.procs"), "0")?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Keeps the killer's report, which has a trace of the innocent caller, off the
/// console, where a trace is a failure. Errors and worse still get there.
struct Quiet(String);

impl Quiet {
    const LEVELS: &str = "/proc/sys/kernel/printk";

    fn new() -> Outcome<Self> {
        let before = fs::read_to_string(Self::LEVELS)?;
        fs::write(Self::LEVELS, "4")?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = fs::write(Self::LEVELS, self.0.trim());
    }
}

pub(super) fn out_of_memory(context: &mut Context) -> Outcome {
    let group = Group::new()?;
    let _quiet = Quiet::new()?;
    fill_cards(context)?;
    let path = context.card().path.clone();
    let pool = Pool::exactly(1)?;
    let pinned = pins()?;
    for round in 0..context.times(3) {
        let begun = Gate::new()?;
        let mut child = spawn(|| {
            group.enter()?;
            let device = Device::open(&path)?;
            let memory = Kind::HugetlbAnonymous.make(HUGE_PAGE)?;
            let registered = device.register(memory.address(), HUGE_PAGE, 0)?;
            // Small pages, which count, are pinned as well.
            let small = Mapping::anonymous(LIMIT / 2)?;
            device.register(small.address(), LIMIT / 2, 0)?;
            std::thread::scope(|scope| -> Outcome {
                scope.spawn(|| for_ever(&device, registered.handle, &begun));
                begun.pass()?;
                let more = Mapping::anonymous(2 * LIMIT)?;
                for offset in (0..more.length()).step_by(PAGE) {
                    more.set_byte(offset, 1);
                }
                fail!("it got more than the limit")
            })
        })?;
        let what = || format!("round {round}");
        check_eq!(child.wait()?, Exit::Signal(libc::SIGKILL), "{}", what());
        watch::while_it_comes(context, &pool, 1).context(what)?;
        wait_gone(&pool, 1, pinned).context(what)?;
    }
    println!(
        "did {} processes killed for want of memory",
        context.times(3)
    );
    Ok(())
}

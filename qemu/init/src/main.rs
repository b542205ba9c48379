// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Process 1 of the laboratory's guest.
//!
//! Sets the machine up, does the [`Job`] that the runner put into the
//! initramfs, prints the results as KTAP on the second serial port, and
//! switches the machine off. Whatever goes wrong, the machine goes off: the
//! runner sees the missing plan or test.

mod gates;
mod kunit;
mod output;
mod setup;
mod shell;
mod work;

use anyhow::Context;
use anyhow::Result;
use userdma_init::job::Job;
use userdma_init::job::PATH;

use crate::gates::Snapshot;
use crate::output::Output;

fn main() {
    if let Err(error) = run() {
        // The console is the only place left.
        eprintln!("init: {error:#}");
    }
    power_off();
}

fn run() -> Result<()> {
    setup::mounts()?;
    let job = std::fs::read(PATH).with_context(|| format!("reading {PATH}"))?;
    let job: Job = serde_json::from_slice(&job).with_context(|| format!("parsing {PATH}"))?;

    let mut output = Output::open("/dev/ttyS1")?;
    let gates = gates::names(&job);
    let before_work = [job.load, job.kunit, job.lab];
    let before_work = before_work.iter().filter(|there| **there).count();
    output.plan(before_work + job.work.len() + gates.len())?;

    let kernel_suites = kunit::names();
    let stock = setup::load_stock(&job.stock_modules);
    let before = Snapshot::take();
    let mut ready = stock.is_ok();
    if job.load {
        let loaded = stock.and_then(|()| setup::load(&job.parameters, job.devices));
        ready = loaded.is_ok();
        output.result("boot.load", loaded)?;
    }
    if job.kunit {
        kunit::report(&kernel_suites, &mut output)?;
    }
    let mut lab = None;
    if job.lab {
        let found = setup::lab_port();
        lab = found.as_ref().ok().cloned();
        output.result("boot.lab", found.map(drop))?;
    }
    for work in &job.work {
        if ready {
            work::run(work, lab.as_deref(), &mut output)?;
        } else {
            output.result(
                &work.name,
                Err(anyhow::anyhow!("not run: boot.load failed")),
            )?;
        }
    }
    if let Some(shell) = &job.shell {
        shell::run(shell, lab.as_deref())?;
    }
    gates::judge(&gates, &before, &mut output)?;
    output.finish()
}

fn power_off() -> ! {
    rustix::fs::sync();
    // Without ACPI's power button the machine stays: the runner then ends it.
    let error = rustix::system::reboot(rustix::system::RebootCommand::PowerOff);
    eprintln!("init: power off: {error:?}");
    loop {
        std::thread::park();
    }
}

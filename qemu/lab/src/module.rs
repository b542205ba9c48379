// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `userdma.ko`, built out of tree against the stock kernel.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;

use crate::cache::Key;
use crate::cache::Lock;
use crate::cache::Places;
use crate::cache::Product;
use crate::exec::Log;
use crate::kernel;
use crate::kernel::Stock;
use crate::step::Steps;

/// A built module.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    /// The file.
    pub(crate) file: PathBuf,
    /// What the build printed.
    pub(crate) log: String,
}

/// The key of the module's sources for one kernel.
fn key(places: &Places, stock: &Stock) -> Result<Key> {
    let mut key = Key::new("module 1").text(&stock.version);
    for source in ["Kbuild", "include", "rust"] {
        key = key.sources(&places.tree, source)?;
    }
    Ok(key)
}

/// Builds the module unless it is in the cache.
pub(crate) fn build(places: &Places, steps: &Steps, stock: &Stock) -> Result<Module> {
    let key = key(places, stock)?;
    let product = Product::new(
        places.cached("built").join(format!("module-{}", key.hex())),
        &key,
    );
    let module = Module {
        file: product.path.join("userdma.ko"),
        log: String::new(),
    };
    let record = product.path.join("build.log");
    if product.is_ready() {
        steps.cached("module userdma.ko");
        let log = fs::read_to_string(record)?;
        return Ok(Module { log, ..module });
    }
    let _lock = Lock::take(places, "module", || {
        steps.say("another run builds a module; waiting for it");
    })?;
    let step = steps.begin("module userdma.ko", Duration::from_secs(15));
    let log = Log::create(places, "module")?;
    // From nothing: an incremental build would not repeat its warnings.
    let objects = fresh(places, "module")?;
    log.run(
        &step,
        command(places, stock, &objects).arg("modules"),
        "correct the source; the log has the compiler's words",
    )?;
    product.begin()?;
    fs::copy(objects.join("userdma.ko"), &module.file).context("taking userdma.ko")?;
    let text = log.text();
    fs::write(record, &text)?;
    product.finish()?;
    step.done();
    Ok(Module {
        log: text,
        ..module
    })
}

/// Runs clippy over the module, as the kernel runs it; returns what it prints.
pub(crate) fn clippy(places: &Places, steps: &Steps, stock: &Stock) -> Result<String> {
    let _lock = Lock::take(places, "module", || {
        steps.say("another run builds a module; waiting for it");
    })?;
    let step = steps.begin("clippy over the module", Duration::from_secs(15));
    let log = Log::create(places, "module-clippy")?;
    let objects = fresh(places, "module-clippy")?;
    log.run(
        &step,
        command(places, stock, &objects).args(["CLIPPY=1", "modules"]),
        "correct the source; the log has clippy's words",
    )?;
    step.done();
    Ok(log.text())
}

/// The compiler's warnings in a build's output, one a line; each is a defect.
pub(crate) fn warnings(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| line.starts_with("warning") || line.contains(": warning:"))
        .filter(|line| !line.contains("the compiler differs"))
        .collect()
}

fn fresh(places: &Places, name: &str) -> Result<PathBuf> {
    let objects = places.place.join(name);
    if objects.exists() {
        fs::remove_dir_all(&objects).with_context(|| format!("removing {}", objects.display()))?;
    }
    fs::create_dir_all(&objects)?;
    Ok(objects)
}

fn command(places: &Places, stock: &Stock, objects: &std::path::Path) -> Command {
    let mut command = kernel::make(&stock.source, &stock.build);
    command
        .arg(format!("M={}", places.tree.display()))
        .arg(format!("MO={}", objects.display()));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_of_both_compilers_are_seen() {
        let log = "  CC [M]  x.o\nx.c:3:1: warning: unused\nwarning: unused import\n  LD [M] userdma.ko\n";
        assert_eq!(warnings(log).len(), 2);
        assert!(warnings("  RUSTC [M] rust/userdma_main.o\n").is_empty());
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `userdma.ko`, built out of tree against one of the kernels.

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
use crate::kernel::Flavour;
use crate::kernel::Kernel;
use crate::step::Steps;

/// A built module.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    /// The file.
    pub(crate) file: PathBuf,
    /// What the build printed.
    pub(crate) log: String,
}

impl Module {
    /// Whether it has KUnit suites, which run when a kernel with KUnit loads it.
    pub(crate) fn has_kunit(&self) -> Result<bool> {
        let section = b".kunit_test_suites";
        let bytes =
            fs::read(&self.file).with_context(|| format!("reading {}", self.file.display()))?;
        Ok(bytes.windows(section.len()).any(|window| window == section))
    }
}

/// The key of the module's sources for one kernel.
fn key(places: &Places, kernel: &Kernel) -> Result<Key> {
    let mut key = Key::new("module 1").text(&kernel.version);
    for source in ["Kbuild", "include", "rust"] {
        key = key.sources(&places.tree, source)?;
    }
    Ok(key)
}

/// Builds the module unless it is in the cache.
pub(crate) fn build(places: &Places, steps: &Steps, kernel: &Kernel) -> Result<Module> {
    let key = key(places, kernel)?;
    let product = Product::new(
        places.cached("built").join(format!("module-{}", key.hex())),
        &key,
    );
    let module = Module {
        file: product.path.join("userdma.ko"),
        log: String::new(),
    };
    let record = product.path.join("build.log");
    let what = match kernel.flavour {
        Flavour::Stock => "module userdma.ko",
        Flavour::Debug => "module userdma.ko, debug kernel",
    };
    let cached = |module| {
        steps.cached(what);
        let log = fs::read_to_string(&record)?;
        Ok(Module { log, ..module })
    };
    if product.is_ready() {
        return cached(module);
    }
    let _lock = Lock::take(places, "module", || {
        steps.say("another run builds a module; waiting for it");
    })?;
    // Another run may have made it, and uses it by now.
    if product.is_ready() {
        return cached(module);
    }
    let step = steps.begin(what, Duration::from_secs(15));
    let name = format!("module{}", kernel.flavour.suffix());
    let log = Log::create(places, &name)?;
    // From nothing: an incremental build would not repeat its warnings.
    let objects = fresh(places, &name)?;
    log.run(
        &step,
        command(places, kernel, &objects).arg("modules"),
        "correct the source; the log has the compiler's words",
    )?;
    product.begin()?;
    fs::copy(objects.join("userdma.ko"), &module.file).context("taking userdma.ko")?;
    let text = log.text();
    fs::write(&record, &text)?;
    product.finish()?;
    step.done();
    Ok(Module {
        log: text,
        ..module
    })
}

/// Runs clippy over the module, as the kernel runs it; returns what it prints.
pub(crate) fn clippy(places: &Places, steps: &Steps, kernel: &Kernel) -> Result<String> {
    let _lock = Lock::take(places, "module", || {
        steps.say("another run builds a module; waiting for it");
    })?;
    let step = steps.begin("clippy over the module", Duration::from_secs(15));
    let log = Log::create(places, "module-clippy")?;
    let objects = fresh(places, "module-clippy")?;
    log.run(
        &step,
        command(places, kernel, &objects).args(["CLIPPY=1", "modules"]),
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

fn command(places: &Places, kernel: &Kernel, objects: &std::path::Path) -> Command {
    let mut command = kernel.make();
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

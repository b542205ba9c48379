// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The debug kernel: Debian's source of the stock kernel, configured by
//! `qemu/debug.config`, built with clang.
//!
//! It takes minutes to build and nothing of the module goes in: it is made
//! again only when that file, the source or a compiler changes.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use walkdir::WalkDir;

use crate::cache::Key;
use crate::cache::Lock;
use crate::cache::Places;
use crate::cache::Product;
use crate::exec;
use crate::exec::Log;
use crate::kernel::stock::Stock;
use crate::kernel::Flavour;
use crate::kernel::Kernel;
use crate::step::Steps;

/// The options, in the tree.
const CONFIG: &str = "qemu/debug.config";

/// What decides how it comes out, beside source and options.
const COMPILERS: [&str; 4] = ["clang-19", "ld.lld-19", "rustc", "bindgen"];

/// Two processors that do nothing else.
const ESTIMATE: Duration = Duration::from_secs(480);

/// A debug kernel that no run has used for so long is removed.
const KEPT: Duration = Duration::from_secs(14 * 24 * 3600);

/// Builds the debug kernel unless it is in the cache.
pub(crate) fn prepare(places: &Places, steps: &Steps, stock: &Stock) -> Result<Kernel> {
    let mut key = Key::new("debug kernel 1")
        .text(&stock.kernel.version)
        .file(&places.tree.join(CONFIG))?;
    for compiler in COMPILERS {
        key = key.text(&exec::output(Command::new(compiler).arg("--version"))?);
    }
    let home = places.cached("kernel").join(&stock.kernel.version);
    // Each in a place of its own: two trees may have different options.
    let build = home.join(format!("debug-{}", key.hex()));
    let mut kernel = Kernel {
        flavour: Flavour::Debug,
        release: String::new(),
        version: format!("{} debug {}", stock.kernel.version, key.hex()),
        image: build.join("arch/x86/boot/bzImage"),
        source: stock.kernel.source.clone(),
        build: build.clone(),
    };
    let product = Product::new(build.clone(), &key);
    let what = "debug kernel";
    let _lock = Lock::take(places, "kernel-debug", || {
        steps.say("another run builds a debug kernel; waiting for it");
    })?;
    if product.is_ready() {
        steps.cached(what);
    } else {
        let step = steps.begin(what, ESTIMATE);
        let log = Log::create(places, "kernel-debug")?;
        // Not from nothing: the kernel's make goes on where it was stopped, and
        // the name of the directory says that it was the same kernel.
        fs::create_dir_all(&build)?;
        let retry = "run the same command again: it goes on where this stopped; \
                     if that fails too, `make distclean` and again";
        log.run(
            &step,
            kernel
                .make()
                .env("KCONFIG_ALLCONFIG", places.tree.join(CONFIG))
                .arg("allnoconfig"),
            retry,
        )?;
        check_options(&places.tree.join(CONFIG), &build.join(".config"))?;
        log.run(&step, &mut gently(&kernel.make()), retry)?;
        remove_objects(&build)?;
        product.finish()?;
        step.done();
        remove_idle(&home, &build)?;
    }
    // Says that this one is in use.
    File::open(&build)
        .and_then(|directory| directory.set_modified(SystemTime::now()))
        .with_context(|| format!("touching {}", build.display()))?;
    kernel.release = fs::read_to_string(build.join("include/config/kernel.release"))
        .context("reading the debug kernel's release")?
        .trim()
        .to_owned();
    Ok(kernel)
}

/// The same command behind everything else that runs: guests may be at work.
fn gently(make: &Command) -> Command {
    let mut command = Command::new("nice");
    command
        .args(["-n", "10"])
        .arg(make.get_program())
        .args(make.get_args());
    for (name, value) in make.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Requires that every option came out as it was asked for: the kernel's make
/// drops silently what it does not know and what lacks something it needs.
fn check_options(wanted: &Path, config: &Path) -> Result<()> {
    let lost = lost(
        &fs::read_to_string(wanted).with_context(|| format!("reading {}", wanted.display()))?,
        &fs::read_to_string(config).with_context(|| format!("reading {}", config.display()))?,
    );
    if !lost.is_empty() {
        bail!(
            "{CONFIG}: these lines have no effect in this kernel:\n{}     an option was renamed, \
             or needs another one: see its \"depends on\" in the kernel's Kconfig files",
            exec::indent(&lost.join("\n"))
        );
    }
    Ok(())
}

fn lost(wanted: &str, config: &str) -> Vec<String> {
    wanted
        .lines()
        .filter(|line| match line.strip_prefix("# ") {
            // Off is off, whether the line is there or not.
            Some(comment) => comment
                .strip_suffix(" is not set")
                .is_some_and(|name| config.lines().any(|line| is_set(line, name))),
            None => line.starts_with("CONFIG_") && !config.lines().any(|has| has == *line),
        })
        .map(str::to_owned)
        .collect()
}

fn is_set(line: &str, name: &str) -> bool {
    line.strip_prefix(name)
        .is_some_and(|rest| rest.starts_with('='))
}

/// Removes what only building the kernel itself needed: most of 3 GB.
fn remove_objects(build: &Path) -> Result<()> {
    // A module build runs programs of these, and rustc reads the crates here.
    let kept = ["rust", "scripts", "tools"];
    let walk = WalkDir::new(build)
        .into_iter()
        .filter_entry(|entry| entry.depth() != 1 || !kept.iter().any(|k| entry.file_name() == *k));
    for entry in walk {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        let object = name.ends_with(".o") || name.ends_with(".a") || name.ends_with(".cmd");
        if object && entry.file_type().is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn remove_idle(home: &Path, current: &Path) -> Result<()> {
    let old = |path: &PathBuf| {
        let touched = path.metadata().and_then(|data| data.modified());
        touched.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > KEPT))
    };
    let idle: Vec<PathBuf> = fs::read_dir(home)?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("debug-"))
        .map(|entry| entry.path())
        .filter(|path| path != current && old(path))
        .collect();
    for path in idle {
        fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_was_dropped_is_seen() {
        let config = "CONFIG_A=y\nCONFIG_B=\"x\"\n# CONFIG_C is not set\nCONFIG_DD=y\n";
        let wanted =
            "# words\nCONFIG_A=y\nCONFIG_B=\"x\"\n# CONFIG_C is not set\n# CONFIG_D is not set\n";
        assert_eq!(lost(wanted, config), [""; 0]);
        assert_eq!(lost("CONFIG_C=y\n", config), ["CONFIG_C=y"]);
        assert_eq!(lost("CONFIG_B=\"y\"\n", config), ["CONFIG_B=\"y\""]);
        assert_eq!(
            lost("# CONFIG_A is not set\n", config),
            ["# CONFIG_A is not set"]
        );
    }
}

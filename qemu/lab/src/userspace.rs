// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The programs of the guest, all static: the command, the samples, `/init`. And
//! how anything is built of the laboratory's own workspace.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
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
use crate::kernel::HOSTCC;
use crate::step::Step;
use crate::step::Steps;

/// Naming the target keeps the static flag away from build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The workspace of library, command, suites and Rust samples.
pub(crate) const TOOLS: &str = "tools/userspace-test";

/// The directory with the programs.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// Every file in it is a static program of the guest.
    pub(crate) directory: PathBuf,
    /// The guest's process 1.
    pub(crate) init: PathBuf,
}

/// Builds what is not in the cache.
pub(crate) fn build(places: &Places, steps: &Steps) -> Result<Programs> {
    Ok(Programs {
        directory: tools(places, steps)?,
        init: init(places, steps)?,
    })
}

fn tools(places: &Places, steps: &Steps) -> Result<PathBuf> {
    let mut key = Key::new("user space 2");
    for source in ["include", "samples", TOOLS] {
        key = key.sources(&places.tree, source)?;
    }
    let product = Product::new(
        places.cached("built").join(format!("user-{}", key.hex())),
        &key,
    );
    let what = "library, command, samples";
    let cached = |product: &Product| {
        steps.cached(what);
        Ok(product.path.clone())
    };
    if product.is_ready() {
        return cached(&product);
    }
    let _lock = lock(places, steps)?;
    // Another run may have made it, and uses it by now.
    if product.is_ready() {
        return cached(&product);
    }
    let step = steps.begin(what, Duration::from_secs(60));
    let log = Log::create(places, "user-space")?;
    let target = places.place.join("user-static");
    cargo(
        &log,
        &step,
        &places.tree.join(TOOLS),
        &target,
        &["--workspace", "--bins"],
    )?;
    product.begin()?;
    take_programs(&target.join(TARGET).join("release"), &product.path)?;
    c_samples(places, &log, &step, &product.path)?;
    product.finish()?;
    step.done();
    Ok(product.path)
}

fn init(places: &Places, steps: &Steps) -> Result<PathBuf> {
    let key = Key::new("init 1").sources(&places.tree, "qemu/init")?;
    let part = Part {
        what: "the guest's init",
        name: "init",
        packages: vec!["userdma-init".to_owned()],
        estimate: Duration::from_secs(15),
    };
    Ok(of_the_laboratory(places, steps, key, &part)?.join("userdma-init"))
}

/// A part of the laboratory's own workspace.
#[derive(Debug)]
pub(crate) struct Part {
    /// In a few words.
    pub(crate) what: &'static str,
    /// For files.
    pub(crate) name: &'static str,
    pub(crate) packages: Vec<String>,
    pub(crate) estimate: Duration,
}

/// Builds a part of the laboratory's workspace; `key` says what is its own of it.
pub(crate) fn of_the_laboratory(
    places: &Places,
    steps: &Steps,
    key: Key,
    part: &Part,
) -> Result<PathBuf> {
    let key = key
        .file(&places.tree.join("qemu/Cargo.lock"))?
        .file(&places.tree.join("qemu/Cargo.toml"))?;
    let directory = format!("{}-{}", part.name, key.hex());
    let product = Product::new(places.cached("built").join(directory), &key);
    let lock = match product.is_ready() {
        true => None,
        false => Some(lock(places, steps)?),
    };
    // Another run may have made it meanwhile.
    if product.is_ready() {
        steps.cached(part.what);
    } else {
        let step = steps.begin(part.what, part.estimate);
        let log = Log::create(places, part.name)?;
        let target = places.place.join("laboratory-static");
        let packages = part.packages.iter().flat_map(|name| ["-p", name]);
        cargo(
            &log,
            &step,
            &places.tree.join("qemu"),
            &target,
            &packages.collect::<Vec<_>>(),
        )?;
        product.begin()?;
        let programs = target.join(TARGET).join("release");
        for name in &part.packages {
            fs::copy(programs.join(name), product.path.join(name))
                .with_context(|| format!("taking the program {name} that package {name} makes"))?;
        }
        product.finish()?;
        step.done();
    }
    drop(lock);
    Ok(product.path)
}

fn lock(places: &Places, steps: &Steps) -> Result<Lock> {
    let name = places
        .place
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Lock::take(places, &format!("user-{name}"), || {
        steps.say("another run on this tree builds user space; waiting for it");
    })
}

fn cargo(log: &Log, step: &Step<'_>, workspace: &Path, target: &Path, what: &[&str]) -> Result<()> {
    let mut command = Command::new("cargo");
    command
        .args(["build", "--release", "--target", TARGET])
        .args(what)
        .arg("--target-dir")
        .arg(target)
        .env(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-C target-feature=+crt-static",
        )
        .env_remove("MAKEFLAGS")
        .current_dir(workspace);
    log.run(
        step,
        &mut command,
        "correct the source, or, if crates could not be downloaded, run the same command again",
    )
}

/// Copies the programs that cargo left, and nothing else of its files.
fn take_programs(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let data = entry.metadata()?;
        if data.is_file() && data.permissions().mode() & 0o100 != 0 {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Compiles `samples/*.c` and `samples/c/*.c`, each as a program of its own
/// for the 64-bit and, with "-32" behind its name, for the 32-bit ABI.
fn c_samples(places: &Places, log: &Log, step: &Step<'_>, to: &Path) -> Result<()> {
    let include = places.tree.join("include/uapi");
    for directory in ["samples", "samples/c"] {
        let Ok(entries) = fs::read_dir(places.tree.join(directory)) else {
            continue;
        };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let Some(stem) = path
                .file_stem()
                .filter(|_| path.extension().is_some_and(|e| e == "c"))
            else {
                continue;
            };
            let stem = stem.to_string_lossy();
            for (bits, name) in [("-m64", stem.to_string()), ("-m32", format!("{stem}-32"))] {
                let mut command = Command::new(HOSTCC);
                command
                    .args([
                        bits,
                        "-std=gnu11",
                        "-O2",
                        "-Wall",
                        "-Wextra",
                        "-Werror",
                        "-static",
                    ])
                    .arg("-I")
                    .arg(&include)
                    .arg("-o")
                    .arg(to.join(name))
                    .arg(&path);
                log.run(
                    step,
                    &mut command,
                    "correct the sample; the log has gcc's words",
                )?;
            }
        }
    }
    Ok(())
}

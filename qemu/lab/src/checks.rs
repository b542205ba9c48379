// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What `make test` checks outside of a guest: formats, lints, unit tests.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use walkdir::WalkDir;

use crate::cache::Places;
use crate::kernel::Kernel;
use crate::module;
use crate::prepare::Pair;
use crate::step::Steps;
use crate::tally::Tally;
use crate::tally::Test;
use crate::userspace::TOOLS;

/// How much of a failing check's output its failure shows.
const SHOWN: usize = 40;

/// The Cargo workspaces, by what people call them.
const WORKSPACES: [(&str, &str); 2] = [("user space", TOOLS), ("laboratory", "qemu")];

/// Checks formats and lints only: `make lint`.
pub(crate) fn lint(places: &Places, steps: &Steps, kernel: &Kernel, tally: &Tally) -> Result<()> {
    let rust = kernel_sources(places)?;
    let mut rustfmt = rustfmt_kernel(kernel, &rust);
    tally.add(checked("rustfmt: module", rustfmt.arg("--check")));
    for (name, directory) in WORKSPACES {
        let mut fmt = cargo(places, directory);
        tally.add(checked(
            &format!("rustfmt: {name}"),
            fmt.args(["fmt", "--all", "--check"]),
        ));
        let mut clippy = cargo(places, directory);
        clippy.args([
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]);
        tally.add(checked(&format!("clippy: {name}"), &mut clippy));
    }
    tally.add(clippy_kernel(places, steps, kernel));
    let scripts = shell_scripts(places)?;
    let mut shellcheck = Command::new("shellcheck");
    shellcheck
        .args(["-x", "--severity=style"])
        .args(&scripts)
        .current_dir(&places.tree);
    tally.add(checked("shellcheck", &mut shellcheck));
    Ok(())
}

/// All checks of `make test` that need no guest.
pub(crate) fn all(places: &Places, steps: &Steps, pair: &Pair, tally: &Tally) -> Result<()> {
    tally.add(warnings("stock kernel", pair));
    for (name, directory) in WORKSPACES {
        // A changed lock file that nobody committed would build something else.
        let mut locked = cargo(places, directory);
        locked
            .args(["metadata", "--locked", "--format-version", "1"])
            .stdout(Stdio::null());
        tally.add(checked(&format!("Cargo.lock: {name}"), &mut locked));
    }
    lint(places, steps, &pair.kernel, tally)?;
    for (name, directory) in WORKSPACES {
        let mut test = cargo(places, directory);
        test.args(["test", "--quiet", "--workspace", "--no-fail-fast"]);
        tally.add(checked(&format!("cargo test: {name}"), &mut test));
    }
    Ok(())
}

/// Whether the module was built without a warning.
pub(crate) fn warnings(what: &str, pair: &Pair) -> Test {
    let lines = module::warnings(&pair.module.log);
    let lines = lines.into_iter().map(str::to_owned).collect();
    Test::of(&format!("module: builds without a warning, {what}"), lines)
}

/// Formats everything: `make fmt`.
pub(crate) fn format(places: &Places, kernel: &Kernel) -> Result<bool> {
    let rust = kernel_sources(places)?;
    let mut good = rustfmt_kernel(kernel, &rust).status()?.success();
    for (_, directory) in WORKSPACES {
        good &= cargo(places, directory)
            .args(["fmt", "--all"])
            .status()?
            .success();
    }
    Ok(good)
}

/// The module is formatted by the kernel's own rules.
fn rustfmt_kernel(kernel: &Kernel, files: &[PathBuf]) -> Command {
    let mut command = Command::new("rustfmt");
    command
        .args(["--edition", "2021", "--config-path"])
        .arg(kernel.source.join(".rustfmt.toml"))
        .args(files);
    command
}

fn clippy_kernel(places: &Places, steps: &Steps, kernel: &Kernel) -> Test {
    let name = "clippy: module";
    match module::clippy(places, steps, kernel) {
        Ok(log) => {
            let warned = !module::warnings(&log).is_empty();
            let lines = if warned { last(&log) } else { Vec::new() };
            Test::of(name, lines)
        }
        Err(error) => Test::of(name, last(&format!("{error:#}"))),
    }
}

fn cargo(places: &Places, directory: &str) -> Command {
    let mut command = Command::new("cargo");
    // One target directory for all checks of all workspaces.
    command
        .current_dir(places.tree.join(directory))
        .env("CARGO_TARGET_DIR", places.place.join("checks"))
        .env("CARGO_TERM_COLOR", "never")
        .env_remove("MAKEFLAGS");
    command
}

/// Runs a check and makes a test of it.
fn checked(name: &str, command: &mut Command) -> Test {
    match command.stdin(Stdio::null()).output() {
        Ok(out) if out.status.success() => Test::of(name, Vec::new()),
        Ok(out) => {
            let mut text = String::from_utf8_lossy(&out.stdout).into_owned();
            text.push_str(&String::from_utf8_lossy(&out.stderr));
            text.push_str(&format!("\n{} ended with {}", name, out.status));
            Test::of(name, last(&text))
        }
        Err(error) => Test::of(name, vec![format!("could not be started: {error}")]),
    }
}

fn last(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(SHOWN)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

fn kernel_sources(places: &Places) -> Result<Vec<PathBuf>> {
    files(&places.tree.join("rust"), |path| {
        path.extension().is_some_and(|end| end == "rs")
    })
}

/// Every file of the tree that begins as a shell script does.
fn shell_scripts(places: &Places) -> Result<Vec<PathBuf>> {
    files(&places.tree, |path| {
        let mut start = [0; 64];
        let read = fs::File::open(path)
            .and_then(|mut file| std::io::Read::read(&mut file, &mut start))
            .unwrap_or(0);
        let start = String::from_utf8_lossy(&start[..read]);
        let first = start.lines().next().unwrap_or_default();
        (first.starts_with("#!") && (first.ends_with("sh") || first.contains("sh ")))
            || path.extension().is_some_and(|end| end == "sh")
    })
}

fn files(below: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let walk = WalkDir::new(below).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|entry| entry.file_name() != ".git") {
        let entry = entry.with_context(|| format!("looking through {}", below.display()))?;
        let generated = entry.file_name() == "uapi_generated.rs";
        if entry.file_type().is_file() && !generated && wanted(entry.path()) {
            found.push(entry.path().to_owned());
        }
    }
    Ok(found)
}

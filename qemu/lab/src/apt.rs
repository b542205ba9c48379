// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kernel packages: which there are, the newest of the series, and their
//! download. Packages are named, never addressed: apt knows from where.

mod index;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;

use crate::cache::write_atomically;
use crate::cache::Places;
use crate::exec;
use crate::exec::Log;
use crate::step::Steps;

/// The kernel series that the module is written for.
pub(crate) const SERIES: &str = "7.3";
/// The Debian suite that carries it.
const SUITE: &str = "trixie-backports";

/// One package of the index.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

/// The set of packages of one kernel.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Kernel {
    /// What `uname -r` says there, such as 7.3.4+deb13-amd64.
    pub(crate) release: String,
    /// The packages' version.
    pub(crate) version: String,
    pub(crate) packages: Vec<Package>,
}

impl Kernel {
    /// The package whose name begins with `prefix`.
    pub(crate) fn package(&self, prefix: &str) -> Result<&Package> {
        self.packages
            .iter()
            .find(|package| package.name.starts_with(prefix))
            .with_context(|| format!("no package {prefix}* was chosen"))
    }

    /// Where a package is kept after its download.
    pub(crate) fn deb(&self, places: &Places, package: &Package) -> PathBuf {
        let file = format!(
            "{}_{}.deb",
            package.name,
            package.version.replace(':', "%3a")
        );
        places.cached("debs").join(file)
    }
}

/// The kernel of the last resolution, or a new one if there is none.
pub(crate) fn kernel(places: &Places, steps: &Steps) -> Result<Kernel> {
    let record = places.cached("kernel").join("chosen.json");
    if let Ok(text) = fs::read(&record) {
        if let Ok(kernel) = serde_json::from_slice::<Kernel>(&text) {
            steps.cached(&format!("kernel packages: {}", kernel.version));
            return Ok(kernel);
        }
    }
    resolve(places, steps)
}

/// Asks the mirror which kernels there are and takes the newest of the series.
pub(crate) fn resolve(places: &Places, steps: &Steps) -> Result<Kernel> {
    let step = steps.begin("kernel packages: which there are", Duration::from_secs(5));
    let log = Log::create(places, "kernel-index")?;
    let state = places.cached("apt");
    for directory in ["lists/partial", "archives/partial"] {
        fs::create_dir_all(state.join(directory))?;
    }
    write_atomically(&state.join("sources.list"), sources(places)?.as_bytes())?;
    log.run(
        &step,
        apt(places, "apt-get").args(["update", "-o", "APT::Update::Error-Mode=any"]),
        "is the mirror reachable? Another one: make ... USERDMA_MIRROR=http://HOST/debian",
    )?;

    let names = exec::output(apt(places, "apt-cache").args(["pkgnames", "linux-"]))?;
    let wanted: Vec<&str> = names
        .lines()
        .filter(|name| index::is_kernel_package(name))
        .collect();
    let stanzas = if wanted.is_empty() {
        String::new()
    } else {
        exec::output(apt(places, "apt-cache").arg("show").args(&wanted))?
    };
    let kernel = index::choose(&index::parse(&stanzas), &names)?;
    let record = serde_json::to_vec_pretty(&kernel)?;
    write_atomically(&places.cached("kernel").join("chosen.json"), &record)?;
    step.done();
    Ok(kernel)
}

/// Downloads what is missing of `packages`.
pub(crate) fn download(
    places: &Places,
    steps: &Steps,
    kernel: &Kernel,
    packages: &[&Package],
) -> Result<()> {
    let missing: Vec<&Package> = packages
        .iter()
        .copied()
        .filter(|package| !kernel.deb(places, package).exists())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let total = missing.iter().map(|package| package.size).sum();
    let step = steps.begin_bytes(&format!("download kernel {}", kernel.version), total);
    let log = Log::create(places, "kernel-download")?;
    // What a killed run left here apt goes on with or throws away.
    let partial = places.cached("debs").join("partial");
    fs::create_dir_all(&partial)?;
    let names = missing
        .iter()
        .map(|package| format!("{}={}", package.name, package.version));
    let fetched = log.run_with(
        &step,
        apt(places, "apt-get")
            .arg("download")
            .args(names)
            .current_dir(&partial),
        "run the same command again; if the mirror no longer has this version: make update",
        || step.bytes(directory_size(&partial)),
    );
    if fetched.is_err()
        && !Path::new(&places.cached("apt/lists"))
            .join("partial")
            .exists()
    {
        bail!("the package index is gone from the cache: make update");
    }
    fetched?;
    for package in &missing {
        take(&partial, package, &kernel.deb(places, package))?;
    }
    step.done();
    Ok(())
}

/// Moves a downloaded package to its place when it is the one announced.
fn take(partial: &Path, package: &Package, to: &Path) -> Result<()> {
    let file = fs::read_dir(partial)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(&format!("{}_", package.name)))
        })
        .with_context(|| format!("apt downloaded no file for {}", package.name))?;
    // apt has verified the hash; the size tells that nobody cut the file since.
    let size = file.metadata()?.len();
    if size != package.size {
        fs::remove_file(&file)?;
        bail!(
            "{} has {size} bytes, the index says {}",
            package.name,
            package.size
        );
    }
    fs::rename(&file, to).with_context(|| format!("moving {}", file.display()))
}

fn directory_size(path: &Path) -> u64 {
    let entries = fs::read_dir(path)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|data| data.len())
        .sum()
}

/// An apt command on lists of our own, so that the root stays as it was made.
fn apt(places: &Places, program: &str) -> Command {
    let state = places.cached("apt");
    let mut command = Command::new(program);
    for (option, path) in [
        ("Dir::Etc::sourcelist", "sources.list"),
        ("Dir::State::lists", "lists"),
        ("Dir::Cache", ""),
        ("Dir::Cache::archives", "archives"),
    ] {
        command
            .arg("-o")
            .arg(format!("{option}={}", state.join(path).display()));
    }
    command
        .args(["-o", "Dir::Etc::sourceparts=/dev/null"])
        // Without root there is no second user to become.
        .args(["-o", "APT::Sandbox::User=root"])
        .args(["-o", "Acquire::Languages=none"]);
    command
}

/// The sources list: the backports only, from the mirror of the host or, where
/// that has none, of the root.
fn sources(places: &Places) -> Result<String> {
    let host = fs::read_to_string(places.cached("host/mirror")).unwrap_or_default();
    if !host.trim().is_empty() {
        return Ok(format!("deb {} {SUITE} main\n", host.trim()));
    }
    let path = "/etc/apt/sources.list.d/backports.list";
    fs::read_to_string(path).with_context(|| format!("reading {path}"))
}

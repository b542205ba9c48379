// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Debian's stock kernel as it is, and beside it what its headers package
//! lacks: the metadata of the kernel's Rust crates.
//!
//! The metadata is built from the same source, configuration and compilers.
//! Equal crate hashes prove that they were the same; then a module built
//! against it loads into the unmodified kernel.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use regex::bytes::Regex;

use crate::apt;
use crate::apt::Kernel as Packages;
use crate::cache::Key;
use crate::cache::Lock;
use crate::cache::Places;
use crate::cache::Product;
use crate::exec;
use crate::exec::Log;
use crate::kernel::Flavour;
use crate::kernel::Kernel;
use crate::kernel::CC;
use crate::kernel::RETRY;
use crate::step::Steps;

/// Debian's kernel, with its packages.
#[derive(Clone, Debug)]
pub(crate) struct Stock {
    pub(crate) kernel: Kernel,
    /// The unpacked packages.
    root: PathBuf,
}

impl Stock {
    /// The directory with the kernel's modules.
    pub(crate) fn modules(&self) -> PathBuf {
        self.root.join("usr/lib/modules").join(&self.kernel.release)
    }

    /// The files of stock modules, each after those it depends on.
    pub(crate) fn module_files(&self, names: &[String]) -> Result<Vec<PathBuf>> {
        let path = self.modules().join("modules.dep");
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let files = order(&text, names)?;
        Ok(files.iter().map(|file| self.modules().join(file)).collect())
    }
}

/// Resolves `names` in the text of a modules.dep.
fn order(dependencies: &str, names: &[String]) -> Result<Vec<String>> {
    let table: BTreeMap<&str, (&str, Vec<&str>)> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (stem(file), (file, needs.split_whitespace().collect())))
        .collect();
    let mut files: Vec<String> = Vec::new();
    for name in names {
        let plain = name.replace('-', "_");
        let found = table
            .iter()
            .find(|(stem, _)| stem.replace('-', "_") == plain);
        let Some((_, (file, needs))) = found else {
            bail!("the stock kernel has no module \"{name}\"");
        };
        // modules.dep lists the whole chain, what is needed first stands last.
        for file in needs.iter().rev().chain([file]) {
            if !files.iter().any(|have| have == file) {
                files.push((*file).to_owned());
            }
        }
    }
    Ok(files)
}

fn stem(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split(".ko").next().unwrap_or(name)
}

/// Makes everything of the stock kernel that is not in the cache yet.
pub(crate) fn prepare(places: &Places, steps: &Steps) -> Result<Stock> {
    let _lock = Lock::take(places, "kernel", || {
        steps.say("another run prepares the kernel; waiting for it");
    })?;
    let kernel = apt::kernel(places, steps)?;
    let home = places.cached("kernel").join(&kernel.version);
    let root = home.join("stock");
    let stock = Stock {
        kernel: Kernel {
            flavour: Flavour::Stock,
            release: kernel.release.clone(),
            version: kernel.version.clone(),
            image: root
                .join("usr/lib/modules")
                .join(&kernel.release)
                .join("vmlinuz"),
            source: home.join("source"),
            build: home.join("build"),
        },
        root,
    };
    let packages = Product::new(
        stock.root.clone(),
        &Key::new("stock packages 1").text(&kernel.version),
    );
    let source = Product::new(
        stock.kernel.source.clone(),
        &Key::new("kernel source 1").text(&kernel.version),
    );
    let needed: Vec<_> = kernel
        .packages
        .iter()
        .filter(|package| match package.name.starts_with("linux-source-") {
            true => !source.is_ready(),
            false => !packages.is_ready(),
        })
        .collect();
    apt::download(places, steps, &kernel, &needed)?;
    unpack_packages(places, steps, &kernel, &packages)?;
    unpack_source(places, steps, &kernel, &source)?;
    for package in needed {
        // 300 MB that nobody reads again.
        let _ = fs::remove_file(kernel.deb(places, package));
    }
    metadata(places, steps, &stock)?;
    Ok(stock)
}

fn unpack_packages(
    places: &Places,
    steps: &Steps,
    kernel: &Packages,
    product: &Product,
) -> Result<()> {
    let what = format!("stock kernel {}", kernel.release);
    if product.is_ready() {
        steps.cached(&what);
        return Ok(());
    }
    let step = steps.begin(&what, Duration::from_secs(5));
    let log = Log::create(places, "kernel-stock")?;
    product.begin()?;
    for prefix in ["linux-headers-", "linux-binary-", "linux-modules-"] {
        let deb = kernel.deb(places, kernel.package(prefix)?);
        let mut command = Command::new("dpkg-deb");
        log.run(&step, command.arg("-x").arg(deb).arg(&product.path), RETRY)?;
    }
    // depmod looks below lib/.
    std::os::unix::fs::symlink("usr/lib", product.path.join("lib"))?;
    let mut command = Command::new("depmod");
    log.run(
        &step,
        command.arg("-b").arg(&product.path).arg(&kernel.release),
        RETRY,
    )?;
    product.finish()?;
    step.done();
    Ok(())
}

fn unpack_source(
    places: &Places,
    steps: &Steps,
    kernel: &Packages,
    product: &Product,
) -> Result<()> {
    let what = format!("kernel source {}", kernel.version);
    if product.is_ready() {
        steps.cached(&what);
        return Ok(());
    }
    let step = steps.begin(&what, Duration::from_secs(25));
    let log = Log::create(places, "kernel-source")?;
    product.begin()?;
    let package = kernel.package("linux-source-")?;
    // A package around a tar file: no need to have that file on disk between.
    let script = "set -eo pipefail
        dpkg-deb --fsys-tarfile \"$1\" |
            tar -xO \"./usr/src/$2.tar.xz\" |
            tar -xJ -C \"$3\" --strip-components=1";
    let mut command = Command::new("bash");
    command
        .args(["-c", script, "bash"])
        .arg(kernel.deb(places, package))
        .arg(&package.name)
        .arg(&product.path);
    log.run(&step, &mut command, RETRY)?;
    product.finish()?;
    step.done();
    Ok(())
}

/// Builds the Rust metadata and the tools that a module build needs.
fn metadata(places: &Places, steps: &Steps, stock: &Stock) -> Result<()> {
    let what = "kernel's Rust metadata";
    let mut key = Key::new("rust metadata 1").text(&stock.kernel.version);
    for compiler in ["rustc", "bindgen", CC] {
        key = key.text(&exec::output(Command::new(compiler).arg("--version"))?);
    }
    let product = Product::new(stock.kernel.build.clone(), &key);
    if product.is_ready() {
        steps.cached(what);
        return Ok(());
    }
    let step = steps.begin(what, Duration::from_secs(75));
    let log = Log::create(places, "kernel-metadata")?;
    product.begin()?;
    let headers = stock
        .root
        .join("usr/src")
        .join(format!("linux-headers-{}", stock.kernel.release));
    fs::copy(headers.join(".config"), stock.kernel.build.join(".config"))
        .context("copying the stock kernel's configuration")?;
    for target in ["olddefconfig", "modules_prepare"] {
        let mut command = stock.kernel.make();
        log.run(&step, command.arg(target), RETRY)?;
    }
    // What only a whole kernel build would make.
    for file in ["Module.symvers", "include/generated/utsrelease.h"] {
        fs::copy(headers.join(file), stock.kernel.build.join(file))
            .with_context(|| format!("copying the stock kernel's {file}"))?;
    }
    check_hashes(
        &stock.kernel.build.join("Module.symvers"),
        &stock.kernel.build.join("rust/kernel.o"),
    )?;
    product.finish()?;
    step.done();
    Ok(())
}

/// Compares the hashes that mangled names carry for the `kernel` crate.
fn check_hashes(symvers: &Path, object: &Path) -> Result<()> {
    let stock = hashes(&fs::read(symvers)?)?;
    let ours = hashes(&fs::read(object)?)?;
    if stock.is_empty() || stock != ours {
        bail!(
            "the rebuilt Rust metadata does not match the stock kernel: crate hash {ours:?}, \
             the kernel has {stock:?}.\n     The root's compilers are not those that built this \
             kernel; a module would not load.\n     try: make update && make distclean, and again"
        );
    }
    Ok(())
}

fn hashes(bytes: &[u8]) -> Result<BTreeSet<String>> {
    let regex = Regex::new("Cs([0-9A-Za-z]+)_6kernel")?;
    Ok(regex
        .captures_iter(bytes)
        .map(|found| String::from_utf8_lossy(&found[1]).into_owned())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_need() -> Result<()> {
        let dep = "kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz kernel/fs/jbd2/jbd2.ko.xz\n\
                   kernel/fs/jbd2/jbd2.ko.xz:\n\
                   kernel/lib/crc16.ko.xz:\n\
                   kernel/drivers/block/virtio-blk.ko.xz:\n";
        let files = order(dep, &["virtio_blk".into(), "ext4".into(), "jbd2".into()])?;
        assert_eq!(
            files,
            [
                "kernel/drivers/block/virtio-blk.ko.xz",
                "kernel/fs/jbd2/jbd2.ko.xz",
                "kernel/lib/crc16.ko.xz",
                "kernel/fs/ext4/ext4.ko.xz",
            ]
        );
        assert!(order(dep, &["nothing".into()]).is_err());
        Ok(())
    }

    #[test]
    fn crate_hashes_are_found_in_any_bytes() -> Result<()> {
        let found = hashes(b"\0_RNvXNtCsb5MLIFMWygY_6kernel5alloc\0Cs2lKf6AS60Zg_4core\0")?;
        assert_eq!(found, BTreeSet::from(["b5MLIFMWygY".to_owned()]));
        Ok(())
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The guest's initramfs: busybox, `/init`, the programs, the stock modules that
//! guests ask for, the files of `qemu/overlay/`; and for each boot the job and
//! the module of the kernel that boots.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::io::BufWriter;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use cpio::newc;
use userdma_init::job;
use userdma_init::job::Job;
use walkdir::WalkDir;

use crate::cache::Key;
use crate::cache::Places;
use crate::cache::Product;
use crate::exec;
use crate::kernel::stock::Stock;
use crate::kselftest::Collection;
use crate::module::Module;
use crate::step::Steps;
use crate::userspace::Programs;

const BUSYBOX: &str = "/bin/busybox";
/// Where the guest has the kselftest directory.
const KSELFTEST: &str = "usr/lib/kselftest";
const DIRECTORY: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const REGULAR: u32 = 0o100_000;
const CHARACTER: u32 = 0o020_000;

/// What goes in: path in the guest (no leading slash) to content.
#[derive(Debug, Default)]
struct Content(BTreeMap<String, Entry>);

#[derive(Debug)]
enum Entry {
    Directory,
    File(PathBuf, u32),
    Bytes(Vec<u8>, u32),
    Link(String),
    /// Major and minor number.
    Device(u32, u32),
}

impl Content {
    /// Adds an entry and the directories above it.
    fn add(&mut self, path: &str, entry: Entry) {
        let mut above = Path::new(path).parent();
        while let Some(directory) = above.filter(|path| !path.as_os_str().is_empty()) {
            let name = directory.to_string_lossy().into_owned();
            self.0.entry(name).or_insert(Entry::Directory);
            above = directory.parent();
        }
        self.0.insert(path.to_owned(), entry);
    }

    fn key(&self) -> Result<Key> {
        let mut key = Key::new("image 1");
        for (path, entry) in &self.0 {
            key = key.text(path);
            key = match entry {
                Entry::File(file, mode) => key.text(&mode.to_string()).file(file)?,
                other => key.text(&format!("{other:?}")),
            };
        }
        Ok(key)
    }

    /// Writes the archive; the kernel takes several, one behind the other.
    fn write(&self, mut to: impl Write) -> Result<()> {
        for (number, (path, entry)) in self.0.iter().enumerate() {
            let builder = newc::Builder::new(path)
                .ino(u32::try_from(number)? + 1)
                .nlink(1)
                .uid(0)
                .gid(0);
            let (builder, bytes) = match entry {
                Entry::Directory => (builder.mode(DIRECTORY).nlink(2), Vec::new()),
                Entry::Link(target) => (builder.mode(LINK), target.clone().into_bytes()),
                Entry::Bytes(bytes, mode) => (builder.mode(REGULAR | mode), bytes.clone()),
                Entry::File(file, mode) => {
                    let bytes =
                        fs::read(file).with_context(|| format!("reading {}", file.display()))?;
                    (builder.mode(REGULAR | mode), bytes)
                }
                Entry::Device(major, minor) => (
                    builder
                        .mode(CHARACTER | 0o600)
                        .rdev_major(*major)
                        .rdev_minor(*minor),
                    Vec::new(),
                ),
            };
            let mut writer = builder.write(&mut to, u32::try_from(bytes.len())?);
            writer.write_all(&bytes)?;
            writer.finish()?;
        }
        newc::trailer(&mut to)?;
        Ok(())
    }
}

/// The image, and where the stock modules are in it.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) file: PathBuf,
}

/// Where a stock module's file is in the guest: unpacked, so without `.xz`.
pub(crate) fn guest_path(stock: &Stock, file: &Path) -> String {
    let inside = file
        .strip_prefix(stock.modules())
        .unwrap_or(file)
        .to_string_lossy();
    let plain = inside.trim_end_matches(".xz").trim_end_matches(".zst");
    format!("/lib/modules/{}/{plain}", stock.kernel.release)
}

/// Builds the image unless it is in the cache.
pub(crate) fn build(
    places: &Places,
    steps: &Steps,
    stock: &Stock,
    programs: &Programs,
    stock_modules: &[PathBuf],
) -> Result<Image> {
    let mut content = Content::default();
    for directory in ["dev", "proc", "sys", "tmp", "run", "mnt", "root", "var"] {
        content.add(directory, Entry::Directory);
    }
    // For process 1 before it has mounted /dev.
    content.add("dev/console", Entry::Device(5, 1));
    content.add("init", Entry::File(programs.init.clone(), 0o755));
    for entry in fs::read_dir(&programs.directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            content.add(&format!("usr/bin/{name}"), Entry::File(entry.path(), 0o755));
        }
    }
    content.add("bin/busybox", Entry::File(BUSYBOX.into(), 0o755));
    for applet in exec::output(Command::new(BUSYBOX).arg("--list-full"))?.lines() {
        // The kernel's kselftest runner asks GNU's timeout for what this one
        // does not know.
        let unfit = applet == "usr/bin/timeout";
        if !unfit && !content.0.contains_key(applet) {
            content.add(applet, Entry::Link("/bin/busybox".to_owned()));
        }
    }
    kselftest(&mut content, stock, programs)?;
    overlay(&mut content, &places.tree.join("qemu/overlay"))?;
    for file in stock_modules {
        let to = guest_path(stock, file);
        content.add(
            to.trim_start_matches('/'),
            Entry::Bytes(unpacked(file)?, 0o644),
        );
    }

    let key = content.key()?;
    let product = Product::new(
        places.cached("built").join(format!("image-{}", key.hex())),
        &key,
    );
    let file = product.path.join("initramfs.cpio");
    if product.is_ready() {
        steps.cached("guest image");
    } else {
        let step = steps.begin("guest image", Duration::from_secs(1));
        product.begin()?;
        let mut to = BufWriter::new(File::create(&file)?);
        content.write(&mut to)?;
        to.flush()?;
        product.finish()?;
        step.done();
    }
    Ok(Image { file })
}

impl Image {
    /// Writes this image with a module and a job behind it.
    pub(crate) fn with_job(&self, module: &Module, job: &Job, to: &Path) -> Result<()> {
        fs::copy(&self.file, to).with_context(|| format!("writing {}", to.display()))?;
        let file = fs::OpenOptions::new().append(true).open(to)?;
        let mut content = Content::default();
        let bytes = serde_json::to_vec_pretty(job)?;
        content.add(
            job::PATH.trim_start_matches('/'),
            Entry::Bytes(bytes, 0o644),
        );
        content.add(
            job::MODULE.trim_start_matches('/'),
            Entry::File(module.file.clone(), 0o644),
        );
        content.write(BufWriter::new(file))
    }
}

/// The suites as the kernel's own runner expects them, and that runner.
fn kselftest(content: &mut Content, stock: &Stock, programs: &Programs) -> Result<()> {
    let own = stock.kernel.source.join("tools/testing/selftests");
    for file in [
        "run_kselftest.sh",
        "kselftest/runner.sh",
        "kselftest/ktap_helpers.sh",
    ] {
        content.add(
            &format!("{KSELFTEST}/{file}"),
            Entry::File(own.join(file), 0o755),
        );
    }
    let collection = Collection::of(programs)?;
    for (path, text, program) in collection.files() {
        let mode = if program { 0o755 } else { 0o644 };
        content.add(
            &format!("{KSELFTEST}/{path}"),
            Entry::Bytes(text.into_bytes(), mode),
        );
    }
    let list = collection.entries.join("\n") + "\n";
    content.add(
        &format!("{KSELFTEST}/kselftest-list.txt"),
        Entry::Bytes(list.into_bytes(), 0o644),
    );
    let command = format!("{KSELFTEST}/{}", Collection::command());
    content.add(&command, Entry::Link("/usr/bin/userdma".to_owned()));
    Ok(())
}

fn overlay(content: &mut Content, from: &Path) -> Result<()> {
    for entry in WalkDir::new(from).sort_by_file_name() {
        let entry = entry.with_context(|| format!("looking through {}", from.display()))?;
        let path = entry
            .path()
            .strip_prefix(from)?
            .to_string_lossy()
            .into_owned();
        if entry.file_type().is_file() {
            let mode = entry.metadata()?.permissions().mode() & 0o111 | 0o644;
            content.add(&path, Entry::File(entry.path().to_owned(), mode));
        }
    }
    Ok(())
}

/// A module file without its compression: decompressing in the emulated guest
/// costs more than the bytes.
fn unpacked(file: &Path) -> Result<Vec<u8>> {
    let tool = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xzcat",
        Some("zst") => "zstdcat",
        _ => "cat",
    };
    let out = Command::new(tool)
        .arg(file)
        .output()
        .with_context(|| format!("starting {tool}"))?;
    anyhow::ensure!(out.status.success(), "{tool} {} failed", file.display());
    Ok(out.stdout)
}

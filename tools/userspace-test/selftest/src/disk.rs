// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The guest's disks.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{mount, umount2, MntFlags, MsFlags};

use crate::outcome::Outcome;

/// The serial number of the disk that tests may overwrite.
const SCRATCH: &str = "userdma-scratch";
/// That of a disk with an ext4 file system.
const FILES: &str = "userdma-files";

/// The disk with a serial number.
fn disk(serial: &str) -> Outcome<PathBuf> {
    for entry in fs::read_dir("/sys/block")?.flatten() {
        for file in ["serial", "device/serial"] {
            let text = fs::read_to_string(entry.path().join(file)).unwrap_or_default();
            if text.trim() == serial {
                return Ok(Path::new("/dev").join(entry.file_name()));
            }
        }
    }
    skip!("needs a disk with the serial number '{serial}' (virtio-blk, and its driver loaded)")
}

/// The disk that tests may overwrite.
pub(crate) fn scratch() -> Outcome<PathBuf> {
    disk(SCRATCH)
}

/// A mounted file system that goes with its owner.
#[derive(Debug)]
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// Its root.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}

/// Mounts the disk with files, in a directory of this name.
pub(crate) fn mount_files(name: &str) -> Outcome<Mounted> {
    let disk = disk(FILES)?;
    let path = std::env::temp_dir().join(format!("userdma-selftest-{name}"));
    fs::create_dir_all(&path)?;
    let none: Option<&str> = None;
    if let Err(error) = mount(Some(&disk), &path, Some("ext4"), MsFlags::empty(), none) {
        skip!("cannot mount {} as ext4: {error}", disk.display());
    }
    Ok(Mounted(path))
}

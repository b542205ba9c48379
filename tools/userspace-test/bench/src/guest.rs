// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The guest's cards and modules.

use std::ffi::CString;
use std::fs;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use crate::card::Card;

/// The card that is measured.
pub(crate) const NODE: &str = "/dev/userdma0";
/// The vendor of the cards, and their kinds.
const VENDOR: u16 = 0x1234;
pub(crate) const EDU: u16 = 0x11e8;
pub(crate) const EDU_DAQ: u16 = 0x11e9;
/// More nodes than there are.
const NODES: u32 = 8;
/// Where the laboratory puts the module.
const MODULE: &str = "/lib/modules/userdma.ko";
const PCI: &str = "/sys/bus/pci";

/// How long a node may take to come.
const NODE_WAIT: Duration = Duration::from_secs(5);

/// The first node of a card with this backend.
pub(crate) fn node_of(backend: &str) -> Result<PathBuf> {
    for number in 0..NODES {
        let node = PathBuf::from(format!("/dev/userdma{number}"));
        if node.exists() && Card::open(&node)?.backend()? == backend {
            return Ok(node);
        }
    }
    bail!("there is no {backend}")
}

/// The places on the bus of all cards of a kind, whatever driver they have.
pub(crate) fn cards(kind: u16) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(Path::new(PCI).join("devices"))? {
        let entry = entry?;
        let is = |file: &str, number: u16| -> Result<bool> {
            let text = fs::read_to_string(entry.path().join(file))?;
            Ok(text.trim() == format!("{number:#06x}"))
        };
        if is("vendor", VENDOR)? && is("device", kind)? {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Gives a card to another driver, which takes it at once.
pub(crate) fn rebind(bus_name: &str, driver: &str) -> Result<()> {
    let device = Path::new(PCI).join("devices").join(bus_name);
    write(&device.join("driver_override"), driver)?;
    if device.join("driver").exists() {
        write(&device.join("driver/unbind"), bus_name)?;
    }
    write(&Path::new(PCI).join("drivers_probe"), bus_name)?;
    let now = fs::read_link(device.join("driver")).unwrap_or_default();
    if now.file_name().is_none_or(|name| name != driver) {
        bail!(
            "{driver} has not taken {bus_name}; its driver is {}",
            now.display()
        );
    }
    Ok(())
}

/// The number of a card's IOMMU group.
pub(crate) fn iommu_group(bus_name: &str) -> Result<String> {
    let link = Path::new(PCI)
        .join("devices")
        .join(bus_name)
        .join("iommu_group");
    let group = fs::read_link(&link).with_context(|| format!("reading {}", link.display()))?;
    let name = group.file_name().context("an IOMMU group has a number")?;
    Ok(name.to_string_lossy().into_owned())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {text} to {}", path.display()))
}

/// Takes the module out. A file of a ring that is gone is closed a little later.
fn unload() -> Result<()> {
    let deadline = Instant::now() + NODE_WAIT;
    loop {
        // SAFETY: the name is a string of ours.
        let result = unsafe {
            libc::syscall(
                libc::SYS_delete_module,
                c"userdma".as_ptr(),
                libc::O_NONBLOCK,
            )
        };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::WouldBlock || Instant::now() > deadline {
            return Err(error).context("unloading userdma");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Loads the module anew, with other parameters. Nobody may have a node open.
pub(crate) fn reload(parameters: &str) -> Result<()> {
    unload()?;
    let file = File::open(MODULE).with_context(|| format!("opening {MODULE}"))?;
    let text = CString::new(parameters)?;
    // SAFETY: the text is a string of ours.
    let result =
        unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), text.as_ptr(), 0) };
    if result != 0 {
        return Err(io::Error::last_os_error())
            .with_context(|| format!("loading userdma {parameters}"));
    }
    let deadline = Instant::now() + NODE_WAIT;
    while !PathBuf::from(NODE).exists() {
        if Instant::now() > deadline {
            bail!("{NODE} is not there after {NODE_WAIT:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

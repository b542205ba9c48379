// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The guest: its cards, the module, the driver's counters, as sysfs, procfs
//! and debugfs show them.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::device::Device;
use crate::outcome::Outcome;
use crate::raw;

const CLASS: &str = "/sys/class/misc";
const DEVICES: &str = "/sys/bus/pci/devices";
const DRIVERS: &str = "/sys/bus/pci/drivers";
const DEBUGFS: &str = "/sys/kernel/debug/userdma";
const MODULE: &str = "/sys/module/userdma";
/// In the command register of a PCI device.
const BUS_MASTER: u8 = 1 << 2;
/// Where the register with that bit is.
const COMMAND: u64 = 4;

/// Counters by name.
pub(crate) type Counters = BTreeMap<String, String>;

/// A card that the driver is bound to, as it was when it was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Card {
    /// N of /dev/userdmaN.
    pub(crate) node: u32,
    /// /dev/userdmaN.
    pub(crate) path: PathBuf,
    /// Its name on the PCI bus.
    pub(crate) bus: String,
}

/// All cards that are bound, by node number.
pub(crate) fn cards() -> io::Result<Vec<Card>> {
    let mut cards = Vec::new();
    for entry in fs::read_dir(CLASS)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(node) = name.strip_prefix("userdma").and_then(|n| n.parse().ok()) else {
            continue;
        };
        // A node that goes while we look is no card.
        let Ok(device) = fs::canonicalize(entry.path().join("device")) else {
            continue;
        };
        let bus = device.file_name().unwrap_or_default();
        cards.push(Card {
            node,
            path: Path::new("/dev").join(&name),
            bus: bus.to_string_lossy().into_owned(),
        });
    }
    cards.sort_by_key(|card| card.node);
    Ok(cards)
}

impl Card {
    /// Its directory under sysfs.
    pub(crate) fn sysfs(&self) -> PathBuf {
        Path::new(DEVICES).join(&self.bus)
    }

    /// The card as it is now, with its present node.
    pub(crate) fn again(&self) -> Outcome<Option<Self>> {
        Ok(cards()?.into_iter().find(|card| card.bus == self.bus))
    }

    /// Takes the driver off the card.
    pub(crate) fn unbind(&self) -> io::Result<()> {
        fs::write(driver()?.join("unbind"), &self.bus)
    }

    /// Gives the card to the driver.
    pub(crate) fn bind_only(&self) -> io::Result<()> {
        fs::write(driver()?.join("bind"), &self.bus)
    }

    /// Gives the card to the driver; the card with its new node.
    pub(crate) fn bind(&self) -> Outcome<Self> {
        self.bind_only()?;
        match self.again()? {
            Some(card) => Ok(card),
            None => fail!("{} was bound and has no node", self.bus),
        }
    }

    /// Whether the card may write to memory, by its own register.
    pub(crate) fn is_bus_master(&self) -> io::Result<bool> {
        let config = fs::read(self.sysfs().join("config"))?;
        Ok(config.get(4).is_some_and(|byte| byte & BUS_MASTER != 0))
    }

    /// Lets it reach memory or cuts it off, behind the driver's back.
    pub(crate) fn set_bus_master(&self, on: bool) -> io::Result<()> {
        let path = self.sysfs().join("config");
        let config = fs::OpenOptions::new().read(true).write(true).open(path)?;
        let mut byte = [0];
        config.read_exact_at(&mut byte, COMMAND)?;
        let byte = if on {
            byte[0] | BUS_MASTER
        } else {
            byte[0] & !BUS_MASTER
        };
        config.write_all_at(&[byte], COMMAND)
    }

    /// Whether a transfer may begin at the last byte of a page. Not behind QEMU's
    /// virtio-iommu: for that byte it may find the mapping of the next page, and
    /// then the card reads or writes a byte that is somebody else's.
    pub(crate) fn reaches_last_bytes(&self) -> bool {
        let iommu = fs::canonicalize(self.sysfs().join("iommu")).unwrap_or_default();
        !iommu.to_string_lossy().contains("/virtio")
    }

    /// The driver's counters of this card.
    pub(crate) fn stats(&self) -> Outcome<Counters> {
        let path = Path::new(DEBUGFS).join(&self.bus).join("stats");
        Ok(parse_counters(&fs::read_to_string(path)?))
    }

    /// One counter.
    pub(crate) fn counter(&self, key: &str) -> Outcome<u64> {
        number(&self.stats()?, key)
    }
}

/// The driver's directory under sysfs.
fn driver() -> io::Result<PathBuf> {
    // The driver's name is the module's, or as the bus shows it.
    for entry in fs::read_dir(DRIVERS)? {
        let path = entry?.path();
        let module = fs::canonicalize(path.join("module")).unwrap_or_default();
        if module.ends_with("module/userdma") {
            return Ok(path);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        "no PCI driver of the module userdma is registered",
    ))
}

/// Whether the driver's counters can be read.
pub(crate) fn has_debugfs() -> bool {
    Path::new(DEBUGFS).is_dir()
}

/// Parses "key: value" lines.
pub(crate) fn parse_counters(text: &str) -> Counters {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

/// The number at the beginning of one counter's value.
pub(crate) fn number(counters: &Counters, key: &str) -> Outcome<u64> {
    let Some(value) = counters.get(key) else {
        let known: Vec<_> = counters.keys().map(String::as_str).collect();
        fail!("no counter '{key}' among {}", known.join(", "));
    };
    let digits = value.split(' ').next().unwrap_or_default();
    Ok(digits.parse()?)
}

/// The driver's lines of /proc/self/fdinfo, without their prefix.
pub(crate) fn fdinfo(fd: &impl AsFd) -> Outcome<Counters> {
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let all = parse_counters(&fs::read_to_string(path)?);
    Ok(all
        .into_iter()
        .filter_map(|(key, value)| Some((key.strip_prefix("userdma-")?.to_owned(), value)))
        .collect())
}

/// One line of /proc/meminfo, in KiB.
pub(crate) fn meminfo(key: &str) -> Outcome<u64> {
    number(&parse_counters(&fs::read_to_string("/proc/meminfo")?), key)
}

/// One line of /proc/vmstat.
pub(crate) fn vmstat(key: &str) -> Outcome<u64> {
    // Brings together what each CPU has counted for itself, where that is allowed.
    let _ = fs::read("/proc/sys/vm/stat_refresh");
    let text = fs::read_to_string("/proc/vmstat")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    match line {
        Some(value) => Ok(value.parse()?),
        None => fail!("no '{key}' in /proc/vmstat"),
    }
}

/// The module's file: as told, or where a guest has it.
pub(crate) fn module_file(told: Option<&Path>) -> Option<PathBuf> {
    if let Some(path) = told {
        return path.is_file().then(|| path.to_owned());
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let tree = Path::new("/lib/modules").join(release.trim());
    let places = [
        PathBuf::from("/lib/modules"),
        tree.clone(),
        tree.join("updates"),
        tree.join("extra"),
        PathBuf::from("/"),
    ];
    places
        .iter()
        .map(|place| place.join("userdma.ko"))
        .find(|path| path.is_file())
}

/// The parameters that the module was loaded with, as far as INFO of a card
/// tells them: the kernel does not show those of a Rust module.
pub(crate) fn module_parameters(card: &Card) -> Outcome<Vec<(String, String)>> {
    let info = Device::open(&card.path)?.info()?;
    let mut parameters = vec![
        ("dma_mask_bits", u64::from(info.out_dma_mask.count_ones())),
        ("timeout_ms", info.out_timeout_ns / 1_000_000),
        ("direct_min_bytes", info.out_direct_min),
    ];
    // The default is a part of the machine's memory, hardly whole MiB.
    for (name, limit) in [
        ("limit_file_mib", info.out_limit_file),
        ("limit_user_mib", info.out_limit_user),
        ("limit_total_mib", info.out_limit_total),
    ] {
        if limit % (1 << 20) == 0 {
            parameters.push((name, limit >> 20));
        }
    }
    Ok(parameters
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_string()))
        .collect())
}

/// Loads the module with parameters such as `[("timeout_ms", "100")]`.
pub(crate) fn load(file: &Path, parameters: &[(String, String)]) -> Outcome {
    let words: Vec<_> = parameters.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let words = CString::new(words.join(" "))?;
    Ok(raw::load_module(&fs::File::open(file)?, &words)?)
}

/// Unloads the module without waiting.
pub(crate) fn unload() -> raw::Sys<()> {
    raw::delete_module(c"userdma")
}

/// Whether the module is loaded.
pub(crate) fn is_loaded() -> bool {
    Path::new(MODULE).is_dir()
}

/// Whether this is the laboratory's debug kernel.
pub(crate) fn debug_kernel() -> bool {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .is_ok_and(|release| release.trim().ends_with("-userdma-debug"))
}

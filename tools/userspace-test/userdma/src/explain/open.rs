// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Why a device could not be found or opened.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::io::Errno;

use super::general;
use crate::ErrorKind;
use crate::Explanation;

/// What the machine knows about the module and the cards that it would drive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Machine {
    /// The module is in the kernel.
    loaded: bool,
    /// Bus names of cards that a backend knows, with the driver they have.
    cards: Vec<(String, Option<String>)>,
}

/// PCI vendor and device of the cards that have a backend.
const CARDS: [(&str, &str, &str); 1] = [("0x1234", "0x11e8", "QEMU's edu")];

impl Machine {
    fn look() -> Self {
        let id = |path: &Path, name: &str| {
            fs::read_to_string(path.join(name)).map_or(String::new(), |text| text.trim().to_owned())
        };
        let cards = fs::read_dir("/sys/bus/pci/devices")
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| {
                let (vendor, device) = (id(&entry.path(), "vendor"), id(&entry.path(), "device"));
                CARDS
                    .iter()
                    .any(|card| vendor == card.0 && device == card.1)
            })
            .map(|entry| {
                let driver = fs::read_link(entry.path().join("driver")).ok();
                let driver = driver.as_deref().and_then(Path::file_name);
                (
                    entry.file_name().to_string_lossy().into_owned(),
                    driver.map(|name| name.to_string_lossy().into_owned()),
                )
            })
            .collect();
        Self {
            loaded: Path::new("/sys/module/userdma").exists(),
            cards,
        }
    }
}

/// Explains why there is no device at all.
pub(crate) fn no_device() -> Explanation {
    missing(&Machine::look())
}

/// Explains why the node at `path` could not be opened.
pub(crate) fn open(path: &Path, errno: Errno) -> Explanation {
    match errno {
        Errno::NOENT => {
            let others = crate::enumerate();
            if others.is_empty() {
                return no_device();
            }
            let names: Vec<_> = others
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            Explanation::new(ErrorKind::NoDevice, "there is no such node")
                .advise(format!("one of those that exist: {}", names.join(", ")))
        }
        Errno::ACCESS | Errno::PERM => permission(path),
        Errno::NODEV | Errno::NXIO => Explanation::new(
            ErrorKind::NoDevice,
            "the node exists, but no card stands behind it",
        )
        .advise("look which nodes are alive: ls -l /dev/userdma* /sys/class/misc"),
        Errno::ISDIR | Errno::NOTDIR => {
            Explanation::new(ErrorKind::InvalidInput, "it is not a device node")
        }
        _ => general(errno),
    }
}

/// Explains that something other than a userdma node was opened.
pub(crate) fn not_a_node(path: &Path) -> Explanation {
    let kind = match fs::metadata(path) {
        Ok(metadata) if metadata.file_type().is_char_device() => "it is the node of another driver",
        _ => "it is not a device node",
    };
    Explanation::new(ErrorKind::InvalidInput, kind).advise("list userdma's nodes: ls /dev/userdma*")
}

fn permission(path: &Path) -> Explanation {
    let explanation = Explanation::new(ErrorKind::Permission, "this user may not open it");
    let explanation = match fs::metadata(path) {
        Ok(metadata) => explanation.limit(format!(
            "its mode is {:04o}, its owner is uid {} and gid {}",
            metadata.mode() & 0o7777,
            metadata.uid(),
            metadata.gid()
        )),
        Err(_) => explanation,
    };
    explanation
        .advise("install samples/99-userdma.rules in /etc/udev/rules.d, then: udevadm trigger")
        .advise("join the group that it names, then log in again: adduser $USER userdma")
        .advise("or run as root")
}

fn missing(machine: &Machine) -> Explanation {
    let explanation = |why: &str| Explanation::new(ErrorKind::NoDevice, why);
    match (machine.loaded, machine.cards.first()) {
        (false, None) => {
            explanation("the module is not loaded, and this machine has no card that it knows")
                .advise("load it: modprobe userdma, or insmod userdma.ko")
                .advise("in QEMU: add -device edu to the command line")
        }
        (false, Some((bus_name, _))) => explanation(&format!(
            "the module is not loaded (a card is there: {bus_name})"
        ))
        .advise("load it: modprobe userdma, or insmod userdma.ko"),
        (true, None) => {
            explanation("the module is loaded, but this machine has no card that it knows")
                .limit(
                    CARDS
                        .map(|(vendor, device, name)| {
                            format!("it knows {vendor}:{device} ({name})")
                        })
                        .join(", "),
                )
                .advise("look for the card: lspci -nn")
                .advise("in QEMU: add -device edu to the command line")
        }
        (true, Some((bus_name, Some(driver)))) if driver != "userdma" => explanation(&format!(
            "the card at {bus_name} belongs to the driver {driver}"
        ))
        .advise(format!(
            "echo {bus_name} > /sys/bus/pci/drivers/{driver}/unbind"
        ))
        .advise(format!(
            "echo {bus_name} > /sys/bus/pci/drivers/userdma/bind"
        )),
        (true, Some((bus_name, None))) => explanation(&format!(
            "the card at {bus_name} is not bound: it was unbound, or the driver refused it"
        ))
        .advise("look why: dmesg | grep userdma")
        .advise(format!(
            "echo {bus_name} > /sys/bus/pci/drivers/userdma/bind"
        )),
        (true, Some((bus_name, Some(_)))) => explanation(&format!(
            "the card at {bus_name} is bound, but /dev has no node for it"
        ))
        .advise("mount devtmpfs on /dev, or see that udev runs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(driver: Option<&str>) -> Vec<(String, Option<String>)> {
        vec![("0000:00:04.0".to_owned(), driver.map(str::to_owned))]
    }

    #[test]
    fn says_what_is_missing() {
        for (loaded, cards, why) in [
            (false, Vec::new(), "no card that it knows"),
            (
                false,
                card(None),
                "not loaded (a card is there: 0000:00:04.0)",
            ),
            (true, Vec::new(), "module is loaded, but"),
            (
                true,
                card(Some("vfio-pci")),
                "belongs to the driver vfio-pci",
            ),
            (true, card(None), "is not bound"),
            (true, card(Some("userdma")), "/dev has no node"),
        ] {
            let told = missing(&Machine { loaded, cards });
            assert_eq!(told.kind, ErrorKind::NoDevice);
            assert!(told.why.contains(why), "{} lacks {why}", told.why);
            assert!(!told.advice.is_empty());
        }
    }

    #[test]
    fn permission_says_mode_and_rule() {
        let told = open(Path::new("/dev/null"), Errno::ACCESS);
        assert_eq!(told.kind, ErrorKind::Permission);
        assert!(told.limit.is_some_and(|limit| limit.contains("0666")));
        assert!(told.advice[0].contains("99-userdma.rules"));
    }

    #[test]
    fn another_drivers_node_is_told() {
        assert!(not_a_node(Path::new("/dev/null"))
            .why
            .contains("another driver"));
        assert!(not_a_node(Path::new("/")).why.contains("not a device node"));
    }
}

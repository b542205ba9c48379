// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The peer: UIO, with the kernel's driver for any card that has a line interrupt.

use std::fs;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use crate::guest;
use crate::registers::Registers;

const DRIVER: &str = "uio_pci_generic";

/// A card of QEMU's: raises its interrupt, takes it back.
pub(crate) const RAISE: usize = 0x60;
const ACKNOWLEDGE: usize = 0x64;

const CARDS: &str = "/sys/bus/pci/devices";

/// In the configuration of a card: the command; memory and bus may be used, and
/// the line.
const PLACE: u64 = 4;
const COMMAND: u16 = (1 << 1) | (1 << 2);

/// edu, with UIO.
#[derive(Debug)]
pub(crate) struct Uio {
    file: File,
    config: File,
    pub(crate) registers: Arc<Registers>,
}

impl Uio {
    /// Takes a card away from its driver.
    pub(crate) fn take(bus_name: &str) -> Result<Self> {
        guest::rebind(bus_name, DRIVER)?;
        let directory = Path::new(CARDS).join(bus_name).join("uio");
        let entry = fs::read_dir(&directory)?.next();
        let name = entry.context("UIO made no device")??.file_name();
        let open = |path: PathBuf| {
            let file = File::options().read(true).write(true).open(&path);
            file.with_context(|| format!("opening {}", path.display()))
        };
        let card = Path::new(CARDS).join(bus_name);
        Ok(Self {
            file: open(Path::new("/dev").join(name))?,
            config: open(card.join("config"))?,
            registers: Arc::new(Registers::of_card(bus_name)?),
        })
    }

    /// Sleeps until there is an interrupt, which the driver then masks.
    pub(crate) fn wait(&self) -> Result<()> {
        let mut count = [0; 4];
        let length = rustix::io::read(self.file.as_fd(), &mut count)?;
        ensure!(length == count.len(), "UIO gave {length} bytes");
        Ok(())
    }

    /// Acknowledges it.
    pub(crate) fn acknowledge(&self) {
        self.registers.write(ACKNOWLEDGE, 1);
    }

    /// Unmasks it: the driver leaves that to the program, which does it in the card's
    /// configuration.
    pub(crate) fn unmask(&self) -> Result<()> {
        self.config.write_all_at(&COMMAND.to_le_bytes(), PLACE)?;
        Ok(())
    }
}

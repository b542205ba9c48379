// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kernels: Debian's stock kernel, and the debug kernel that is built here
//! from Debian's source. The module is built for each of them.

pub(crate) mod debug;
pub(crate) mod stock;

use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

/// The stock compiler's name is part of Debian's kernel configuration.
pub(crate) const CC: &str = "x86_64-linux-gnu-gcc-14";
/// The compiler of the programs that run during a build with it.
pub(crate) const HOSTCC: &str = "gcc-14";
/// KASAN and Rust together take clang: `make LLVM=-19`.
const LLVM: &str = "-19";

const RETRY: &str = "run the same command again: it starts this step anew; \
                     if that fails too, `make distclean` and again";

/// Which of the kernels.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Flavour {
    /// Debian's own.
    Stock,
    /// With every check that a kernel has.
    Debug,
}

impl Flavour {
    /// What stands behind names of what belongs to it.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Stock => "",
            Self::Debug => "-debug",
        }
    }
}

/// A kernel to boot and to build modules for.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) flavour: Flavour,
    /// What `uname -r` says there.
    pub(crate) release: String,
    /// What it was made of; part of the keys of what is built for it.
    pub(crate) version: String,
    /// The image to boot.
    pub(crate) image: PathBuf,
    /// Its source.
    pub(crate) source: PathBuf,
    /// The build tree for modules (`O=`).
    pub(crate) build: PathBuf,
}

impl Kernel {
    /// For people.
    pub(crate) fn describe(&self) -> String {
        let what = match self.flavour {
            Flavour::Stock => "Debian's stock kernel",
            Flavour::Debug => "the debug kernel",
        };
        format!("{what} {}, version {}", self.release, self.version)
    }

    /// `make` in the kernel's source, for its build tree.
    pub(crate) fn make(&self) -> Command {
        let mut command = Command::new("make");
        command
            .arg("-C")
            .arg(&self.source)
            .arg(format!("O={}", self.build.display()))
            .arg(format!("-j{}", jobs()))
            // The flags of the make that started us are not for the kernel.
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL");
        match self.flavour {
            Flavour::Stock => command
                .arg(format!("CC={CC}"))
                .arg(format!("HOSTCC={HOSTCC}")),
            Flavour::Debug => command.arg(format!("LLVM={LLVM}")),
        };
        command
    }
}

/// How many compilers at once.
pub(crate) fn jobs() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

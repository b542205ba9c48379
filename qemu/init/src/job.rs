// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The order that a guest carries out, as JSON in its initramfs.

use serde::Deserialize;
use serde::Serialize;

/// Where the job lies in the guest.
pub const PATH: &str = "/etc/userdma/job.json";

/// Where the module lies in the guest, for tests that load it themselves.
pub const MODULE: &str = "/lib/modules/userdma.ko";

/// All that one boot of a guest does.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Job {
    /// Stock kernel modules to load first, by path, in this order.
    pub stock_modules: Vec<String>,
    /// Whether to load `userdma.ko`.
    pub load: bool,
    /// Its parameters, as on `insmod`'s command line.
    pub parameters: String,
    /// How many device nodes must be there after loading.
    pub devices: u32,
    /// What to run, in this order.
    pub work: Vec<Work>,
    /// Whether to judge what the run leaves behind.
    pub gates: bool,
    /// Whether kmemleak is among them: this kernel has it.
    pub kmemleak: bool,
    /// Whether loading the module runs KUnit suites.
    pub kunit: bool,
    /// Whether there is a channel to ask the laboratory: see [`crate::lab`].
    pub lab: bool,
    /// Give the console to a shell, after the work.
    pub shell: Option<Shell>,
}

/// One program to run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Work {
    /// The name of the test that this is.
    pub name: String,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// How to judge it.
    pub judge: Judge,
    /// After so many seconds it is killed and has failed.
    pub seconds: u64,
}

/// How a program's run becomes a test result.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judge {
    /// It prints KTAP: its tests become subtests, and it must exit with 0.
    Ktap,
    /// By exit status, and by what its output (both streams) says.
    Output {
        /// The exit status that it must end with.
        exit: i32,
        /// Regular expressions that must each match somewhere.
        says: Vec<String>,
    },
}

/// The terminal of an interactive guest.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Shell {
    /// Terminal type.
    pub term: String,
    /// Lines of the host's terminal.
    pub rows: u16,
    /// Columns of the host's terminal.
    pub columns: u16,
}

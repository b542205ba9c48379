// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `guests.toml` and `suites.toml`: what a reader of those files sees, as types.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;

use crate::kernel::Flavour;
use crate::models;

/// A machine to boot.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Guest {
    pub(crate) what: String,
    pub(crate) memory: String,
    #[serde(default = "two")]
    pub(crate) cpus: u32,
    #[serde(default = "q35")]
    pub(crate) machine: String,
    #[serde(default)]
    pub(crate) cards: Vec<String>,
    #[serde(default)]
    pub(crate) devices: Vec<String>,
    #[serde(default)]
    pub(crate) kernel: String,
    #[serde(default)]
    pub(crate) parameters: String,
    #[serde(default)]
    pub(crate) modules: Vec<String>,
    #[serde(default)]
    pub(crate) disks: Vec<Disk>,
    #[serde(default)]
    pub(crate) acpi: bool,
    #[serde(default)]
    pub(crate) hotplug: bool,
    #[serde(default)]
    pub(crate) icount: Option<String>,
    #[serde(default = "all_features")]
    pub(crate) processor: String,
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
}

/// A virtio disk.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disk {
    pub(crate) size: String,
    pub(crate) serial: String,
    #[serde(default)]
    pub(crate) ext4: bool,
}

/// A set of tests and where they run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    pub(crate) what: String,
    #[serde(default)]
    pub(crate) guests: Vec<String>,
    #[serde(default)]
    pub(crate) debug: Vec<String>,
    #[serde(default)]
    pub(crate) tests: Vec<String>,
    #[serde(default)]
    pub(crate) skip: Vec<String>,
    #[serde(default = "one")]
    pub(crate) scale: u32,
    #[serde(default)]
    pub(crate) at_least: usize,
    #[serde(default)]
    pub(crate) programs: Vec<Program>,
    #[serde(with = "humantime_serde")]
    pub(crate) timeout: Duration,
    #[serde(default)]
    pub(crate) soak: bool,
}

/// A command of a suite.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) run: String,
    #[serde(default)]
    pub(crate) exit: i32,
    #[serde(default)]
    pub(crate) says: Vec<String>,
}

fn one() -> u32 {
    1
}

fn two() -> u32 {
    2
}

fn q35() -> String {
    "q35".to_owned()
}

fn all_features() -> String {
    "max".to_owned()
}

/// Both files.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) guests: BTreeMap<String, Guest>,
    pub(crate) suites: BTreeMap<String, Suite>,
}

impl Config {
    /// Reads the files of the tree and checks that they fit each other.
    pub(crate) fn read(tree: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = tree.join("qemu").join(name);
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        Self::parse(&read("guests.toml")?, &read("suites.toml")?)
    }

    fn parse(guests: &str, suites: &str) -> Result<Self> {
        let config = Self {
            guests: toml::from_str(guests).context("qemu/guests.toml")?,
            suites: toml::from_str(suites).context("qemu/suites.toml")?,
        };
        for (name, suite) in &config.suites {
            let nowhere = suite.guests.is_empty() && suite.debug.is_empty();
            if nowhere || (suite.tests.is_empty() && suite.programs.is_empty()) {
                bail!("qemu/suites.toml: suite \"{name}\" runs nothing");
            }
            if !suite.tests.is_empty() && suite.at_least == 0 {
                bail!("qemu/suites.toml: suite \"{name}\" has tests and no at_least: none could run and it would pass");
            }
            for guest in suite.guests.iter().chain(&suite.debug) {
                config
                    .guest(guest)
                    .with_context(|| format!("suite \"{name}\""))?;
            }
        }
        Ok(config)
    }

    /// A guest by name.
    pub(crate) fn guest(&self, name: &str) -> Result<&Guest> {
        self.guests.get(name).with_context(|| {
            format!(
                "no guest \"{name}\" in qemu/guests.toml; there are: {}",
                keys(&self.guests)
            )
        })
    }

    /// A suite by name.
    pub(crate) fn suite(&self, name: &str) -> Result<&Suite> {
        self.suites.get(name).with_context(|| {
            format!(
                "no suite \"{name}\" in qemu/suites.toml; there are: {}",
                keys(&self.suites)
            )
        })
    }

    /// Whether one of these guests has a model among its cards.
    pub(crate) fn need_models<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<bool> {
        let mut models = false;
        for name in names {
            models |= self.guest(name)?.has_models();
        }
        Ok(models)
    }

    /// Every stock module that some guest loads.
    pub(crate) fn stock_modules(&self) -> Vec<String> {
        let mut all: Vec<String> = self
            .guests
            .values()
            .flat_map(|guest| guest.modules.clone())
            .collect();
        all.sort();
        all.dedup();
        all
    }
}

impl Guest {
    /// Whether a model is among its cards.
    pub(crate) fn has_models(&self) -> bool {
        self.cards.iter().any(|card| models::name(card).is_some())
    }

    /// Whether its programs have a channel to the laboratory.
    pub(crate) fn asks(&self) -> bool {
        self.hotplug || self.has_models()
    }

    /// The guest with `card` in the place of all its cards.
    pub(crate) fn with_card(&self, card: &str) -> Self {
        Self {
            cards: vec![card.to_owned()],
            ..self.clone()
        }
    }
}

impl Suite {
    /// Its guests, each with the kernel that boots there.
    pub(crate) fn places(&self) -> impl Iterator<Item = (Flavour, &str)> {
        let stock = self.guests.iter().map(|name| (Flavour::Stock, &**name));
        stock.chain(self.debug.iter().map(|name| (Flavour::Debug, &**name)))
    }
}

fn keys<T>(map: &BTreeMap<String, T>) -> String {
    map.keys()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_this_tree_are_sound() -> Result<()> {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let config = Config::read(&tree)?;
        for name in ["mask28", "lowmem", "cards4", "cards4-iommu", "hotplug"] {
            assert!(!config.guest(name)?.has_models());
        }
        for name in [
            "stock",
            "stock-iommu",
            "daq",
            "daq-iommu",
            "daq-hotplug",
            "template",
        ] {
            assert!(config.guest(name)?.has_models());
        }
        assert!(config.need_models(["mask28", "daq"])?);
        assert!(!config.need_models(["mask28", "cards4"])?);
        assert!(config.suites.values().any(|suite| !suite.soak));
        Ok(())
    }

    #[test]
    fn a_suite_names_guests_that_exist() {
        let guests = "[a]\nwhat = \"x\"\nmemory = \"1G\"\n";
        let suite = |guest: &str| {
            format!("[s]\nwhat = \"x\"\nguests = [\"{guest}\"]\ntests = [\"*\"]\nat_least = 1\ntimeout = \"1m\"\n")
        };
        assert!(Config::parse(guests, &suite("a")).is_ok());
        let error = Config::parse(guests, &suite("b")).expect_err("no such guest");
        assert!(format!("{error:#}").contains("there are: a"));
    }

    #[test]
    fn another_card_takes_the_place_of_all() -> Result<()> {
        let text = "what = \"\"\nmemory = \"1G\"\ncards = [\"edu\", \"edu\"]\n";
        let guest: Guest = toml::from_str(text)?;
        assert!(!guest.asks());
        let other = guest.with_card("edu-daq");
        assert_eq!(other.cards, ["edu-daq"]);
        assert!(other.has_models() && other.asks());
        Ok(())
    }

    #[test]
    fn a_misspelt_field_is_an_error() {
        assert!(Config::parse("[a]\nwhat = \"x\"\nmemory = \"1G\"\nkernal = \"\"\n", "").is_err());
    }

    #[test]
    fn tests_without_a_least_count_are_refused() {
        let guests = "[a]\nwhat = \"x\"\nmemory = \"1G\"\n";
        let suites = "[s]\nwhat = \"x\"\nguests = [\"a\"]\ntests = [\"*\"]\ntimeout = \"1m\"\n";
        assert!(Config::parse(guests, suites).is_err());
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Builds and boots mutants, beside the ordinary builds and not in their way.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use userdma_init::job::Job;
use userdma_init::job::Judge;
use userdma_init::job::Work;
use walkdir::WalkDir;

use crate::cache::Places;
use crate::config::Config;
use crate::guest;
use crate::guest::slower;
use crate::guest::Report;
use crate::guest::Run;
use crate::kernel::Flavour;
use crate::module;
use crate::mutants::list::Mutant;
use crate::prepare::Pair;
use crate::prepare::Prepared;
use crate::step::Steps;

/// What the module is built of.
const SOURCES: [&str; 3] = ["Kbuild", "include", "rust"];

/// How long all tests of one boot may take, on the stock kernel. A mutant may hang.
const SECONDS: u64 = 240;

/// The same random numbers each time: a mutant is caught or it is not.
const SEED: &str = "1";

/// Where mutants are made.
#[derive(Debug)]
pub(crate) struct Workshop<'a> {
    /// The copy of the tree, and a cache of its own.
    pub(crate) places: Places,
    pub(crate) original: &'a Places,
    pub(crate) config: &'a Config,
    pub(crate) steps: &'a Steps,
    pub(crate) prepared: &'a Prepared,
    /// The kernels, with the module as it is.
    pub(crate) sound: &'a BTreeMap<Flavour, Pair>,
    pub(crate) run: Run,
}

/// A boot to come.
#[derive(Debug)]
pub(crate) struct Boot<'a> {
    pub(crate) mutant: Option<&'a Mutant>,
    pub(crate) guest: String,
    pair: Pair,
    pub(crate) tests: Vec<String>,
    scale: u32,
}

impl Boot<'_> {
    /// What the person knows it by.
    pub(crate) fn name(&self) -> String {
        match self.mutant {
            Some(mutant) => mutant.name.clone(),
            None => format!(
                "unbroken@{}{}",
                self.guest,
                self.pair.kernel.flavour.suffix()
            ),
        }
    }
}

impl<'a> Workshop<'a> {
    /// The module as it is, which must pass all tests that mutants are to fail.
    pub(crate) fn sound(
        &self,
        flavour: Flavour,
        guest: String,
        tests: BTreeSet<String>,
    ) -> Result<Boot<'a>> {
        Ok(Boot {
            mutant: None,
            guest,
            pair: self.pair(flavour)?.clone(),
            tests: tests.into_iter().collect(),
            scale: 1,
        })
    }

    /// Builds a mutant.
    pub(crate) fn mutant(&self, mutant: &'a Mutant) -> Result<Boot<'a>> {
        let tree = &self.places.tree;
        if tree.exists() {
            fs::remove_dir_all(tree).with_context(|| format!("removing {}", tree.display()))?;
        }
        for source in SOURCES {
            copy(&self.original.tree, tree, source)?;
        }
        mutant.apply(tree)?;
        let kernel = self.pair(mutant.kernel)?.kernel.clone();
        let module = module::build(&self.places, self.steps, &kernel)?;
        Ok(Boot {
            mutant: Some(mutant),
            guest: mutant.guest.clone(),
            pair: Pair { kernel, module },
            tests: mutant.tests.clone(),
            scale: mutant.scale,
        })
    }

    fn pair(&self, flavour: Flavour) -> Result<&Pair> {
        self.sound
            .get(&flavour)
            .context("a kernel that was not prepared")
    }

    /// Boots, and tells what came of it.
    pub(crate) fn boot(&self, boot: &Boot<'_>) -> Result<Report> {
        let machine = self.config.guest(&boot.guest)?;
        let slow = slower(boot.pair.kernel.flavour);
        let mut argv = vec!["userdma".to_owned(), "selftest".to_owned()];
        argv.extend(boot.tests.iter().cloned());
        argv.extend(["--seed", SEED, "--slow", &slow.to_string()].map(str::to_owned));
        if boot.scale != 1 {
            argv.extend(["--scale".to_owned(), boot.scale.to_string()]);
        }
        let job = Job {
            work: vec![Work {
                name: "selftest".to_owned(),
                argv,
                judge: Judge::Ktap,
                seconds: SECONDS * u64::from(slow),
            }],
            gates: true,
            ..Job::default()
        };
        let job = guest::job(self.prepared, &boot.pair, machine, job)?;
        let directory = self.run.directory(&boot.name())?;
        let quiet = |_: &str| {};
        guest::run(
            self.original,
            self.prepared,
            &boot.pair,
            machine,
            &directory,
            &job,
            &quiet,
        )
    }

    /// Removes all but the modules, which the next run may take as they are.
    pub(crate) fn clean(&self) -> Result<()> {
        for directory in [&self.places.tree, &self.places.place] {
            if directory.exists() {
                fs::remove_dir_all(directory)
                    .with_context(|| format!("removing {}", directory.display()))?;
            }
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path, below: &str) -> Result<()> {
    for entry in WalkDir::new(from.join(below)) {
        let entry = entry.with_context(|| format!("looking through {below}"))?;
        let target = to.join(entry.path().strip_prefix(from)?);
        if entry.file_type().is_dir() {
            fs::create_dir_all(&target)?;
        } else {
            if let Some(directory) = target.parent() {
                fs::create_dir_all(directory)?;
            }
            fs::copy(entry.path(), &target)
                .with_context(|| format!("copying {}", entry.path().display()))?;
        }
    }
    Ok(())
}

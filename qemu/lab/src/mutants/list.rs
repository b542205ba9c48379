// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `mutants.toml`, and how a mutant is made.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use regex::Regex;
use serde::Deserialize;

use crate::kernel::Flavour;

/// A way to break the module.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutant {
    /// The section's.
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) what: String,
    file: String,
    before: String,
    after: String,
    pub(crate) guest: String,
    #[serde(default = "stock")]
    pub(crate) kernel: Flavour,
    pub(crate) tests: Vec<String>,
    caught_by: Option<Vec<String>>,
    says: Option<String>,
    #[serde(default = "one")]
    pub(crate) scale: u32,
}

fn stock() -> Flavour {
    Flavour::Stock
}

fn one() -> u32 {
    1
}

impl Mutant {
    /// The results of which one at least must be a failure.
    pub(crate) fn caught_by(&self) -> &[String] {
        self.caught_by.as_deref().unwrap_or(&self.tests)
    }

    /// Whether a failure's words are those of this defect.
    pub(crate) fn tells(&self, lines: &[String]) -> bool {
        let regex = self.says.as_deref().map(Regex::new);
        match regex {
            None => true,
            Some(regex) => regex.is_ok_and(|regex| lines.iter().any(|line| regex.is_match(line))),
        }
    }

    /// Breaks the module in `tree`.
    pub(crate) fn apply(&self, tree: &Path) -> Result<()> {
        let path = tree.join(&self.file);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("mutant {}: reading {}", self.name, self.file))?;
        let broken = self.broken(&text)?;
        fs::write(&path, broken).with_context(|| format!("writing {}", path.display()))
    }

    fn broken(&self, text: &str) -> Result<String> {
        match text.matches(&self.before).count() {
            1 => Ok(text.replacen(&self.before, &self.after, 1)),
            count => bail!(
                "mutant {}: {} has the text before {count} times, not once: \
                 bring qemu/mutants.toml up to date",
                self.name,
                self.file
            ),
        }
    }
}

/// Reads the file of `tree`, in the order of the names.
pub(crate) fn read(tree: &Path) -> Result<Vec<Mutant>> {
    let path = tree.join("qemu/mutants.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    parse(&text)
}

/// Reads the file's text.
pub(crate) fn parse(text: &str) -> Result<Vec<Mutant>> {
    let table: BTreeMap<String, Mutant> = toml::from_str(text).context("qemu/mutants.toml")?;
    let mut mutants = Vec::new();
    for (name, mutant) in table {
        if mutant.tests.is_empty() || mutant.caught_by().is_empty() {
            bail!("qemu/mutants.toml: mutant \"{name}\" names no test");
        }
        if mutant.before == mutant.after {
            bail!("qemu/mutants.toml: mutant \"{name}\" breaks nothing");
        }
        if let Some(says) = &mutant.says {
            Regex::new(says).with_context(|| format!("mutant \"{name}\": says"))?;
        }
        mutants.push(Mutant { name, ..mutant });
    }
    Ok(mutants)
}

/// Whether a name fits a pattern, in which `*` stands for anything.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let pattern = regex::escape(pattern).replace("\\*", ".*");
    Regex::new(&format!("^{pattern}$")).is_ok_and(|regex| regex.is_match(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without this a mutant would go stale in silence until somebody runs it.
    #[test]
    fn the_mutants_of_this_tree_apply() -> Result<()> {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mutants = read(&tree)?;
        assert!(mutants.len() >= 10);
        for mutant in mutants {
            let text = fs::read_to_string(tree.join(&mutant.file)).context(mutant.file.clone())?;
            mutant.broken(&text)?;
        }
        Ok(())
    }

    fn mutant(before: &str, after: &str) -> Result<Vec<Mutant>> {
        parse(&format!(
            "[m]\nwhat = \"x\"\nfile = \"f\"\nbefore = \"{before}\"\nafter = \"{after}\"\nguest = \"g\"\ntests = [\"t\"]\n"
        ))
    }

    #[test]
    fn what_is_replaced_must_be_there_once() -> Result<()> {
        let mutant = &mutant("b", "c")?[0];
        assert_eq!(mutant.broken("abd")?, "acd");
        assert!(mutant.broken("ad").is_err());
        assert!(mutant.broken("bb").is_err());
        Ok(())
    }

    #[test]
    fn a_mutant_breaks_something() {
        assert!(mutant("b", "b").is_err());
    }

    #[test]
    fn a_star_stands_for_anything() {
        assert!(matches("pin-*", "pin-dropped"));
        assert!(matches("*", "x"));
        assert!(!matches("pin", "pin-dropped"));
        assert!(!matches("p.n", "pin"));
    }
}

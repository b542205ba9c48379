// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The suites as a directory that the kernel's run_kselftest.sh runs: one
//! script per group of tests, beside the command that has them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;

use crate::cache::write_atomically;
use crate::exec;
use crate::userspace::Programs;

/// The collection's name in kselftest-list.txt.
const COLLECTION: &str = "userdma";

/// What the runner waits for one group, in seconds.
const TIMEOUT: u32 = 1800;

/// The files of the collection that are text.
#[derive(Debug)]
pub(crate) struct Collection {
    /// Lines of kselftest-list.txt.
    pub(crate) entries: Vec<String>,
    /// Path below the collection's directory, content.
    scripts: Vec<(String, String)>,
}

impl Collection {
    /// Asks the command which groups of tests there are.
    pub(crate) fn of(programs: &Programs) -> Result<Self> {
        let command = programs.directory.join("userdma");
        let list = exec::output(Command::new(command).args(["selftest", "--list"]))?;
        Ok(Self::of_list(&list))
    }

    fn of_list(list: &str) -> Self {
        let groups: BTreeSet<&str> = list
            .lines()
            .filter_map(|line| line.split_whitespace().next()?.split_once('.'))
            .map(|(group, _)| group)
            .collect();
        Self {
            entries: groups
                .iter()
                .map(|group| format!("{COLLECTION}:{group}.sh"))
                .collect(),
            scripts: groups
                .iter()
                .map(|group| (format!("{COLLECTION}/{group}.sh"), script(group)))
                .collect(),
        }
    }

    /// Every text file: path below the directory of all collections, content,
    /// and whether it is a program. Without the list.
    pub(crate) fn files(&self) -> Vec<(String, String, bool)> {
        let settings = format!("timeout={TIMEOUT}\n");
        let mut files = vec![(format!("{COLLECTION}/settings"), settings, false)];
        for (path, text) in &self.scripts {
            files.push((path.clone(), text.clone(), true));
        }
        files
    }

    /// Where the command belongs in the directory of all collections.
    pub(crate) fn command() -> String {
        format!("{COLLECTION}/userdma")
    }

    /// Installs all of it into the directory `to`.
    pub(crate) fn install(&self, programs: &Programs, to: &Path) -> Result<()> {
        fs::create_dir_all(to.join(COLLECTION)).context("creating the collection's directory")?;
        fs::copy(programs.directory.join("userdma"), to.join(Self::command()))
            .context("copying the command")?;
        for (path, text, program) in self.files() {
            let path = to.join(path);
            let mode = if program { 0o755 } else { 0o644 };
            write_atomically(&path, text.as_bytes())?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
        add_to_list(&to.join("kselftest-list.txt"), &self.entries)
    }
}

fn script(group: &str) -> String {
    format!(
        "#!/bin/sh\n\
         # SPDX-License-Identifier: GPL-2.0 OR MIT\n\
         # userdma's tests \"{group}\". They need root and a card with the driver bound.\n\
         exec \"$(dirname \"$0\")/userdma\" selftest '{group}.*'\n"
    )
}

/// Puts the entries into the list, which may have those of others.
fn add_to_list(list: &Path, entries: &[String]) -> Result<()> {
    let old = fs::read_to_string(list).unwrap_or_default();
    let own = format!("{COLLECTION}:");
    let mut lines: Vec<&str> = old.lines().filter(|line| !line.starts_with(&own)).collect();
    lines.extend(entries.iter().map(String::as_str));
    write_atomically(list, (lines.join("\n") + "\n").as_bytes())?;
    fs::set_permissions(list, fs::Permissions::from_mode(0o644))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_keeps_others_and_has_ours_once() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let list = directory.path().join("kselftest-list.txt");
        fs::write(&list, "net:a.sh\nuserdma:old.sh\n")?;
        add_to_list(&list, &["userdma:new.sh".to_owned()])?;
        add_to_list(&list, &["userdma:new.sh".to_owned()])?;
        assert_eq!(fs::read_to_string(&list)?, "net:a.sh\nuserdma:new.sh\n");
        Ok(())
    }

    #[test]
    fn a_group_is_a_script() {
        let list = "abi.flags   what it checks\nabi.order   more\nrw.ends     a.b\n";
        let collection = Collection::of_list(list);
        assert_eq!(collection.entries, ["userdma:abi.sh", "userdma:rw.sh"]);
        let (path, text, program) = &collection.files()[1];
        assert_eq!(path, "userdma/abi.sh");
        assert!(text.ends_with("selftest 'abi.*'\n") && *program);
    }
}

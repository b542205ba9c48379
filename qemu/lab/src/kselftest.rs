// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Installs the suites as a directory that the kernel's run_kselftest.sh runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;

use crate::cache::Places;
use crate::config::Config;
use crate::userspace::Programs;

/// The collection's name in kselftest-list.txt.
const COLLECTION: &str = "userdma";

/// Installs into `to`: the command, a script per suite, the list of them.
pub(crate) fn install(
    places: &Places,
    config: &Config,
    programs: &Programs,
    to: &Path,
) -> Result<Vec<String>> {
    let directory = to.join(COLLECTION);
    fs::create_dir_all(&directory)
        .with_context(|| format!("creating {}", places.outside(&directory)))?;
    let command = directory.join("userdma");
    fs::copy(programs.directory.join("userdma"), &command).context("copying the command")?;
    let mut entries = Vec::new();
    let mut longest = 0;
    for (name, suite) in &config.suites {
        if suite.soak || suite.tests.is_empty() {
            continue;
        }
        let test = format!("{name}.sh");
        let path = directory.join(&test);
        fs::write(&path, script(name, &suite.tests, &suite.skip))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        entries.push(format!("{COLLECTION}:{test}"));
        longest = longest.max(suite.timeout.as_secs());
    }
    // What the runner takes for every test of the collection.
    fs::write(directory.join("settings"), format!("timeout={longest}\n"))?;
    add_to_list(&to.join("kselftest-list.txt"), &entries)?;
    Ok(entries)
}

fn script(name: &str, tests: &[String], skip: &[String]) -> String {
    let mut arguments = String::new();
    for pattern in tests {
        arguments.push_str(&format!(" '{pattern}'"));
    }
    for pattern in skip {
        arguments.push_str(&format!(" --skip '{pattern}'"));
    }
    format!(
        "#!/bin/sh\n\
         # SPDX-License-Identifier: GPL-2.0 OR MIT\n\
         # userdma's suite \"{name}\". Needs root and a card with the driver bound.\n\
         here=$(dirname \"$0\")\n\
         exec \"$here/userdma\" selftest{arguments}\n"
    )
}

/// Puts the entries into the list, which may have those of others.
fn add_to_list(list: &Path, entries: &[String]) -> Result<()> {
    let old = fs::read_to_string(list).unwrap_or_default();
    let own = format!("{COLLECTION}:");
    let mut lines: Vec<&str> = old.lines().filter(|line| !line.starts_with(&own)).collect();
    lines.extend(entries.iter().map(String::as_str));
    fs::write(list, lines.join("\n") + "\n").with_context(|| format!("writing {}", list.display()))
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
    fn patterns_do_not_expand_in_the_shell() {
        let text = script("abi", &["abi.*".to_owned()], &["abi.slow".to_owned()]);
        assert!(text.contains("selftest 'abi.*' --skip 'abi.slow'\n"));
    }
}

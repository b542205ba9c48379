// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `userdma completions` and `userdma man`.

use std::fs;
use std::io;
use std::io::Write as _;

use anyhow::bail;
use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli;
use crate::cli::Cli;

pub(crate) fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "userdma", &mut script);
    print(&script)
}

pub(crate) fn man(options: &cli::Man) -> anyhow::Result<()> {
    if let Some(directory) = &options.directory {
        return fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
            .with_context(|| format!("cannot write manual pages into {}", directory.display()));
    }
    print(&page(options.page.as_deref())?)
}

fn page(name: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let mut command = Cli::command();
    // Gives the pages of commands their full name and the global options.
    command.build();
    let command = match name {
        None => command,
        Some(name) => match command.find_subcommand(name) {
            Some(found) => found.clone(),
            None => bail!("there is no command {name}; `userdma help` lists them"),
        },
    };
    let mut text = Vec::new();
    Man::new(command)
        .render(&mut text)
        .context("cannot make the page")?;
    Ok(text)
}

fn print(text: &[u8]) -> anyhow::Result<()> {
    io::stdout()
        .write_all(text)
        .context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_name_their_command() {
        let text = String::from_utf8(page(Some("alloc")).expect("a page")).expect("UTF-8");
        assert!(
            text.contains("userdma\\-alloc") || text.contains("userdma alloc"),
            "{text}"
        );
        assert!(text.contains("fallback"));
        assert!(page(Some("nonsense")).is_err());
        assert!(page(None).is_ok());
    }
}

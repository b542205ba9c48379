// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Runs the programs of a step, with a log, and turns their failure into an
//! error that says where to look.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use crate::cache::Places;
use crate::step::Step;

/// How many lines of a log an error shows.
const TAIL_LINES: usize = 15;

/// The log of one step.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    outside: String,
    file: File,
}

impl Log {
    /// Starts the log `name` anew.
    pub(crate) fn create(places: &Places, name: &str) -> Result<Self> {
        let path = places.log(name);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        // Writers append: several programs share the file.
        let _ = std::fs::remove_file(&path);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("creating {}", path.display()))?;
        Ok(Self {
            outside: places.outside(&path),
            path,
            file,
        })
    }

    /// The whole log.
    pub(crate) fn text(&self) -> String {
        std::fs::read(&self.path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Runs `command` with its output in the log. `hint` says what to try when
    /// it fails.
    pub(crate) fn run(&self, step: &Step<'_>, command: &mut Command, hint: &str) -> Result<()> {
        self.run_with(step, command, hint, || step.tick())
    }

    /// The same, calling `tick` a few times a second.
    pub(crate) fn run_with(
        &self,
        step: &Step<'_>,
        command: &mut Command,
        hint: &str,
        tick: impl Fn(),
    ) -> Result<()> {
        writeln!(&self.file, "+ {}", shown(command))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(self.file.try_clone()?)
            .stderr(self.file.try_clone()?)
            .spawn()
            .with_context(|| format!("starting {:?}", command.get_program()))?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            tick();
            std::thread::sleep(Duration::from_millis(100));
        };
        if status.success() {
            return Ok(());
        }
        bail!(
            "step \"{}\" failed: {} ended with {status}\n{}     whole log: {}\n     try: {hint}",
            step.what(),
            command.get_program().to_string_lossy(),
            indent(&tail(&self.path, TAIL_LINES)),
            self.outside,
        )
    }
}

/// Runs a short command and returns what it prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {:?}", command.get_program()))?;
    if !out.status.success() {
        bail!(
            "{} ended with {}\n{}",
            shown(command),
            out.status,
            indent(&String::from_utf8_lossy(&out.stderr)),
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// A command as it would be typed, roughly.
fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// The last lines of a file that may be long.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(16 * 1024)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Sets every line off as quoted.
pub(crate) fn indent(text: &str) -> String {
    let mut quoted = String::new();
    for line in text.lines() {
        quoted.push_str("     | ");
        quoted.push_str(line);
        quoted.push('\n');
    }
    quoted
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The process of a model: from its start to its end.

use std::fs;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use rustix::event::poll;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::fd::AsFd;
use rustix::process::Pid;
use rustix::process::PidfdFlags;

use crate::models::control;

/// What a model prints when it listens.
const READY: &str = "ready";

/// The process. It is killed when this is dropped; should the laboratory be
/// killed, it ends at the end of file of its standard input, which is a pipe
/// that the laboratory holds.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts the program of `command` and waits until it listens at `socket`. What
    /// it prints to standard error is added to `log`.
    pub(crate) fn start(
        mut command: Command,
        socket: &Path,
        log: &Path,
        limit: Duration,
    ) -> Result<Self> {
        // Of a process that was there before.
        for old in [socket, &control::path(socket)] {
            let _ = fs::remove_file(old);
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening {}", log.display()))?;
        let child = command
            .arg("--socket")
            .arg(socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // A signal from the terminal is the laboratory's to handle.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
        let mut process = Self(child);
        process.ready(Instant::now() + limit)?;
        Ok(process)
    }

    /// Waits for the line that says that it listens.
    fn ready(&mut self, deadline: Instant) -> Result<()> {
        // Stays open afterwards: to print into a closed pipe would end it.
        let stdout = self.0.stdout.as_mut().context("no standard output")?;
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            if !readable(&*stdout, deadline)? {
                bail!("it does not say \"{READY}\" in time");
            }
            if stdout.read(&mut byte)? == 0 {
                bail!("it ended before it said \"{READY}\"");
            }
            line.push(byte[0]);
        }
        let line = String::from_utf8_lossy(&line);
        if line.trim_end() != READY {
            bail!("it said \"{}\", not \"{READY}\"", line.trim_end());
        }
        Ok(())
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.0.try_wait().context("looking after a model")
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        if let Some(status) = self.ended()? {
            return Ok(Some(status));
        }
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("a process without a number")?;
        let end = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .context("watching a model's process")?;
        readable(&end, Instant::now() + limit)?;
        self.ended()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already, perhaps; an error changes nothing here.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something can be read, or until `deadline`.
fn readable(file: &impl AsFd, deadline: Instant) -> Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).context("a time to wait")?;
        match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&left)) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// A stand-in for a model.
    fn start(script: &str, limit: Duration) -> Result<(TempDir, Result<Process>)> {
        let directory = tempfile::tempdir()?;
        let (socket, log) = (directory.path().join("s"), directory.path().join("log"));
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let process = Process::start(command, &socket, &log, limit);
        Ok((directory, process))
    }

    #[test]
    fn a_model_is_ready_when_it_says_so() -> Result<()> {
        let (directory, process) = start("echo words >&2; echo ready; exec cat", LONG)?;
        let mut process = process?;
        assert_eq!(process.ended()?, None);
        assert_eq!(process.wait(Duration::ZERO)?, None);
        let log = fs::read_to_string(directory.path().join("log"))?;
        assert_eq!(log, "words\n");
        Ok(())
    }

    #[test]
    fn one_that_is_not_ready_is_an_error() -> Result<()> {
        for (script, words) in [
            ("exit 3", "ended before"),
            ("echo what; exec cat", "not \"ready\""),
        ] {
            let error = start(script, LONG)?.1.expect_err("not ready");
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
        let error = start("exec cat", Duration::from_millis(50))?.1;
        let error = error.expect_err("not ready");
        assert!(format!("{error:#}").contains("in time"), "{error:#}");
        Ok(())
    }

    #[test]
    fn it_ends_with_its_standard_input() -> Result<()> {
        let (_directory, process) = start("echo ready; exec cat", LONG)?;
        let mut process = process?;
        drop(process.0.stdin.take());
        let status = process.wait(LONG)?.context("still there")?;
        assert!(status.success());
        Ok(())
    }
}

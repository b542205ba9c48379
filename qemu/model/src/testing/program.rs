// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A model's process.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use rustix::process::kill_process;
use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::until;
use super::Guest;
use super::LIMIT;

/// A model's process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    directory: TempDir,
}

impl Program {
    /// Starts a model's program, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// It does not start, or ends, or says something else.
    pub fn start(program: &str) -> Result<Self> {
        Self::start_with(program, &[])
    }

    /// The same with further arguments.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with(program: &str, arguments: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let child = spawn(program, &directory.path().join("socket"), arguments)?;
        Ok(Self { child, directory })
    }

    /// Starts the program once more at the same sockets, after its end.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_again(&mut self, program: &str) -> Result<()> {
        self.child = spawn(program, &self.socket(), &[])?;
        Ok(())
    }

    /// The socket for QEMU.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Asks the control socket, and gives what it answers as `ok`.
    ///
    /// # Errors
    ///
    /// What it answers as `error`, or no answer at all.
    pub fn control(&self, request: &Value) -> Result<Value> {
        let mut answer = self.control_line(&request.to_string())?;
        if let Some(error) = answer.get("error") {
            bail!("{error}");
        }
        let answer = answer.get_mut("ok").context("neither ok nor error")?;
        Ok(answer.take())
    }

    /// Sends any line to the control socket, and gives its answer as it is.
    ///
    /// # Errors
    ///
    /// No answer.
    pub fn control_line(&self, line: &str) -> Result<Value> {
        let stream = UnixStream::connect(self.directory.path().join("socket.control"))?;
        stream.set_read_timeout(Some(LIMIT))?;
        (&stream).write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer)?;
        serde_json::from_str(&answer).with_context(|| format!("the answer \"{answer}\""))
    }

    /// The rules of the violations so far, which are forgotten.
    ///
    /// # Errors
    ///
    /// As [`control`](Self::control).
    pub fn violations(&self) -> Result<Vec<String>> {
        let report = self.control(&serde_json::json!({"forgive": {}}))?;
        let violations = report["violations"].as_array().context("no list")?;
        if report["count"].as_u64() != Some(violations.len() as u64) {
            bail!("the count is not that of the list: {report}");
        }
        let rule = |one: &Value| one["rule"].as_str().unwrap_or("none").to_owned();
        Ok(violations.iter().map(rule).collect())
    }

    /// A machine of `size` bytes of memory with this card in it: the next client.
    ///
    /// # Errors
    ///
    /// The model does not answer.
    pub fn guest(&self, size: usize) -> Result<Guest> {
        Guest::new(&self.socket(), size)
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    ///
    /// There is no such process.
    pub fn terminate(&self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.context("no pid")?, Signal::TERM)?)
    }

    /// Ends its standard input.
    pub fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        until("the model's end", || Ok(self.child.try_wait()?))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &str, socket: &Path, arguments: &[&str]) -> Result<Child> {
    let mut child = Command::new(program)
        .arg("--socket")
        .arg(socket)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let mut line = String::new();
    let output = child.stdout.as_mut().context("no output")?;
    BufReader::new(output).read_line(&mut line)?;
    if line != "ready\n" {
        bail!("{program} said \"{line}\" instead of ready");
    }
    Ok(child)
}

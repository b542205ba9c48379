// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Runs one program of the job and judges it.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::Sender;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use regex_lite::Regex;
use rustix::process::Pid;
use rustix::process::Signal;
use userdma_init::job::Judge;
use userdma_init::job::Work;
use userdma_init::lab::VARIABLE;

use crate::output::Output;

enum Said {
    Out(String),
    Err(String),
}

/// Runs `work` to its end or its deadline and prints its result. `lab` is the
/// channel to the laboratory.
pub(crate) fn run(work: &Work, lab: Option<&str>, output: &mut Output) -> Result<()> {
    let result = attempt(work, lab, output)?;
    output.result(&work.name, result)
}

/// The outer result is the port's, the inner one the test's.
fn attempt(work: &Work, lab: Option<&str>, output: &mut Output) -> Result<Result<()>> {
    let Some((program, arguments)) = work.argv.split_first() else {
        return Ok(Err(anyhow::anyhow!("no program to run")));
    };
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(crate::shell::ENVIRONMENT.iter().copied())
        .envs(lab.map(|path| (VARIABLE, path)))
        .current_dir("/tmp")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that the deadline takes its children too.
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {program}"));
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Ok(Err(error)),
    };

    let (sender, lines) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        follow(stdout, sender.clone(), Said::Out);
    }
    if let Some(stderr) = child.stderr.take() {
        follow(stderr, sender, Said::Err);
    }

    let deadline = Instant::now() + Duration::from_secs(work.seconds);
    let mut text = String::new();
    let mut late = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(Said::Out(line)) if work.judge == Judge::Ktap => output.nested(&line)?,
            Ok(Said::Out(line) | Said::Err(line)) => {
                output.remark(&line)?;
                text.push_str(&line);
                text.push('\n');
            }
            // Both pipes are closed: the program and its children are done.
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if !late => {
                late = true;
                kill_group(child.id());
                // What a killed process wrote before still counts; what keeps
                // the pipes open now can only be stuck in the kernel.
                while let Ok(said) = lines.recv_timeout(Duration::from_secs(5)) {
                    let (Said::Out(line) | Said::Err(line)) = said;
                    output.remark(&line)?;
                }
                break;
            }
            Err(RecvTimeoutError::Timeout) => break,
        }
    }
    let status = if late {
        match child.try_wait()? {
            Some(status) => status,
            None => {
                return Ok(Err(anyhow::anyhow!(
                    "did not end within {} s, and not when killed: stuck in the kernel",
                    work.seconds
                )))
            }
        }
    } else {
        child.wait()?
    };
    Ok(verdict(work, status, late, &text))
}

fn follow(stream: impl Read + Send + 'static, sender: Sender<Said>, wrap: fn(String) -> Said) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line);
            if sender
                .send(wrap(line.trim_end_matches('\r').to_owned()))
                .is_err()
            {
                return;
            }
        }
    });
}

fn kill_group(id: u32) {
    let group = i32::try_from(id).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        // Gone already is as good.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}

fn verdict(work: &Work, status: ExitStatus, late: bool, text: &str) -> Result<()> {
    if late {
        bail!("did not end within {} s", work.seconds);
    }
    if let Some(signal) = status.signal() {
        bail!("killed by signal {signal}");
    }
    let code = status.code().unwrap_or(-1);
    let (wanted, says) = match &work.judge {
        Judge::Ktap => (0, &[][..]),
        Judge::Output { exit, says } => (*exit, says.as_slice()),
    };
    if code != wanted {
        bail!("exit status {code}, expected {wanted}");
    }
    for pattern in says {
        let regex = Regex::new(pattern).with_context(|| format!("pattern {pattern:?}"))?;
        if !regex.is_match(text) {
            bail!("its output has nothing that matches {pattern:?}");
        }
    }
    Ok(())
}

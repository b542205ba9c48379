// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A prompt on the console, with job control.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use rustix::termios::Winsize;
use userdma_init::job::Shell;
use userdma_init::lab::VARIABLE;

/// What every program of the guest finds in its environment, beside the path of
/// the channel to the laboratory where there is one.
pub(crate) const ENVIRONMENT: &[(&str, &str)] = &[
    ("PATH", "/usr/bin:/usr/sbin:/bin:/sbin"),
    ("HOME", "/root"),
    ("LANG", "C.UTF-8"),
    ("TERM", "dumb"),
];

/// Gives the console to a shell and returns when it ends. `lab` is the channel to the
/// laboratory.
pub(crate) fn run(shell: &Shell, lab: Option<&str>) -> Result<()> {
    let console = "/dev/ttyS0";
    crate::setup::console_mode(console)?;
    let tty = OpenOptions::new()
        .read(true)
        .write(true)
        .open(console)
        .with_context(|| format!("opening {console}"))?;
    rustix::termios::tcsetwinsize(
        &tty,
        Winsize {
            ws_row: shell.rows,
            ws_col: shell.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )?;
    let mut command = Command::new("/bin/sh");
    command
        .arg("-l")
        .env_clear()
        .envs(ENVIRONMENT.iter().copied())
        .envs(lab.map(|path| (VARIABLE, path)))
        .env("TERM", &shell.term)
        .current_dir("/root")
        .stdin(tty.try_clone()?)
        .stdout(tty.try_clone()?)
        .stderr(tty);
    // SAFETY: the closure runs between fork and exec and makes two system
    // calls, no allocation and no lock.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
            Ok(())
        });
    }
    command.status().context("running the shell")?;
    Ok(())
}

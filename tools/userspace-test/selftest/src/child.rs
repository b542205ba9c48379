// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Forked processes, and gates (pipes) by which processes and threads wait for
//! each other.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::{fork, ForkResult, Pid};
use rustix::event::PollFlags;
use rustix::pipe::{pipe_with, PipeFlags};
use rustix::process::{pidfd_open, set_parent_process_death_signal, PidfdFlags};

use crate::outcome::{Outcome, Stop};
use crate::poll::{ready, until, LONG};
use crate::raw::Sys;

/// The exit status of a test that was skipped, as in kselftest.
pub(crate) const SKIPPED: i32 = 4;
/// Begins the line of output that has the reason.
pub(crate) const SKIP_MARK: &str = "SKIP ";

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// A forked process; killed and reaped with its owner.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    reaped: bool,
}

/// Runs `body` in a forked process; its outcome becomes the exit status (0, 1
/// or [`SKIPPED`]), its message goes to standard error.
pub(crate) fn spawn(body: impl FnOnce() -> Outcome) -> Sys<Child> {
    // SAFETY: the child runs ordinary code, which the C library permits after fork() as it takes
    // malloc's locks around it; no other lock of this program is held here.
    match unsafe { fork() }? {
        ForkResult::Child => {
            // It must not outlive a test that crashed or was killed.
            let _ = set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            std::process::exit(finish(body))
        }
        ForkResult::Parent { child } => {
            let raw = rustix::process::Pid::from_raw(child.as_raw()).expect("a child has a number");
            // A child that cannot be watched is not left behind.
            let pidfd = pidfd_open(raw, PidfdFlags::empty()).map_err(|error| {
                let _ = kill(child, Signal::SIGKILL);
                let _ = waitpid(child, None);
                nix::errno::Errno::from_raw(error.raw_os_error())
            })?;
            Ok(Child {
                pid: child,
                pidfd,
                reaped: false,
            })
        }
    }
}

/// Runs a test's body and says how it went in lines and an exit status.
fn finish(body: impl FnOnce() -> Outcome) -> i32 {
    // The panic's own message has been printed by the default hook.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(Stop::Skip(reason))) => {
            eprintln!("{SKIP_MARK}{reason}");
            SKIPPED
        }
        Ok(Err(Stop::Fail(message))) => {
            eprintln!("{message}");
            1
        }
        Err(_) => 1,
    }
}

impl Child {
    /// Its number.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Its handle, readable when it has ended.
    pub(crate) fn handle(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Sys<()> {
        kill(self.pid, signal)
    }

    /// Waits for its end, [`LONG`] at most.
    pub(crate) fn wait(&mut self) -> Outcome<Exit> {
        self.wait_within(LONG)
    }

    /// The same with a limit of the caller's.
    pub(crate) fn wait_within(&mut self, limit: Duration) -> Outcome<Exit> {
        if ready(&self.pidfd, PollFlags::IN, limit)?.is_empty() {
            fail!("process {} has not ended after {limit:?}", self.pid);
        }
        let status = waitpid(self.pid, None)?;
        self.reaped = true;
        match status {
            WaitStatus::Exited(_, code) => Ok(Exit::Code(code)),
            WaitStatus::Signaled(_, signal, _) => Ok(Exit::Signal(signal as i32)),
            other => fail!("process {} is {other:?}", self.pid),
        }
    }

    /// Requires it to end well; its skip is the test's.
    pub(crate) fn join(mut self, limit: Duration) -> Outcome {
        match self.wait_within(limit)? {
            Exit::Code(0) => Ok(()),
            Exit::Code(SKIPPED) => skip!("see above"),
            other => fail!("process {} ended with {other:?}", self.pid),
        }
    }

    /// Kills it and waits until it is gone.
    pub(crate) fn kill(mut self) -> Outcome<Exit> {
        self.signal(Signal::SIGKILL)?;
        self.wait()
    }

    /// Waits until its main thread sleeps in one of these system calls; which.
    pub(crate) fn sleeps_in(&self, calls: &[i64]) -> Outcome<i64> {
        let pid = self.pid.as_raw();
        sleeps_in(pid, pid, calls)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = kill(self.pid, Signal::SIGKILL);
            // Do not wait for one that cannot die: the runner sees it.
            let _ = ready(&self.pidfd, PollFlags::IN, LONG);
            let _ = waitpid(self.pid, Some(WaitPidFlag::WNOHANG));
        }
    }
}

/// Waits until a thread sleeps in one of these system calls, by the kernel's
/// own word.
pub(crate) fn sleeps_in(pid: i32, tid: i32, calls: &[i64]) -> Outcome<i64> {
    let what = format!("thread {tid} asleep in system call {calls:?}");
    let mut found = None;
    until(&what, || {
        // "running", or the number of the call and its arguments.
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall"))?;
        let call = text.split(' ').next().and_then(|word| word.parse().ok());
        found = call.filter(|call| calls.contains(call));
        Ok(found.is_some())
    })?;
    Ok(found.unwrap_or_default())
}

/// One-way signalling between processes and threads: a pipe.
#[derive(Debug)]
pub(crate) struct Gate {
    reader: File,
    writer: File,
}

impl Gate {
    /// A closed gate.
    pub(crate) fn new() -> Outcome<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self {
            reader: reader.into(),
            writer: writer.into(),
        })
    }

    /// Lets one waiter through.
    pub(crate) fn open(&self) -> Outcome {
        Ok((&self.writer).write_all(&[1])?)
    }

    /// Waits to be let through, [`LONG`] at most.
    pub(crate) fn pass(&self) -> Outcome {
        if ready(&self.reader, PollFlags::IN, LONG)?.is_empty() {
            fail!("nobody opened the gate");
        }
        (&self.reader).read_exact(&mut [0])?;
        Ok(())
    }

    /// Whether a waiter would get through.
    pub(crate) fn is_open(&self) -> Outcome<bool> {
        Ok(!ready(&self.reader, PollFlags::IN, Duration::ZERO)?.is_empty())
    }
}

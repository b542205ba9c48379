// SPDX-License-Identifier: GPL-2.0 OR MIT

//! KTAP on the second serial port, and marks in the kernel log.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write;

use anyhow::Context;
use anyhow::Result;
use rustix::termios::OptionalActions;

/// The guest's top KTAP document.
#[derive(Debug)]
pub(crate) struct Output {
    port: File,
    kmsg: Option<File>,
    number: usize,
}

impl Output {
    /// Opens the port, raw: every byte arrives as it was written.
    pub(crate) fn open(path: &str) -> Result<Self> {
        let port = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .with_context(|| format!("opening {path}"))?;
        let mut attributes = rustix::termios::tcgetattr(&port)?;
        attributes.make_raw();
        rustix::termios::tcsetattr(&port, OptionalActions::Now, &attributes)?;
        let kmsg = OpenOptions::new().write(true).open("/dev/kmsg").ok();
        Ok(Self {
            port,
            kmsg,
            number: 0,
        })
    }

    fn line(&mut self, line: &str) -> Result<()> {
        self.port.write_all(format!("{line}\n").as_bytes())?;
        Ok(())
    }

    /// Starts the document: `tests` results will follow.
    pub(crate) fn plan(&mut self, tests: usize) -> Result<()> {
        self.line("KTAP version 1")?;
        self.line(&format!("1..{tests}"))
    }

    /// Prints one test's result; an error's chain goes to lines before it.
    pub(crate) fn result(&mut self, name: &str, result: Result<()>) -> Result<()> {
        self.number += 1;
        let number = self.number;
        let line = match result {
            Ok(()) => format!("ok {number} {name}"),
            Err(error) => {
                for line in format!("{error:#}").lines() {
                    self.remark(line)?;
                }
                format!("not ok {number} {name}")
            }
        };
        self.mark(&line);
        self.line(&line)
    }

    /// Prints a diagnostic line, for the test whose result comes next.
    pub(crate) fn remark(&mut self, line: &str) -> Result<()> {
        self.line(&format!("# {line}"))
    }

    /// Passes on a line of a subtest document.
    pub(crate) fn nested(&mut self, line: &str) -> Result<()> {
        let inner = line.trim_start();
        if inner.starts_with("ok ") || inner.starts_with("not ok ") {
            self.mark(inner);
        }
        self.line(&format!("  {line}"))
    }

    /// Notes in the kernel log how far the tests are, so that a warning there
    /// can be laid at the right test's door.
    fn mark(&mut self, line: &str) {
        if let Some(kmsg) = &mut self.kmsg {
            // One write is one record; losing a mark loses no result.
            let _ = kmsg.write_all(format!("<6>lab: {line}\n").as_bytes());
        }
    }

    /// Waits until the port has sent everything.
    pub(crate) fn finish(&mut self) -> Result<()> {
        rustix::termios::tcdrain(&self.port).context("draining the results' port")
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The laboratory, which can do to the machine what only its owner can: see
//! `qemu/init/src/lab.rs`.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::outcome::Outcome;
use crate::poll::ready;

/// Names the channel to it.
const VARIABLE: &str = "USERDMA_LAB";
/// Longer than it waits for anything.
const LIMIT: Duration = Duration::from_secs(60);

/// The channel.
#[derive(Debug)]
pub(crate) struct Lab {
    file: File,
}

impl Lab {
    /// Opens it.
    pub(crate) fn open() -> Outcome<Self> {
        let Some(path) = std::env::var_os(VARIABLE) else {
            skip!("needs the laboratory (a guest with hotplug = true)");
        };
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file })
    }

    /// Asks for something; the answer without its "ok".
    pub(crate) fn ask(&mut self, request: &str) -> Outcome<String> {
        self.file.write_all(format!("{request}\n").as_bytes())?;
        let (mut answer, begin) = (Vec::new(), Instant::now());
        while answer.last() != Some(&b'\n') {
            let left = LIMIT.saturating_sub(begin.elapsed());
            if ready(&self.file, PollFlags::IN, left)?.is_empty() {
                fail!("the laboratory does not answer '{request}'");
            }
            let mut byte = [0];
            self.file.read_exact(&mut byte)?;
            answer.push(byte[0]);
        }
        let answer = String::from_utf8_lossy(&answer).trim().to_owned();
        match answer.split_once(' ').unwrap_or((&answer, "")) {
            ("ok", rest) => Ok(rest.to_owned()),
            _ => fail!("'{request}': {answer}"),
        }
    }
}

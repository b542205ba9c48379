// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The laboratory, which can do to the machine what only its owner can: see
//! `qemu/init/src/lab.rs`. For the tests, and for `userdma inject`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::Value;

use crate::outcome::Outcome;

/// Names the channel to it.
const VARIABLE: &str = "USERDMA_LAB";
/// Longer than it waits for anything.
const LIMIT: Duration = Duration::from_secs(60);

/// The channel.
#[derive(Debug)]
pub struct Lab {
    file: File,
}

/// A card that is a process of the laboratory's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// What the laboratory calls the card.
    pub name: String,
    /// What it is a model of.
    pub kind: String,
    /// Its address on the bus, or that of the port that it is behind.
    pub place: String,
}

/// Why the laboratory did not do what it was asked for.
#[derive(Debug)]
pub enum Refusal {
    /// It said so.
    Words(String),
    /// It did not answer this request in time.
    Silent(String),
    /// It could not be spoken to.
    Channel(io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => write!(to, "the laboratory says: {words}"),
            Self::Silent(request) => write!(to, "the laboratory does not answer '{request}'"),
            Self::Channel(error) => write!(to, "cannot speak to the laboratory: {error}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Channel(error)
    }
}

impl Lab {
    /// Opens the channel; none outside of a guest that has one.
    ///
    /// # Errors
    ///
    /// Those of `open(2)`; EBUSY while another program speaks to the laboratory.
    pub fn find() -> io::Result<Option<Self>> {
        let Some(path) = std::env::var_os(VARIABLE) else {
            return Ok(None);
        };
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Some(Self { file }))
    }

    /// The same for a test, which is skipped where there is none.
    pub(crate) fn open() -> Outcome<Self> {
        match Self::find()? {
            Some(lab) => Ok(lab),
            None => skip!("needs the laboratory (a guest with hotplug = true or a model)"),
        }
    }

    /// Asks for something; the answer without its "ok". May sleep for a minute.
    ///
    /// # Errors
    ///
    /// What the laboratory answered, or that it did not.
    pub fn ask(&mut self, request: &str) -> Result<String, Refusal> {
        self.file.write_all(format!("{request}\n").as_bytes())?;
        let (mut answer, end) = (Vec::new(), Instant::now() + LIMIT);
        while answer.last() != Some(&b'\n') {
            if !self.readable(end)? {
                return Err(Refusal::Silent(request.to_owned()));
            }
            let mut byte = [0];
            self.file.read_exact(&mut byte)?;
            answer.push(byte[0]);
        }
        understand(&String::from_utf8_lossy(&answer))
    }

    fn readable(&self, end: Instant) -> io::Result<bool> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).ok();
            let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
            match rustix::event::poll(&mut fds, left.as_ref()) {
                Ok(count) => return Ok(count > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Names the cards that are models.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub fn models(&mut self) -> Result<Vec<Model>, Refusal> {
        Ok(models(&self.ask("models")?))
    }

    /// Finds the model that is the card with this address on the bus.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub fn model(&mut self, bus_name: &str) -> Result<Option<Model>, Refusal> {
        let path = Path::new("/sys/bus/pci/devices").join(bus_name);
        let port = path.canonicalize().ok();
        let port = port.as_deref().and_then(Path::parent);
        let models = self.models()?;
        Ok(models.into_iter().find(|model| {
            model.place == bus_name || port.is_some_and(|port| port.ends_with(&model.place))
        }))
    }

    /// Passes a request to the model of this name: JSON, as its answer is.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub fn control(&mut self, name: &str, request: &Value) -> Result<String, Refusal> {
        self.ask(&format!("control {name} {request}"))
    }
}

/// A line of the laboratory's.
fn understand(line: &str) -> Result<String, Refusal> {
    let line = line.trim();
    match line.split_once(' ').unwrap_or((line, "")) {
        ("ok", rest) => Ok(rest.to_owned()),
        ("error", words) => Err(Refusal::Words(words.to_owned())),
        _ => Err(Refusal::Words(line.to_owned())),
    }
}

/// The answer to `models`.
fn models(answer: &str) -> Vec<Model> {
    let model = |word: &str| {
        let (name, rest) = word.split_once('=')?;
        let (kind, place) = rest.split_once('@')?;
        Some(Model {
            name: name.to_owned(),
            kind: kind.to_owned(),
            place: place.to_owned(),
        })
    };
    answer.split_whitespace().filter_map(model).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood() {
        assert_eq!(understand("ok\n").ok().as_deref(), Some(""));
        let json = r#"{"count": 0}"#;
        assert_eq!(
            understand(&format!("ok {json}\n")).ok().as_deref(),
            Some(json)
        );
        let error = understand("error no such fault\n").expect_err("an error");
        assert_eq!(error.to_string(), "the laboratory says: no such fault");
    }

    #[test]
    fn models_are_named() {
        let found = models("card1=edu-daq@0000:00:11.0 card2=template@0000:00:12.0");
        assert_eq!(found.len(), 2);
        assert_eq!((&*found[0].name, &*found[0].kind), ("card1", "edu-daq"));
        assert_eq!(found[1].place, "0000:00:12.0");
        assert!(models("").is_empty());
    }
}

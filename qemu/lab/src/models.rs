// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Models of PCI cards that QEMU does not have: programs of this workspace, each
//! a process that QEMU talks to by vfio-user. Builds them, and keeps those of one
//! boot.

mod control;
mod process;

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::anyhow;
use anyhow::bail;
use anyhow::Context;
use anyhow::Error;
use anyhow::Result;
use tempfile::TempDir;

use crate::cache::Key;
use crate::cache::Places;
use crate::config::Guest;
use crate::exec;
use crate::models::process::Process;
use crate::qemu::cards;
use crate::step::Steps;
use crate::userspace;
use crate::userspace::Part;

/// What a card of `guests.toml` may be called to be a model. The model NAME is
/// the package `userdma-NAME` in `qemu/NAME`.
const NAMES: [&str; 2] = ["edu-daq", "template"];

/// What all models are made with.
const LIBRARY: &str = "qemu/model";

/// How long a model may take until it listens, or until it is gone. Much longer
/// than it needs: the host may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the sockets are. Not below the cache: the path of a socket has at most
/// 107 bytes.
const SOCKETS: &str = "/tmp";

/// So many lines of the log of a model that has died are shown.
const LAST_WORDS: usize = 8;

/// The model that a card is, if it is one.
pub(crate) fn name(card: &str) -> Option<&'static str> {
    let driver = card.split(',').next()?;
    NAMES.into_iter().find(|name| *name == driver)
}

/// The programs.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    directory: PathBuf,
}

impl Programs {
    fn of(&self, name: &str) -> PathBuf {
        self.directory.join(package(name))
    }
}

fn package(name: &str) -> String {
    format!("userdma-{name}")
}

/// Builds what is not in the cache.
pub(crate) fn build(places: &Places, steps: &Steps) -> Result<Programs> {
    let mut key = Key::new("models 1").sources(&places.tree, LIBRARY)?;
    for name in NAMES {
        key = key.sources(&places.tree, &format!("qemu/{name}"))?;
    }
    let part = Part {
        what: "models of cards",
        name: "models",
        packages: NAMES.map(package).to_vec(),
        estimate: Duration::from_secs(40),
    };
    let directory = userspace::of_the_laboratory(places, steps, key, &part)?;
    Ok(Programs { directory })
}

/// The models among the cards of one guest, by the number of the card.
#[derive(Debug, Default)]
pub(crate) struct Models {
    models: BTreeMap<usize, Mutex<Model>>,
    // After the models: they go first.
    _sockets: Option<TempDir>,
}

/// One of them.
#[derive(Debug)]
struct Model {
    name: &'static str,
    card: String,
    program: PathBuf,
    arguments: Vec<String>,
    socket: PathBuf,
    log: PathBuf,
    /// None when it was told to die, or has been found dead.
    process: Option<Process>,
    /// A process of it was told to die.
    told: bool,
    /// What is known to be wrong with it, of processes that are gone.
    complaints: Vec<String>,
}

impl Models {
    /// Starts the models that `guest` has, and waits until all listen. Their logs
    /// go to `directory`.
    pub(crate) fn start(
        programs: Option<&Programs>,
        guest: &Guest,
        directory: &Path,
    ) -> Result<Self> {
        if !guest.has_models() {
            return Ok(Self::default());
        }
        let programs = programs.context("the models were not built")?;
        let sockets = tempfile::Builder::new()
            .prefix("cards-")
            .tempdir_in(SOCKETS)
            .with_context(|| format!("making a directory for sockets in {SOCKETS}"))?;
        let mut models = BTreeMap::new();
        for (number, card) in guest.cards.iter().enumerate() {
            let Some(name) = name(card) else { continue };
            let card = cards::name(number);
            let mut model = Model {
                name,
                program: programs.of(name),
                arguments: guest.models.clone(),
                socket: sockets.path().join(&card),
                log: directory.join(format!("{card}.log")),
                card,
                process: None,
                told: false,
                complaints: Vec::new(),
            };
            model.ensure()?;
            models.insert(number, Mutex::new(model));
        }
        Ok(Self {
            models,
            _sockets: Some(sockets),
        })
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.models.is_empty()
    }

    /// Each model: the number of the card, and what it is.
    pub(crate) fn list(&self) -> Vec<(usize, &'static str)> {
        let models = self.models.keys();
        models
            .filter_map(|number| Some((*number, self.model(*number)?.name)))
            .collect()
    }

    /// The socket that QEMU takes for this card, if it is a model.
    pub(crate) fn socket(&self, number: usize) -> Option<PathBuf> {
        Some(self.model(number)?.socket.clone())
    }

    /// Starts a model's process anew if it is gone.
    pub(crate) fn ensure(&self, number: usize) -> Result<()> {
        self.model(number)
            .map_or(Ok(()), |mut model| model.ensure())
    }

    /// Passes a request to a model, and gives its answer.
    pub(crate) fn control(&self, number: usize, json: &str) -> Result<String> {
        let mut model = self
            .model(number)
            .with_context(|| format!("{} is no model", cards::name(number)))?;
        model.control(json)
    }

    /// Everything that the models found fault with, and every model that has died
    /// without having been told to.
    pub(crate) fn report(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for number in self.models.keys() {
            if let Some(mut model) = self.model(*number) {
                lines.extend(model.report());
            }
        }
        lines
    }

    /// Whether one was told to die: QEMU has much to say then.
    pub(crate) fn were_told_to_die(&self) -> bool {
        let mut numbers = self.models.keys();
        numbers.any(|number| self.model(*number).is_some_and(|model| model.told))
    }

    fn model(&self, number: usize) -> Option<MutexGuard<'_, Model>> {
        let model = self.models.get(&number)?;
        Some(model.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Model {
    /// Starts the process unless it is there.
    fn ensure(&mut self) -> Result<()> {
        self.notice()?;
        if self.process.is_none() {
            let mut program = Command::new(&self.program);
            program.args(&self.arguments);
            let started = Process::start(program, &self.socket, &self.log, PATIENCE);
            self.process = Some(started.map_err(|error| self.failure(&error))?);
        }
        Ok(())
    }

    /// Looks whether the process has died.
    fn notice(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        if let Some(status) = process.ended()? {
            let words = format!("its process ended by itself, with {status}");
            self.complaints.push(words);
            let log = exec::tail(&self.log, LAST_WORDS);
            self.complaints.extend(log.lines().map(str::to_owned));
            self.process = None;
        }
        Ok(())
    }

    fn failure(&self, error: &Error) -> Error {
        let (card, name) = (&self.card, self.name);
        let log = exec::indent(&exec::tail(&self.log, LAST_WORDS));
        anyhow!(
            "{card}, the model {name}, does not start: {error:#}\n{log}     \
             try: correct qemu/{name}; above is what it printed to standard error"
        )
    }

    fn control(&mut self, json: &str) -> Result<String> {
        let die = control::is_die(json)?;
        self.notice()?;
        if self.process.is_none() {
            bail!(
                "the process of {} is gone; device_del and device_add bring a new one",
                self.card
            );
        }
        if die {
            self.die(json)?;
            return Ok(String::new());
        }
        control::ask(&self.socket, json).map(|answer| answer.to_string())
    }

    /// Ends the process by its own means; what it knows is asked for before.
    fn die(&mut self, json: &str) -> Result<()> {
        let known = control::complaints(&self.socket);
        let process = self.process.as_mut().context("no process")?;
        self.told = true;
        control::tell(&self.socket, json)?;
        if process.wait(PATIENCE)?.is_none() {
            bail!("{} is not gone after {PATIENCE:?}", self.card);
        }
        self.process = None;
        self.complaints.extend(known);
        Ok(())
    }

    fn report(&mut self) -> Vec<String> {
        if let Err(error) = self.notice() {
            self.complaints.push(format!("{error:#}"));
        }
        let mut lines = self.complaints.clone();
        if self.process.is_some() {
            lines.extend(control::complaints(&self.socket));
        }
        let place = format!("{} ({})", self.card, self.name);
        lines
            .iter()
            .map(|line| format!("{place}: {line}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_a_model_by_its_first_word() {
        assert_eq!(name("edu-daq"), Some("edu-daq"));
        assert_eq!(name("template,x-msg-timeout=9000"), Some("template"));
        for card in ["edu", "edu,dma_mask=1", "edu-daq2", ""] {
            assert_eq!(name(card), None, "{card}");
        }
    }
}

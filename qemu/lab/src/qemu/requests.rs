// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The guest's channel to the laboratory: what a program in the guest asks for is
//! done by QEMU, over its own channel, or by a model of a card.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use userdma_init::lab::Answer;
use userdma_init::lab::Request;

use crate::config::Guest;
use crate::models::Models;
use crate::qemu::cards;
use crate::qemu::cards::Device;
use crate::qemu::control::Control;

/// How long the guest may take to let go of a card.
const LET_GO: Duration = Duration::from_secs(30);

/// Who obeys, and what is needed for that.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) control: Arc<Mutex<Control>>,
    pub(crate) models: Arc<Models>,
    /// The cards as `guests.toml` has them.
    pub(crate) cards: Vec<String>,
    /// Whether they can be pulled.
    pub(crate) hotplug: bool,
}

impl Desk {
    /// Takes the place of the laboratory for `guest`.
    pub(crate) fn of(guest: &Guest, control: Arc<Mutex<Control>>, models: Arc<Models>) -> Self {
        Self {
            control,
            models,
            cards: guest.cards.clone(),
            hotplug: guest.hotplug,
        }
    }

    /// Obeys the guest's requests, one line each, until it ends.
    pub(crate) fn obey(self, channel: UnixStream) {
        std::thread::spawn(move || {
            let Ok(mut answers) = channel.try_clone() else {
                return;
            };
            for line in BufReader::new(channel).lines() {
                let Ok(line) = line else { return };
                let answer = match line.parse() {
                    Ok(request) => self.one(&request).map_err(|error| format!("{error:#}")),
                    Err(words) => Err(words),
                };
                if writeln!(answers, "{}", Answer(answer)).is_err() {
                    return;
                }
            }
        });
    }

    fn one(&self, request: &Request) -> Result<String> {
        match request {
            Request::Cards => Ok(self.pluggable()),
            Request::DeviceDel(name) => {
                self.slot(name)?;
                self.control().delete(name)?;
                Ok(String::new())
            }
            Request::DeviceAdd(name) => {
                let number = self.slot(name)?;
                let deadline = Instant::now() + LET_GO;
                while self.control().is_going(name)? {
                    if Instant::now() > deadline {
                        bail!("the guest has not let go of {name} after {LET_GO:?}");
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                self.models.ensure(number)?;
                let socket = self.models.socket(number);
                let device = Device::of(&self.cards[number], socket.as_deref())?;
                self.control().add(number, device)?;
                Ok(String::new())
            }
            Request::Models => Ok(self.models()),
            Request::Control { card, json } => self.models.control(self.number(card)?, json),
        }
    }

    /// Locked for one command at a time: the machine can be ended at any moment.
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a card.
    fn number(&self, name: &str) -> Result<usize> {
        (0..self.cards.len())
            .find(|number| cards::name(*number) == *name)
            .with_context(|| format!("no card {name}"))
    }

    /// The number of a card that can be pulled.
    fn slot(&self, name: &str) -> Result<usize> {
        let number = self.number(name)?;
        if !self.hotplug {
            bail!("{name} cannot be pulled: this guest has not hotplug = true");
        }
        Ok(number)
    }

    fn pluggable(&self) -> String {
        let numbers = (0..self.cards.len()).filter(|_| self.hotplug);
        let word = |number| format!("{}={}", cards::name(number), cards::address(number));
        numbers.map(word).collect::<Vec<_>>().join(" ")
    }

    fn models(&self) -> String {
        let word = |(number, what): &(usize, &str)| {
            format!(
                "{}={what}@{}",
                cards::name(*number),
                cards::address(*number)
            )
        };
        let models = self.models.list();
        models.iter().map(word).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(hotplug: bool) -> Result<Desk> {
        // Nobody is at the other end of QEMU's channel.
        let (channel, _) = UnixStream::pair()?;
        Ok(Desk {
            control: Arc::new(Mutex::new(Control::new(channel))),
            models: Arc::default(),
            cards: vec!["edu".to_owned(), "edu".to_owned()],
            hotplug,
        })
    }

    fn ask(desk: &Desk, line: &str) -> Result<String> {
        desk.one(&line.parse().map_err(anyhow::Error::msg)?)
    }

    #[test]
    fn cards_are_named_where_they_can_be_pulled() -> Result<()> {
        let cards = ask(&desk(true)?, "cards")?;
        assert_eq!(cards, "card0=0000:00:10.0 card1=0000:00:11.0");
        let desk = desk(false)?;
        assert_eq!(ask(&desk, "cards")?, "");
        let error = ask(&desk, "device_del card1").expect_err("it cannot be pulled");
        assert!(error.to_string().contains("hotplug"), "{error}");
        Ok(())
    }

    #[test]
    fn only_a_model_can_be_asked() -> Result<()> {
        let desk = desk(true)?;
        assert_eq!(ask(&desk, "models")?, "");
        let error = ask(&desk, "control card1 {}").expect_err("no model");
        assert_eq!(error.to_string(), "card1 is no model");
        let error = ask(&desk, "control card2 {}").expect_err("no card");
        assert_eq!(error.to_string(), "no card card2");
        Ok(())
    }
}

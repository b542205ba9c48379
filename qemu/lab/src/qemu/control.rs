// SPDX-License-Identifier: GPL-2.0 OR MIT

//! QEMU's own channel, QMP: asked to end the machine, and to pull and plug the
//! cards of a guest with `hotplug = true`.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use qapi::qmp::Event;
use userdma_init::lab::Answer;
use userdma_init::lab::Request;

/// How long QEMU may take to answer.
pub(crate) const OBEY: Duration = Duration::from_secs(5);

/// How long the guest may take to let go of a card.
const LET_GO: Duration = Duration::from_secs(30);

/// The first slot of the root ports with cards, on the root bus.
const FIRST_SLOT: usize = 0x10;

type Qmp = qapi::Qmp<qapi::Stream<BufReader<UnixStream>, UnixStream>>;

/// The channel.
pub(crate) struct Control {
    stream: Option<UnixStream>,
    qmp: Option<Qmp>,
    /// Cards that were asked to go and have not gone yet.
    going: BTreeSet<String>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Control")
            .field("going", &self.going)
            .finish_non_exhaustive()
    }
}

impl Control {
    /// Takes our end of the channel; QEMU is greeted at the first use.
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream: Some(stream),
            qmp: None,
            going: BTreeSet::new(),
        }
    }

    fn qmp(&mut self) -> Result<&mut Qmp> {
        if let Some(stream) = self.stream.take() {
            stream.set_read_timeout(Some(OBEY))?;
            stream.set_write_timeout(Some(OBEY))?;
            let stream = qapi::Stream::new(BufReader::new(stream.try_clone()?), stream);
            let mut qmp = qapi::Qmp::new(stream);
            qmp.handshake().context("greeting QEMU")?;
            self.qmp = Some(qmp);
        }
        self.qmp.as_mut().context("QEMU was never greeted")
    }

    /// Asks what the machine is doing, then ends it.
    pub(crate) fn quit(&mut self) -> Result<String> {
        let qmp = self.qmp()?;
        let status = qmp
            .execute(&qapi::qmp::query_status {})
            .context("query-status")?;
        qmp.execute(&qapi::qmp::quit {}).context("quit")?;
        Ok(format!("the machine was {:?}", status.status))
    }

    fn delete(&mut self, card: &str) -> Result<()> {
        let id = card.to_owned();
        self.qmp()?
            .execute(&qapi::qmp::device_del { id })
            .context("device_del")?;
        self.going.insert(card.to_owned());
        Ok(())
    }

    fn add(&mut self, number: usize, card: &str) -> Result<()> {
        let (driver, properties) = card.split_once(',').unwrap_or((card, ""));
        let mut arguments = qapi::Dictionary::new();
        for property in properties.split(',').filter(|text| !text.is_empty()) {
            let (name, value) = property.split_once('=').context("property without value")?;
            arguments.insert(name.to_owned(), typed(value));
        }
        let add = qapi::qmp::device_add {
            bus: Some(port_name(number)),
            id: Some(card_name(number)),
            driver: driver.to_owned(),
            arguments,
        };
        self.qmp()?.execute(&add).context("device_add")?;
        Ok(())
    }

    /// Whether QEMU still has a card that was asked to go.
    fn is_going(&mut self, card: &str) -> Result<bool> {
        let qmp = self.qmp()?;
        // Events come with the answer to any command.
        qmp.nop().context("asking QEMU for events")?;
        let gone: Vec<String> = qmp
            .events()
            .filter_map(|event| match event {
                Event::DEVICE_DELETED { data, .. } => data.device,
                _ => None,
            })
            .collect();
        for name in &gone {
            self.going.remove(name);
        }
        Ok(self.going.contains(card))
    }
}

/// A property's value as JSON has it: QEMU takes no number in quotes.
fn typed(value: &str) -> qapi::Any {
    let number = match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => value.parse().ok(),
    };
    match (number, value) {
        (Some(number), _) => number.into(),
        (None, "on") => true.into(),
        (None, "off") => false.into(),
        (None, text) => text.into(),
    }
}

fn port_name(number: usize) -> String {
    format!("port{number}")
}

fn card_name(number: usize) -> String {
    format!("card{number}")
}

/// The `-device` arguments of cards that can be pulled, each behind a port.
pub(crate) fn pluggable(cards: &[String]) -> Vec<String> {
    let pair = |(number, card): (usize, &String)| {
        let (port, id) = (port_name(number), card_name(number));
        let (slot, chassis) = (FIRST_SLOT + number, number + 1);
        [
            format!(
                "pcie-root-port,id={port},bus=pcie.0,addr={slot:#x},chassis={chassis},slot={chassis}"
            ),
            format!("{card},id={id},bus={port}"),
        ]
    };
    cards.iter().enumerate().flat_map(pair).collect()
}

/// Obeys the guest's requests, one line each, until it ends.
pub(crate) fn obey(channel: UnixStream, control: Arc<Mutex<Control>>, cards: Vec<String>) {
    std::thread::spawn(move || {
        let Ok(mut answers) = channel.try_clone() else {
            return;
        };
        for line in BufReader::new(channel).lines() {
            let Ok(line) = line else { return };
            let answer = match line.parse() {
                Ok(request) => one(&request, &control, &cards).map_err(|e| format!("{e:#}")),
                Err(words) => Err(words),
            };
            if writeln!(answers, "{}", Answer(answer)).is_err() {
                return;
            }
        }
    });
}

fn one(request: &Request, control: &Mutex<Control>, cards: &[String]) -> Result<String> {
    // Locked for one command at a time: the machine can be ended at any moment.
    let control = || control.lock().unwrap_or_else(PoisonError::into_inner);
    let number = |name: &str| {
        (0..cards.len())
            .find(|number| card_name(*number) == *name)
            .with_context(|| format!("no card {name}"))
    };
    match request {
        Request::Cards => Ok((0..cards.len())
            .map(|number| {
                format!(
                    "{}=0000:00:{:02x}.0",
                    card_name(number),
                    FIRST_SLOT + number
                )
            })
            .collect::<Vec<_>>()
            .join(" ")),
        Request::DeviceDel(name) => {
            number(name)?;
            control().delete(name)?;
            Ok(String::new())
        }
        Request::DeviceAdd(name) => {
            let number = number(name)?;
            let deadline = Instant::now() + LET_GO;
            while control().is_going(name)? {
                if Instant::now() > deadline {
                    bail!("the guest has not let go of {name} after {LET_GO:?}");
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            control().add(number, &cards[number])?;
            Ok(String::new())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_have_the_types_of_json() {
        assert_eq!(typed("0xffffffffffffffff"), qapi::Any::from(u64::MAX));
        assert_eq!(typed("12"), qapi::Any::from(12));
        assert_eq!(typed("on"), qapi::Any::from(true));
        assert_eq!(typed("name"), qapi::Any::from("name"));
    }

    #[test]
    fn each_card_has_a_port_of_its_own() {
        let devices = pluggable(&["edu".to_owned(), "edu,dma_mask=1".to_owned()]);
        assert_eq!(devices.len(), 4);
        assert!(devices[2].contains("id=port1,bus=pcie.0,addr=0x11,chassis=2"));
        assert_eq!(devices[3], "edu,dma_mask=1,id=card1,bus=port1");
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The cards of a guest as QEMU takes them: where each is, and its properties.
//! A device of QEMU's own is named as text; a model needs JSON, because its
//! socket is a structure.

use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use qapi::Any;
use qapi::Dictionary;

use crate::config::Guest;
use crate::models;
use crate::models::Models;

/// The first slot, on the root bus, of cards or their ports where it must be
/// known.
const FIRST_SLOT: usize = 0x10;

/// The device of QEMU's that is a model's other half.
const OTHER_HALF: &str = "vfio-user-pci";

/// How many milliseconds QEMU waits for a model's answer before it gives the card up
/// for good. Four times its default: the host may be busy.
const ANSWER_MS: u64 = 20_000;

/// What QEMU, the guest and the logs call a card.
pub(crate) fn name(number: usize) -> String {
    format!("card{number}")
}

/// The port that a card is behind, where it can be pulled.
pub(crate) fn port_name(number: usize) -> String {
    format!("port{number}")
}

/// The PCI address of a card, or where cards can be pulled of its port.
pub(crate) fn address(number: usize) -> String {
    format!("0000:00:{:02x}.0", FIRST_SLOT + number)
}

/// A device as QEMU's own channel takes it, without its place.
#[derive(Debug, PartialEq)]
pub(crate) struct Device {
    pub(crate) driver: String,
    pub(crate) properties: Dictionary,
}

impl Device {
    /// The device that a card of `guests.toml` is; `socket` is that of a model.
    pub(crate) fn of(card: &str, socket: Option<&Path>) -> Result<Self> {
        let (driver, text) = card.split_once(',').unwrap_or((card, ""));
        let mut properties = Dictionary::new();
        let is_model = socket.is_some();
        let driver = match socket {
            Some(path) => {
                let path = path.to_str().context("a socket's path")?;
                let socket = serde_json::json!({ "type": "unix", "path": path });
                properties.insert("socket".to_owned(), socket);
                // A write is done when the model has seen it: what a program does
                // next comes after it, and the model's faults come where they belong.
                properties.insert("x-no-posted-writes".to_owned(), true.into());
                properties.insert("x-msg-timeout".to_owned(), ANSWER_MS.into());
                OTHER_HALF
            }
            None => driver,
        };
        for property in text.split(',').filter(|text| !text.is_empty()) {
            if is_model && models::is_of_the_model(property) {
                continue;
            }
            let (name, value) = property
                .split_once('=')
                .with_context(|| format!("card \"{card}\": property without value"))?;
            properties.insert(name.to_owned(), typed(value));
        }
        Ok(Self {
            driver: driver.to_owned(),
            properties,
        })
    }

    /// The argument of `-device` that puts it into a place.
    fn argument(mut self, place: &[(&str, String)]) -> String {
        let driver = ("driver", self.driver);
        for (name, value) in place.iter().cloned().chain([driver]) {
            self.properties.insert(name.to_owned(), value.into());
        }
        Any::from(self.properties).to_string()
    }
}

/// A property's value as JSON has it: QEMU takes no number in quotes.
fn typed(value: &str) -> Any {
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

/// The arguments of `-device` for all cards of a guest, their ports included.
pub(crate) fn arguments(guest: &Guest, running: &Models) -> Result<Vec<String>> {
    if !guest.hotplug && running.is_empty() {
        return Ok(guest.cards.clone());
    }
    let mut arguments = Vec::new();
    for (number, card) in guest.cards.iter().enumerate() {
        let slot = format!("{:#x}", FIRST_SLOT + number);
        let mut place = vec![("id", name(number))];
        if guest.hotplug {
            let (port, chassis) = (port_name(number), number + 1);
            arguments.push(format!(
                "pcie-root-port,id={port},bus=pcie.0,addr={slot},chassis={chassis},slot={chassis}"
            ));
            place.push(("bus", port));
        } else {
            place.extend([("bus", "pcie.0".to_owned()), ("addr", slot)]);
        }
        arguments.push(match running.socket(number) {
            Some(socket) => Device::of(card, Some(&socket))?.argument(&place),
            None => {
                let place = place.iter().map(|(name, value)| format!(",{name}={value}"));
                card.clone() + &place.collect::<String>()
            }
        });
    }
    Ok(arguments)
}

/// `-machine` and what belongs to it. The process of a model reads and writes the
/// guest's memory itself, so that must be memory that QEMU can share.
pub(crate) fn machine(guest: &Guest) -> Vec<String> {
    let machine = "-machine".to_owned();
    if !guest.has_models() {
        return vec![machine, guest.machine.clone()];
    }
    vec![
        "-object".to_owned(),
        format!("memory-backend-memfd,id=ram,size={},share=on", guest.memory),
        machine,
        format!("{},memory-backend=ram", guest.machine),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn guest(hotplug: bool, cards: &str) -> Result<Guest> {
        let text = format!("what = \"\"\nmemory = \"1G\"\nhotplug = {hotplug}\ncards = {cards}");
        Ok(toml::from_str(&text)?)
    }

    #[test]
    fn properties_have_the_types_of_json() {
        assert_eq!(typed("0xffffffffffffffff"), Any::from(u64::MAX));
        assert_eq!(typed("12"), Any::from(12));
        assert_eq!(typed("on"), Any::from(true));
        assert_eq!(typed("name"), Any::from("name"));
    }

    #[test]
    fn each_card_that_can_be_pulled_has_a_port_of_its_own() -> Result<()> {
        let guest = guest(true, r#"["edu", "edu,dma_mask=1"]"#)?;
        let devices = arguments(&guest, &Models::default())?;
        assert_eq!(devices.len(), 4);
        assert!(devices[2].contains("id=port1,bus=pcie.0,addr=0x11,chassis=2"));
        assert_eq!(devices[3], "edu,dma_mask=1,id=card1,bus=port1");
        Ok(())
    }

    #[test]
    fn cards_of_qemus_own_stay_as_they_are() -> Result<()> {
        let guest = guest(false, r#"["edu", "edu,dma_mask=1"]"#)?;
        assert_eq!(arguments(&guest, &Models::default())?, guest.cards);
        assert_eq!(machine(&guest), ["-machine", "q35"]);
        Ok(())
    }

    #[test]
    fn a_model_is_json_with_its_socket() -> Result<()> {
        let device = Device::of(
            "edu-daq,memory=1,x-msg-timeout=9",
            Some(Path::new("/tmp/s")),
        )?;
        assert_eq!(device.driver, "vfio-user-pci");
        let argument = device.argument(&[("id", name(1)), ("addr", "0x11".to_owned())]);
        assert_eq!(
            serde_json::from_str::<Any>(&argument)?,
            json!({
                "driver": "vfio-user-pci",
                "id": "card1",
                "addr": "0x11",
                "socket": { "type": "unix", "path": "/tmp/s" },
                "x-no-posted-writes": true,
                "x-msg-timeout": 9,
            })
        );
        Ok(())
    }

    #[test]
    fn a_guest_with_a_model_has_memory_that_can_be_shared() -> Result<()> {
        let guest = guest(false, r#"["edu", "template"]"#)?;
        let arguments = machine(&guest);
        assert!(arguments[1].contains("size=1G,share=on"));
        assert_eq!(arguments[3], "q35,memory-backend=ram");
        assert_eq!(address(1), "0000:00:11.0");
        Ok(())
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a program in the guest may ask of the laboratory: things that can be
//! done to the machine and its cards only from outside.
//!
//! The environment variable [`VARIABLE`] holds the path of a character device.
//! Where it is not set, the guest has no such channel, and a test that needs it
//! is skipped. One program at a time may have the device open (EBUSY); it
//! writes a request and reads the answer, a line each:
//!
//! ```text
//! request                       answer
//! cards                         ok card0=0000:00:10.0 card1=0000:00:11.0
//! device_del card0              ok
//! device_add card0              ok
//! models                        ok card1=edu-daq@0000:00:11.0
//! control card1 {"report": {}}  ok {"count":0,"violations":[]}
//! control card1 {"die": {}}     ok
//! anything else                 error WORDS
//! ```
//!
//! * `cards` names the cards that can be pulled, each with the PCI address of
//!   the port that it is behind: in sysfs the card is the device below the port.
//!   In a guest without such ports there are none: `ok`.
//! * `device_del` is answered when QEMU has asked the guest to let the card go;
//!   it is gone when its directory is gone from sysfs.
//! * `device_add` waits until QEMU has let go of the one before, 30 s at most;
//!   the card is there when the driver has made a node for it. A model whose
//!   process is gone is started anew for it.
//! * `models` names the cards that are models, processes of the laboratory, each
//!   with what it is and its PCI address; where cards can be pulled, with that of
//!   the port that it is behind, as `cards` does.
//! * `control` passes the rest of the line to a model's control socket. What the
//!   model answers as `ok` comes back as JSON, and what as `error` as words. Which
//!   requests there are is in the data sheet of the card.
//! * `control` of `{"die": {}}` is answered when the process has gone. What it had
//!   found fault with until then still fails the run.

use std::fmt;
use std::str::FromStr;

/// The environment variable with the path of the channel.
pub const VARIABLE: &str = "USERDMA_LAB";

/// The name of the port, in `/sys/class/virtio-ports/*/name`.
pub const PORT: &str = "userdma.lab";

/// A line from the guest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// Which cards can be pulled.
    Cards,
    /// Pull a card.
    DeviceDel(String),
    /// Plug it in again.
    DeviceAdd(String),
    /// Which cards are models.
    Models,
    /// Ask a model for something.
    Control {
        /// The card.
        card: String,
        /// What its control socket gets, as it was written.
        json: String,
    },
}

impl FromStr for Request {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["cards"] => Ok(Self::Cards),
            ["device_del", card] => Ok(Self::DeviceDel(card.to_owned())),
            ["device_add", card] => Ok(Self::DeviceAdd(card.to_owned())),
            ["models"] => Ok(Self::Models),
            ["control", card, _, ..] => Ok(Self::Control {
                card: card.to_owned(),
                // Not put together from the words: spaces in a text of JSON count.
                json: after_words(line, 2).to_owned(),
            }),
            _ => Err(format!("no such request: {line}")),
        }
    }
}

/// What follows the first `count` words of a line.
fn after_words(line: &str, count: usize) -> &str {
    let mut rest = line.trim();
    for _ in 0..count {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        rest = rest[end..].trim_start();
    }
    rest
}

/// A line to the guest: what it asked for, or why not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer(pub Result<String, String>);

impl fmt::Display for Answer {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An answer is one line, whatever the words.
        let (word, text) = match &self.0 {
            Ok(text) => ("ok", text),
            Err(text) => ("error", text),
        };
        let line = format!("{word} {}", text.replace('\n', " "));
        to.write_str(line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_words() {
        assert_eq!("cards\n".parse(), Ok(Request::Cards));
        assert_eq!("models".parse(), Ok(Request::Models));
        assert_eq!(
            "device_del card1".parse(),
            Ok(Request::DeviceDel("card1".to_owned()))
        );
        for line in ["", "device_add", "device_add a b", "Cards", "control card1"] {
            assert!(line.parse::<Request>().is_err(), "{line}");
        }
    }

    #[test]
    fn json_is_passed_as_it_is() {
        let json = r#"{"inject":  {"fault": "two  spaces"}}"#;
        assert_eq!(
            format!("  control \t card1  {json}\n").parse(),
            Ok(Request::Control {
                card: "card1".to_owned(),
                json: json.to_owned(),
            })
        );
    }

    #[test]
    fn an_answer_is_one_line() {
        let lines = Answer(Err("first\nsecond".to_owned())).to_string();
        assert_eq!(lines, "error first second");
        assert_eq!(Answer(Ok(String::new())).to_string(), "ok");
    }
}

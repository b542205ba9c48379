// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A card that can be told what to do wrong.

use std::fs;

use crate::guest::Card;
use crate::lab::Lab;
use crate::outcome::Outcome;

/// A model of the laboratory's, until the end of this: then it is well again.
pub(crate) struct Model {
    lab: Lab,
    name: String,
}

/// The cards that are models, and what the laboratory calls them.
pub(crate) fn models(lab: &mut Lab, cards: &[Card]) -> Outcome<Vec<(String, Card)>> {
    let answer = lab.ask("models")?;
    let mut models = Vec::new();
    for card in cards {
        // Where cards can be pulled, the address is that of the port above it.
        let path = fs::canonicalize(card.sysfs())?;
        let port = path.parent().and_then(|parent| parent.file_name());
        let places = [Some(card.bus.as_str().as_ref()), port];
        let name = answer.split_whitespace().find_map(|word| {
            let (name, rest) = word.split_once('=')?;
            let address = rest.strip_prefix("edu-daq@")?;
            let here = places.contains(&Some(address.as_ref()));
            here.then(|| name.to_owned())
        });
        models.extend(name.map(|name| (name, card.clone())));
    }
    Ok(models)
}

impl Model {
    /// The model that a card is.
    pub(crate) fn of(card: &Card) -> Outcome<Self> {
        let mut lab = Lab::open()?;
        match models(&mut lab, std::slice::from_ref(card))?.pop() {
            Some((name, _)) => Ok(Self { lab, name }),
            None => skip!("needs a card that is the laboratory's edu-daq"),
        }
    }

    /// The next time something goes wrong on a channel.
    pub(crate) fn inject(&mut self, fault: &str, channel: u16) -> Outcome {
        self.inject_ms(fault, channel, 0)
    }

    /// The same with a time.
    pub(crate) fn inject_ms(&mut self, fault: &str, channel: u16, ms: u64) -> Outcome {
        inject(&mut self.lab, &self.name, fault, channel, ms)
    }

    /// Ends all faults.
    pub(crate) fn heal(&mut self) -> Outcome {
        heal(&mut self.lab, &self.name)
    }

    /// It was right to do what the card found fault with.
    pub(crate) fn forgive(&mut self) -> Outcome {
        tell(&mut self.lab, &self.name, r#"{"forgive":{}}"#)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // For the next test, if this one has failed.
        let _ = self.heal();
    }
}

/// Tells the model `name` something.
pub(crate) fn tell(lab: &mut Lab, name: &str, request: &str) -> Outcome {
    lab.ask(&format!("control {name} {request}"))?;
    Ok(())
}

/// Ends all faults of the model `name`.
pub(crate) fn heal(lab: &mut Lab, name: &str) -> Outcome {
    tell(lab, name, r#"{"heal":{}}"#)
}

/// Makes something go wrong on a channel of the model `name`.
pub(crate) fn inject(lab: &mut Lab, name: &str, fault: &str, channel: u16, ms: u64) -> Outcome {
    let inject = format!(r#"{{"inject":{{"fault":"{fault}","channel":{channel},"ms":{ms}}}}}"#);
    tell(lab, name, &inject)
}

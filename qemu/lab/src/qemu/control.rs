// SPDX-License-Identifier: GPL-2.0 OR MIT

//! QEMU's own channel, QMP: asked to end the machine, and to pull and plug the
//! cards of a guest with `hotplug = true`.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use qapi::qmp::Event;

use crate::qemu::cards;
use crate::qemu::cards::Device;

/// How long QEMU may take to answer.
pub(crate) const OBEY: Duration = Duration::from_secs(5);

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

    /// What every processor has in its registers and its interrupt controller.
    pub(crate) fn processors(&mut self) -> Result<String> {
        let qmp = self.qmp()?;
        let mut text = String::new();
        for command in [
            "info registers -a",
            "info lapic 0",
            "info lapic 1",
            "info pic",
        ] {
            let ask = qapi::qmp::human_monitor_command {
                cpu_index: None,
                command_line: command.to_owned(),
            };
            text += &qmp.execute(&ask).context(command)?;
        }
        Ok(text)
    }

    /// Asks the guest to let a card go.
    pub(crate) fn delete(&mut self, card: &str) -> Result<()> {
        let id = card.to_owned();
        self.qmp()?
            .execute(&qapi::qmp::device_del { id })
            .context("device_del")?;
        self.going.insert(card.to_owned());
        Ok(())
    }

    /// Puts a card behind its port.
    pub(crate) fn add(&mut self, number: usize, device: Device) -> Result<()> {
        let add = qapi::qmp::device_add {
            bus: Some(cards::port_name(number)),
            id: Some(cards::name(number)),
            driver: device.driver,
            arguments: device.properties,
        };
        self.qmp()?.execute(&add).context("device_add")?;
        Ok(())
    }

    /// Whether QEMU still has a card that was asked to go.
    pub(crate) fn is_going(&mut self, card: &str) -> Result<bool> {
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

/// Where the processors are, of what QEMU tells of their registers.
pub(crate) fn at(registers: &str) -> String {
    let places = registers.lines().filter_map(|line| {
        let place = line.strip_prefix("RIP=").or(line.strip_prefix("EIP="))?;
        let place = place.split_whitespace().next()?;
        let halted = line.ends_with("HLT=1");
        Some(format!("{place}{}", if halted { " halted" } else { "" }))
    });
    format!("processors at {}", places.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_told_by_their_place() {
        let text = "CPU#0\nRAX=0000000000000000 RBX=0000000000000001\n\
                    RIP=ffffffff81f3a8cb RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\n\
                    CPU#1\nRIP=ffffffff810d1ae4 RFL=00000286 [--S--P-] CPL=0 II=0 A20=1 SMM=0 HLT=0\n";
        let expected = "processors at ffffffff81f3a8cb halted, ffffffff810d1ae4";
        assert_eq!(at(text), expected);
    }
}

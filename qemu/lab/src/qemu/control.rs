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

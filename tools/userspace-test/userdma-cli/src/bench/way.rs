// SPDX-License-Identifier: GPL-2.0 OR MIT
//! By which calls transfers are handed over, and their ends collected.

use std::time::Duration;

use userdma::uring::Ring;
use userdma::Device;
use userdma::ErrorKind;
use userdma::Result;
use userdma::Transfer;
use userdma::Wait;

use crate::cli;

/// Longer than the card may take for what is in flight: the driver ends what it
/// does not end itself.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a thread of the kernel's looks for more before it sleeps.
const IDLE: Duration = Duration::from_secs(1);

/// By which calls.
pub(super) enum Way {
    Ioctl {
        device: Device,
        /// System calls so far.
        calls: u64,
    },
    Ring(Box<Ring>),
}

/// The end of a transfer.
pub(super) struct Ended {
    pub(super) channel: u32,
    pub(super) result: Result<u64>,
    /// From when the card was given it to its end; a ring does not tell.
    pub(super) on_card: Option<Duration>,
}

impl Way {
    pub(super) fn new(way: cli::Way, device: &Device) -> Result<Self> {
        let ring = Ring::builder(device);
        Ok(match way {
            cli::Way::Ioctl => Self::Ioctl {
                device: device.clone(),
                calls: 0,
            },
            cli::Way::Uring => Self::Ring(Box::new(ring.build()?)),
            cli::Way::Sqpoll => Self::Ring(Box::new(ring.polled(IDLE).build()?)),
        })
    }

    /// Gives how many system calls were made so far.
    pub(super) fn calls(&self) -> u64 {
        match self {
            Self::Ioctl { calls, .. } => *calls,
            Self::Ring(ring) => ring.calls(),
        }
    }

    /// Hands transfers over, at the latest when it is waited; there must be room for
    /// them.
    pub(super) fn submit(&mut self, transfers: &[Transfer]) -> Result<()> {
        match self {
            Self::Ioctl { device, calls } => {
                let mut sent = 0;
                while sent < transfers.len() {
                    *calls += 1;
                    sent += device.submit(&transfers[sent..])?;
                }
                Ok(())
            }
            // Waiting hands them over, with one system call for both.
            Self::Ring(ring) => transfers.iter().try_for_each(|it| ring.push(it)),
        }
    }

    /// Waits until `min` have ended and takes at most `max`; fewer, or none, if a
    /// signal comes.
    pub(super) fn wait(&mut self, min: usize, max: usize) -> Result<Vec<Ended>> {
        let wait = Wait::new().max(max).min(min).timeout(PATIENCE);
        let ended = match self {
            Self::Ioctl { device, calls } => {
                *calls += 1;
                let ended = device.wait(&wait);
                ended.map(|all| {
                    all.map(|it| Ended {
                        channel: it.channel(),
                        result: it.result(),
                        on_card: it.started().map(|_| it.duration()),
                    })
                    .collect()
                })
            }
            Self::Ring(ring) => {
                let ended = ring.wait(&wait);
                ended.map(|all| {
                    all.map(|it| Ended {
                        channel: it.channel().into(),
                        result: it.result(),
                        on_card: None,
                    })
                    .collect()
                })
            }
        };
        match ended {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Vec::new()),
            other => other,
        }
    }
}

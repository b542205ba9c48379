// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What was asked for to go wrong.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::bail;
use userdma_model::lock;

use crate::registers::CHANNELS;

/// What goes wrong with an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InterruptFault {
    Late(Duration),
    Lost,
    Double,
}

/// What goes wrong with a chain, in its middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChainFault {
    /// It ends there: FAILED.
    Error,
    /// It ends there: OK.
    Short,
    /// It stops there. `hard`: not even RESET helps.
    Stuck { hard: bool },
    /// It pauses there.
    Slow(Duration),
}

/// What a chain meets in its middle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Middle {
    pub(crate) fault: Option<ChainFault>,
    /// That of all chains.
    pub(crate) slow: Duration,
}

impl Middle {
    /// Whether it is as any other place.
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// A fault of `inject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Interrupt(InterruptFault),
    /// An interrupt for nothing, which is the caller's to raise.
    Spurious,
    Chain(ChainFault),
    SlowAll(Duration),
}

impl Fault {
    /// The fault of a name. `ms`: its milliseconds, for those that have a time.
    pub(crate) fn from_name(name: &str, ms: Option<u64>) -> anyhow::Result<Self> {
        let time = || match ms {
            Some(ms) => Ok(Duration::from_millis(ms)),
            None => bail!("the fault \"{name}\" needs \"ms\""),
        };
        Ok(match name {
            "late-interrupt" => Self::Interrupt(InterruptFault::Late(time()?)),
            "lost-interrupt" => Self::Interrupt(InterruptFault::Lost),
            "double-interrupt" => Self::Interrupt(InterruptFault::Double),
            "spurious-interrupt" => Self::Spurious,
            "error" => Self::Chain(ChainFault::Error),
            "short" => Self::Chain(ChainFault::Short),
            "stuck" => Self::Chain(ChainFault::Stuck { hard: false }),
            "stuck-hard" => Self::Chain(ChainFault::Stuck { hard: true }),
            "slow" => Self::Chain(ChainFault::Slow(time()?)),
            "slow-all" => Self::SlowAll(time()?),
            _ => bail!("there is no fault \"{name}\""),
        })
    }
}

#[derive(Debug, Default)]
struct Pending {
    /// What comes next is last, with how often.
    interrupts: Vec<(InterruptFault, u64)>,
    chains: Vec<(ChainFault, u64)>,
    slow: Duration,
}

/// The faults that are still to come.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    channels: [Mutex<Pending>; CHANNELS],
    heals: AtomicU64,
}

impl Faults {
    /// Adds a fault behind those that are there.
    pub(crate) fn inject(&self, channel: usize, fault: Fault, count: u64) {
        let mut pending = lock(&self.channels[channel]);
        match fault {
            Fault::Interrupt(fault) => pending.interrupts.insert(0, (fault, count)),
            Fault::Chain(fault) => pending.chains.insert(0, (fault, count)),
            Fault::SlowAll(time) => pending.slow = time,
            Fault::Spurious => {}
        }
    }

    /// Ends all faults, also those that chains are stuck in.
    pub(crate) fn heal(&self) {
        for channel in &self.channels {
            *lock(channel) = Pending::default();
        }
        self.heals.fetch_add(1, Ordering::Release);
    }

    /// How often all faults were ended.
    pub(crate) fn heals(&self) -> u64 {
        self.heals.load(Ordering::Acquire)
    }

    /// What an interrupt of this channel meets.
    pub(crate) fn interrupt(&self, channel: usize) -> Option<InterruptFault> {
        next(&mut lock(&self.channels[channel]).interrupts)
    }

    /// What a chain of this channel meets.
    pub(crate) fn chain(&self, channel: usize) -> Middle {
        let mut pending = lock(&self.channels[channel]);
        Middle {
            fault: next(&mut pending.chains),
            slow: pending.slow,
        }
    }
}

fn next<T: Copy>(faults: &mut Vec<(T, u64)>) -> Option<T> {
    while let Some((fault, count)) = faults.last_mut() {
        if *count > 0 {
            *count -= 1;
            return Some(*fault);
        }
        faults.pop();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_in_their_order_and_number() -> anyhow::Result<()> {
        let faults = Faults::default();
        faults.inject(1, Fault::from_name("error", None)?, 2);
        faults.inject(1, Fault::from_name("short", None)?, 0);
        faults.inject(1, Fault::from_name("slow", Some(5))?, 1);
        faults.inject(1, Fault::from_name("slow-all", Some(7))?, 1);
        let met: Vec<_> = (0..4).map(|_| faults.chain(1).fault).collect();
        let slow = ChainFault::Slow(Duration::from_millis(5));
        let error = Some(ChainFault::Error);
        assert_eq!(met, [error, error, Some(slow), None]);
        assert_eq!(faults.chain(1).slow, Duration::from_millis(7));
        assert!(faults.chain(0).is_nothing());
        faults.heal();
        assert!(faults.chain(1).is_nothing());
        assert_eq!(faults.heals(), 1);
        Ok(())
    }

    #[test]
    fn interrupts_are_apart_from_chains() -> anyhow::Result<()> {
        let faults = Faults::default();
        faults.inject(3, Fault::from_name("lost-interrupt", None)?, 1);
        assert!(faults.chain(3).is_nothing());
        assert_eq!(faults.interrupt(3), Some(InterruptFault::Lost));
        assert_eq!(faults.interrupt(3), None);
        assert!(Fault::from_name("late-interrupt", None).is_err());
        assert!(Fault::from_name("coffee", Some(1)).is_err());
        Ok(())
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One transfer that goes wrong, by each way that a program has, and what it sees.

use std::time::{Duration, Instant};

use userdma::sys;

use super::on;
use super::others::{among, check_channels};
use crate::device::{from_card, tagged, to_card, Buffer, Device, COHERENT};
use crate::eventfd::Counter;
use crate::guest::{self, Card, Counters};
use crate::memory::{Mapping, PAGE};
use crate::model::Faulty;
use crate::outcome::{all_bytes, Context as _, Outcome};
use crate::poll::{until_within, LONG};
use crate::raw::{wide, Sys};
use crate::registry::Context;
use crate::requests::{pread, pwrite};
use crate::suites::uring::Ring;

/// How a program asks for a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// SUBMIT and WAIT, from the card.
    Wait,
    /// io_uring, to the card.
    Ring,
    /// read() and write() of the program's own pages, and of what is not aligned.
    Read,
    ReadCopied,
    Write,
    WriteCopied,
}

impl Way {
    pub(super) const ALL: [Self; 6] = [
        Self::Wait,
        Self::Ring,
        Self::Read,
        Self::ReadCopied,
        Self::Write,
        Self::WriteCopied,
    ];

    /// Each once: read() and write() have only the card's own time limit.
    pub(super) const FEW: [Self; 4] = [Self::Wait, Self::Ring, Self::Read, Self::WriteCopied];

    fn is_request(self) -> bool {
        !matches!(self, Self::Wait | Self::Ring)
    }

    fn to_card(self) -> bool {
        matches!(self, Self::Ring | Self::Write | Self::WriteCopied)
    }
}

/// A fault, and what comes of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) fault: &'static str,
    pub(super) ms: u64,
    /// The time limit of the transfer, in milliseconds; 0 is the card's.
    pub(super) limit: u64,
    /// What the record says: 0 or a negative errno, and how many bytes.
    pub(super) result: i32,
    pub(super) bytes: usize,
    /// It takes so long at least, in milliseconds.
    pub(super) least: u64,
    /// The counters that grow by one.
    pub(super) counters: &'static [&'static str],
    /// Or do not, if the machine is so slow that it takes two interrupts for one.
    pub(super) merged: bool,
}

impl Case {
    /// A fault that only takes time, or not even that.
    pub(super) const fn well(fault: &'static str) -> Self {
        Self {
            fault,
            ms: 0,
            limit: 0,
            result: 0,
            bytes: PAGE,
            least: 0,
            counters: &[],
            merged: false,
        }
    }

    /// By each of `ways` with nothing else on the card, where every counter is exact.
    pub(super) fn run_alone(self, context: &Context, ways: &[Way]) -> Outcome {
        let card = context.card().clone();
        let mut model = Faulty::of(&card)?;
        for way in ways {
            self.alone(&card, &mut model, *way)
                .context(|| format!("{way:?}"))?;
        }
        Ok(())
    }

    /// The same, and then among others, which must not notice.
    pub(super) fn run(self, context: &Context, ways: &[Way]) -> Outcome {
        self.run_alone(context, ways)?;
        let card = context.card().clone();
        let mut model = Faulty::of(&card)?;
        among(&card, |others| {
            let mut scene = Scene::new(&card)?;
            self.arm(&mut model)?;
            scene.submit(self.limit)?;
            others.let_in();
            let end = scene.record()?;
            self.check(Way::Wait, end).context(|| "among others".into())
        })?;
        check_channels(&card)
    }

    /// Makes it happen to the next transfer on channel 0.
    pub(super) fn arm(&self, model: &mut Faulty) -> Outcome {
        model.inject_ms(self.fault, 0, self.ms)
    }

    fn alone(&self, card: &Card, model: &mut Faulty, way: Way) -> Outcome {
        let mut scene = Scene::new(card)?;
        let before = Seen::now(card, &scene.device)?;
        self.arm(model)?;
        let begin = Instant::now();
        let end = scene.run(way, self.limit)?;
        let took = begin.elapsed();
        self.check(way, end)?;
        check!(
            took >= Duration::from_millis(self.least),
            "it took {took:?}, less than {} ms",
            self.least
        );
        if self.bytes > 0 {
            scene.check_data(way, self.bytes)?;
        }
        before.check(card, &scene.device, *self)?;
        check_channels(card)
    }

    fn check(&self, way: Way, (result, bytes): (i32, usize)) -> Outcome {
        let want = match way {
            // What was moved is told instead of the error, as of any file.
            _ if way.is_request() && self.bytes > 0 => 0,
            _ => self.result,
        };
        check_eq!(result, want);
        check_eq!(bytes, self.bytes);
        Ok(())
    }
}

/// The card's counters, and how many transfers of the file have failed.
struct Seen {
    card: Counters,
    failed: u64,
}

/// Much longer than the second of two interrupts takes to come.
const SOON: Duration = Duration::from_secs(1);

/// Which must not move but for the fault.
const EXACT: [&str; 3] = ["lost_interrupts", "spurious_interrupts", "timeouts"];

impl Seen {
    fn now(card: &Card, device: &Device) -> Outcome<Self> {
        Ok(Self {
            card: card.stats()?,
            failed: guest::number(&guest::fdinfo(device)?, "failed")?,
        })
    }

    fn check(&self, card: &Card, device: &Device, case: Case) -> Outcome {
        let by = |key: &str| -> Outcome<u64> {
            // Counts only grow.
            Ok(card.counter(key)? - guest::number(&self.card, key)?)
        };
        let mut grown = Vec::new();
        for key in case.counters {
            // An interrupt may come a little later than the end that it tells of.
            let limit = if case.merged { SOON } else { LONG };
            match until_within(limit, &format!("{key} counted"), || Ok(by(key)? >= 1)) {
                Err(_) if case.merged => {}
                counted => counted.map(|()| grown.push(*key))?,
            }
        }
        for key in EXACT {
            let want = u64::from(grown.contains(&key));
            check_eq!(by(key)?, want, "{key}");
        }
        let failed = u64::from(case.result != 0);
        check_eq!(by("failed")?, failed);
        let file = Self::now(card, device)?;
        check_eq!(file.failed - self.failed, failed, "of the file");
        Ok(())
    }
}

/// What the card's memory, and the program's, have before.
const CARDS: u8 = 0xca;
const OURS: u8 = 0x0a;

/// A file with memory, and a place of the card's.
struct Scene {
    device: Device,
    buffer: Buffer,
    map: Mapping,
    own: Mapping,
    records: Counter,
}

impl Scene {
    fn new(card: &Card) -> Outcome<Self> {
        let device = Device::open(&card.path)?;
        let buffer = device.alloc(COHERENT, PAGE)?;
        let map = device.map(&buffer)?;
        let own = Mapping::anonymous(2 * PAGE)?;
        own.fill(0..PAGE, CARDS);
        check_eq!(pwrite(&device, own.address(), PAGE, 0), Ok(PAGE));
        map.fill(0..PAGE, OURS);
        own.fill(0..2 * PAGE, OURS);
        let records = Counter::new()?;
        device.tell(records.number(), None)?;
        Ok(Self {
            device,
            buffer,
            map,
            own,
            records,
        })
    }

    fn limited(transfer: sys::userdma_transfer, limit: u64) -> sys::userdma_transfer {
        sys::userdma_transfer {
            timeout_ns: limit * 1_000_000,
            ..on(0, tagged(transfer, 7))
        }
    }

    fn submit(&mut self, limit: u64) -> Outcome {
        let transfer = from_card(self.buffer.handle, 0, PAGE, 0);
        check_eq!(self.device.submit(&[Self::limited(transfer, limit)])?, 1);
        Ok(())
    }

    /// The one record, which is told of once.
    fn record(&mut self) -> Outcome<(i32, usize)> {
        let record = self.device.collect(1)?[0];
        check_eq!(record.user_data, 7);
        check_eq!(self.records.take()?, 1, "records counted");
        self.device.check_idle()?;
        Ok((record.result, usize::try_from(record.bytes)?))
    }

    /// The result, 0 or a negative errno, and the bytes that were moved.
    fn run(&mut self, way: Way, limit: u64) -> Outcome<(i32, usize)> {
        let address = self.address(way);
        let request = |result: Sys<usize>| match result {
            Ok(bytes) => (0, bytes),
            Err(error) => (-(error as i32), 0),
        };
        Ok(match way {
            Way::Wait => {
                self.submit(limit)?;
                self.record()?
            }
            Way::Ring => {
                let mut ring = Ring::new(&self.device)?;
                let transfer = to_card(self.buffer.handle, 0, PAGE, 0);
                ring.transfers(&[Self::limited(transfer, limit)])?;
                let end = ring.ends(1)?[0];
                check_eq!(end.tag, 7);
                if end.result >= 0 {
                    check_eq!(wide(usize::try_from(end.result)?), end.bytes);
                }
                (end.result.min(0), usize::try_from(end.bytes)?)
            }
            Way::Read | Way::ReadCopied => request(pread(&self.device, address, PAGE, 0)),
            Way::Write | Way::WriteCopied => request(pwrite(&self.device, address, PAGE, 0)),
        })
    }

    /// Where a request's memory is.
    fn address(&self, way: Way) -> usize {
        match way {
            Way::ReadCopied | Way::WriteCopied => self.own.address() + 1,
            _ => self.own.address(),
        }
    }

    /// Requires that so many bytes have moved, and not one more.
    fn check_data(&self, way: Way, moved: usize) -> Outcome {
        let (bytes, moved_to, before) = if way.to_card() {
            let memory = Mapping::anonymous(PAGE)?;
            check_eq!(pread(&self.device, memory.address(), PAGE, 0), Ok(PAGE));
            (memory.read(0, PAGE), OURS, CARDS)
        } else if way == Way::Wait {
            (self.map.read(0, PAGE), CARDS, OURS)
        } else {
            let at = self.address(way) - self.own.address();
            (self.own.read(at, PAGE), CARDS, OURS)
        };
        all_bytes(&bytes[..moved], moved_to, "what was moved")?;
        all_bytes(&bytes[moved..], before, "what was not moved")
    }
}

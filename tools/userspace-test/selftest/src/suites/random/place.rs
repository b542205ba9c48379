// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Memory that the card reaches, and what must be in it.

use std::ops::Deref as _;

use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _};
use userdma::sys;

use crate::device::{host_to_host, Device, COHERENT, HUGE};
use crate::kinds::Memory;
use crate::memory::{Mapping, Window, PAGE};
use crate::outcome::{same_bytes, Context as _, Outcome};
use crate::raw::wide;
use crate::suites::inject::on;

/// See the module's documentation.
pub(crate) struct Place {
    owner: Owner,
    handle: u32,
    /// Where the buffer begins in the memory, and how long it is.
    begin: usize,
    length: usize,
    source_only: bool,
    /// The whole memory, the bytes around the buffer too.
    want: Vec<u8>,
}

enum Owner {
    /// The program's.
    Memory(Memory),
    /// A buffer of the driver's.
    Buffer(&'static str, Mapping),
    /// The same, and registered.
    Both(Mapping),
}

impl Owner {
    fn window(&self) -> &Window {
        match self {
            Self::Memory(memory) => memory.deref(),
            Self::Buffer(_, mapping) | Self::Both(mapping) => mapping.deref(),
        }
    }
}

impl Place {
    fn new(owner: Owner, handle: u32, rng: &mut SmallRng) -> Self {
        let window = owner.window();
        let mut want = vec![0; window.length()];
        rng.fill_bytes(&mut want);
        window.write(0, &want);
        Self {
            handle,
            begin: 0,
            length: want.len(),
            source_only: false,
            want,
            owner,
        }
    }

    /// A part of the program's memory, registered.
    pub(crate) fn registered(device: &Device, memory: Memory, rng: &mut SmallRng) -> Outcome<Self> {
        let mut place = Self::new(Owner::Memory(memory), 0, rng);
        place.register(device, rng)?;
        Ok(place)
    }

    /// Buffers of the driver's, and one whose mapping is registered.
    pub(crate) fn own(device: &Device, length: usize, rng: &mut SmallRng) -> Outcome<Vec<Self>> {
        let mut places = Vec::new();
        for (name, kind) in [("coherent", COHERENT), ("huge", HUGE)] {
            let buffer = device.alloc(kind, length)?;
            let owner = Owner::Buffer(name, device.map(&buffer)?);
            places.push(Self::new(owner, buffer.handle, rng));
        }
        let buffer = device.alloc(HUGE, length)?;
        let mut both = Self::new(Owner::Both(device.map(&buffer)?), 0, rng);
        device.free(buffer.handle)?;
        both.register(device, rng)?;
        places.push(both);
        Ok(places)
    }

    /// Registers a part, all of it now and then, for one direction now and then.
    fn register(&mut self, device: &Device, rng: &mut SmallRng) -> Outcome {
        let whole = self.want.len();
        let begin = rng.random_range(0..whole / 3);
        let length = rng.random_range(whole / 3..=whole - begin);
        (self.begin, self.length) = match rng.random_range(0..3) {
            0 => (0, whole),
            _ => (begin, length),
        };
        self.source_only = rng.random_range(0..4) == 0;
        let flags = match self.source_only {
            true => sys::USERDMA_REGISTER_SOURCE,
            false => 0,
        };
        let address = self.owner.window().address() + self.begin;
        let registered = match &self.owner {
            // By its number as well as by its address.
            Owner::Memory(memory) if memory.memfd().is_some() && rng.random_bool(0.5) => {
                let Some(fd) = memory.memfd() else {
                    fail!("a memfd that was there a moment ago");
                };
                device.register_memfd(fd, self.begin, self.length, flags)?
            }
            _ => device.register(address, self.length, flags)?,
        };
        self.handle = registered.handle;
        Ok(())
    }

    /// Frees the buffer and registers another part, if it is registered memory.
    pub(crate) fn again(&mut self, device: &Device, rng: &mut SmallRng) -> Outcome {
        if matches!(self.owner, Owner::Buffer(..)) {
            return Ok(());
        }
        device.free(self.handle)?;
        self.register(device, rng)?;
        self.check()
    }

    /// Says that the program has written, or wants to read; neither changes a
    /// byte that is where it belongs.
    pub(crate) fn sync(&self, device: &Device, rng: &mut SmallRng) -> Outcome {
        let offset = rng.random_range(0..self.length);
        let length = rng.random_range(1..=self.length - offset);
        device.sync(self.handle, offset, length, sys::USERDMA_SYNC_FOR_DEVICE)?;
        if !self.source_only {
            device.sync(self.handle, offset, length, sys::USERDMA_SYNC_FOR_CPU)?;
        }
        self.check()
    }

    pub(crate) fn name(&self) -> String {
        match &self.owner {
            Owner::Memory(memory) => format!("{:?}", memory.kind()),
            Owner::Buffer(name, _) => (*name).to_owned(),
            Owner::Both(_) => "huge, registered".to_owned(),
        }
    }

    pub(crate) fn handle(&self) -> u32 {
        self.handle
    }

    /// Of the buffer.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    pub(crate) fn source_only(&self) -> bool {
        self.source_only
    }

    /// Where a byte of the buffer is for the program.
    pub(crate) fn address(&self, offset: usize) -> usize {
        self.owner.window().address() + self.begin + offset
    }

    /// Whether a byte of the buffer is the last of a page.
    pub(crate) fn begins_last_byte(&self, offset: usize) -> bool {
        self.address(offset) % PAGE == PAGE - 1
    }

    /// Where `length` bytes lie over the end of the buffer's first whole page.
    pub(crate) fn before_page(&self, length: usize) -> Option<usize> {
        let end = 2 * PAGE - self.address(0) % PAGE;
        let offset = end.checked_sub(length / 2 + 1)?;
        (offset + length <= self.length).then_some(offset)
    }

    /// What must be in a part of the buffer.
    pub(crate) fn want(&self, offset: usize, length: usize) -> Vec<u8> {
        let begin = self.begin + offset;
        self.want[begin..begin + length].to_vec()
    }

    /// These bytes must be there from now on.
    pub(crate) fn expect(&mut self, offset: usize, bytes: &[u8]) {
        let begin = self.begin + offset;
        self.want[begin..begin + bytes.len()].copy_from_slice(bytes);
    }

    /// The program writes these bytes.
    pub(crate) fn set(&mut self, offset: usize, bytes: &[u8]) {
        self.expect(offset, bytes);
        self.owner.window().write(self.begin + offset, bytes);
    }

    /// New bytes in a part of it.
    pub(crate) fn refill(&mut self, offset: usize, length: usize, rng: &mut SmallRng) {
        let mut bytes = vec![0; length];
        rng.fill_bytes(&mut bytes);
        self.set(offset, &bytes);
    }

    /// Compares all of the memory.
    pub(crate) fn check(&self) -> Outcome {
        let window = self.owner.window();
        let got = window.read(0, window.length());
        check_eq!(wide(got.len()), wide(self.want.len()));
        same_bytes(&got, &self.want, &self.name())
    }
}

/// Has the card copy from one place to another, or within one, and compares both: each
/// its number, and where in it.
pub(crate) fn copy(
    device: &Device,
    places: &mut [Place],
    channel: u16,
    from: (usize, usize),
    to: (usize, usize),
    length: usize,
) -> Outcome {
    let (source, target) = (&places[from.0], &places[to.0]);
    let what = format!(
        "{length} bytes of {} at {} into {} at {}",
        source.name(),
        from.1,
        target.name(),
        to.1
    );
    let one = host_to_host((source.handle, from.1), (target.handle, to.1), length);
    let bytes = source.want(from.1, length);
    device
        .run_well(&[on(channel, one)])
        .context(|| what.clone())?;
    places[to.0].expect(to.1, &bytes);
    for index in [from.0, to.0] {
        places[index].check().context(|| what.clone())?;
    }
    Ok(())
}

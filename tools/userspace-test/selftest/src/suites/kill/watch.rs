// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Memory that somebody else had, and that must not change.

use std::time::{Duration, Instant};

use crate::device::{Device, COHERENT, HUGE};
use crate::hugepool::{self, Pool};
use crate::kinds::Kind;
use crate::memory::{Mapping, HUGE as HUGE_PAGE, PAGE};
use crate::outcome::{all_bytes, Outcome};
use crate::poll::LONG;
use crate::registry::Context;

/// Longer than anything takes that the card may still be doing.
const WATCH: Duration = Duration::from_millis(150);
/// What is written there.
const OURS: u8 = 0x5a;

/// Memory that is ours now.
struct Taken {
    pool: Vec<crate::kinds::Memory>,
    maps: Vec<Mapping>,
    _files: Vec<Device>,
}

impl Taken {
    /// Takes what the machine has just been given back: of the kernel's free
    /// memory, of the DMA API's and of huge pages.
    fn take(context: &Context) -> Outcome<Self> {
        let mut maps = vec![Mapping::anonymous(8 << 20)?];
        let mut files = Vec::new();
        for card in &context.cards {
            let device = Device::open(&card.path)?;
            for (kind, length) in [(COHERENT, 32 * PAGE), (HUGE, HUGE_PAGE)] {
                let buffer = device.alloc(kind, length)?;
                let map = device.map(&buffer)?;
                all_bytes(&map.read(0, length), 0, "a new buffer")?;
                maps.push(map);
            }
            files.push(device);
        }
        for map in &maps {
            map.fill(0..map.length(), OURS);
        }
        Ok(Self {
            pool: Vec::new(),
            maps,
            _files: files,
        })
    }

    fn check(&self) -> Outcome {
        for memory in &self.pool {
            let bytes = memory.read(0, memory.length());
            all_bytes(&bytes, OURS, "a page of the pool that is ours now")?;
        }
        for map in &self.maps {
            all_bytes(&map.read(0, map.length()), OURS, "memory that is ours now")?;
        }
        Ok(())
    }
}

/// Takes all memory, each page of the pool as soon as it is free, and watches
/// it for as long as the card could still write to it.
pub(super) fn while_it_comes(context: &Context, pool: &Pool, pages: usize) -> Outcome {
    let mut taken = Taken::take(context)?;
    let mut last = Instant::now();
    while taken.pool.len() < pages || last.elapsed() < WATCH {
        if hugepool::free()? > 0 {
            let memory = Kind::HugetlbAnonymous.make(HUGE_PAGE)?;
            memory.fill(0..HUGE_PAGE, OURS);
            taken.pool.push(memory);
            last = Instant::now();
        }
        check!(
            last.elapsed() < LONG,
            "{} of {pages} pages came",
            taken.pool.len()
        );
        taken.check()?;
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(taken);
    pool.wait_free(pages)
}

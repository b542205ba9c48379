// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a test is, and how tests are chosen by name.

use std::fmt::Write as _;
use std::path::PathBuf;

use glob::Pattern;
use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _};

use crate::device::Device;
use crate::guest::Card;
use crate::outcome::Outcome;

/// What a test wants of the guest beyond one card and root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// At least so many cards.
    Cards(usize),
    /// The driver's counters under debugfs.
    Debugfs,
    /// The module's file, to unload and load it.
    ModuleFile,
    /// A card that reaches only part of the memory.
    Bounce,
    /// A card that reaches all memory.
    Reach,
    /// read() and write() of a card's memory that are not copied.
    Direct,
    /// Huge buffers.
    Huge,
    /// Transfers from one buffer to another.
    HostToHost,
    /// A card that takes 100 ms for each chain: `edu` does by itself, an `edu-daq` is
    /// told to as long as the test runs.
    Slow,
    /// A guest with at most so many MiB, all of which can be filled.
    MemoryBelowMiB(u64),
}

impl Need {
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Cards(n) => format!("{n} cards"),
            Self::Debugfs => "debugfs".to_owned(),
            Self::ModuleFile => "the module's file".to_owned(),
            Self::Bounce => "a card that must bounce (28-bit DMA mask, no IOMMU)".to_owned(),
            Self::Reach => "a card that reaches all memory".to_owned(),
            Self::Direct => {
                "requests that move the program's pages (direct_min_bytes=512)".to_owned()
            }
            Self::Huge => "huge buffers".to_owned(),
            Self::HostToHost => "a card that copies from buffer to buffer".to_owned(),
            Self::Slow => "a card that takes 100 ms for each transfer".to_owned(),
            Self::MemoryBelowMiB(n) => format!("a guest of at most {n} MiB"),
        }
    }
}

/// One test.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Test {
    /// `suite.name`.
    pub(crate) name: &'static str,
    /// One line for people.
    pub(crate) what: &'static str,
    /// Its body.
    pub(crate) run: fn(&mut Context) -> Outcome,
    /// It has hung if it takes longer; counted per unit of `--scale`.
    pub(crate) seconds: u64,
    /// What it needs.
    pub(crate) needs: &'static [Need],
}

impl Test {
    /// A test that takes at most a minute and needs nothing in particular.
    pub(crate) const fn new(
        name: &'static str,
        what: &'static str,
        run: fn(&mut Context) -> Outcome,
    ) -> Self {
        Self {
            name,
            what,
            run,
            seconds: 60,
            needs: &[],
        }
    }

    /// The same with another time limit.
    pub(crate) const fn seconds(self, seconds: u64) -> Self {
        Self { seconds, ..self }
    }

    /// The same with needs.
    pub(crate) const fn needs(self, needs: &'static [Need]) -> Self {
        Self { needs, ..self }
    }
}

/// What a test is given.
#[derive(Debug)]
pub(crate) struct Context {
    /// The cards that are bound, by node number.
    pub(crate) cards: Vec<Card>,
    /// Begins at a place made of the seed and the test's name.
    pub(crate) rng: SmallRng,
    /// Multiplies what is repeated.
    pub(crate) scale: u32,
    /// The module's file.
    pub(crate) module: Option<PathBuf>,
}

impl Context {
    /// Opens the first card for reading and writing.
    pub(crate) fn open(&self) -> Outcome<Device> {
        Ok(Device::open(&self.card().path)?)
    }

    /// The first card. The runner has seen to it that there is one.
    pub(crate) fn card(&self) -> &Card {
        &self.cards[0]
    }

    /// Random bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// A random number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        self.rng.random_range(low..=high)
    }

    /// A number of rounds, multiplied by the scale.
    pub(crate) fn times(&self, rounds: u32) -> u32 {
        rounds.saturating_mul(self.scale)
    }
}

/// Chooses tests by patterns; no pattern chooses all.
pub(crate) fn select(
    tests: Vec<Test>,
    filter: &[String],
    skip: &[String],
) -> Result<Vec<Test>, String> {
    let compile = |patterns: &[String]| {
        patterns
            .iter()
            .map(|text| {
                Pattern::new(text).map_err(|error| format!("bad pattern '{text}': {error}"))
            })
            .collect::<Result<Vec<_>, _>>()
    };
    let (filter, skip) = (compile(filter)?, compile(skip)?);
    for pattern in filter.iter().chain(&skip) {
        if !tests.iter().any(|test| pattern.matches(test.name)) {
            return Err(format!(
                "no test matches '{pattern}'; --list shows the names, and 'abi.*' is a pattern"
            ));
        }
    }
    let matches = |patterns: &[Pattern], test: &Test| patterns.iter().any(|p| p.matches(test.name));
    Ok(tests
        .into_iter()
        .filter(|test| filter.is_empty() || matches(&filter, test))
        .filter(|test| !matches(&skip, test))
        .collect())
}

/// The list for people.
pub(crate) fn describe(tests: &[Test]) -> String {
    let mut text = String::new();
    for test in tests {
        let needs: Vec<_> = test.needs.iter().map(|need| need.describe()).collect();
        let needs = if needs.is_empty() {
            String::new()
        } else {
            format!(" (needs {})", needs.join(", "))
        };
        // Writing to a String does not fail.
        let _ = writeln!(text, "{:<28} {}{needs}", test.name, test.what);
    }
    text
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a digitiser sees at its input: a value for each sample, counted from
//! RESET.

use std::f64::consts::TAU;
use std::sync::Arc;

/// The samples in one period of sine and ramp, where SINE_PERIOD is 0.
const USUAL_PERIOD: u32 = 256;

/// Periods up to so many samples have a table.
const TABLE: u32 = 1 << 16;

/// How far a sample's 12 bits are shifted to the left.
const SHIFT: u32 = 4;

const LOWEST: i64 = -2048;
const HIGHEST: f64 = 2047.0;

/// A source of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Source {
    #[default]
    Counter,
    Sine,
    Ramp,
    Noise,
}

impl Source {
    /// The source that ACQUIRE names; there are no others than four.
    pub(crate) fn from_bits(bits: u32) -> Self {
        match bits {
            1 => Self::Sine,
            2 => Self::Ramp,
            3 => Self::Noise,
            _ => Self::Counter,
        }
    }
}

/// The source as it is set, with a table where that is faster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Generator {
    source: Source,
    period: u32,
    table: Arc<[u16]>,
}

impl Generator {
    /// Sets source and SINE_PERIOD.
    pub(crate) fn set(&mut self, source: Source, sine_period: u32) {
        let period = match sine_period {
            0 => USUAL_PERIOD,
            period => period,
        };
        if (source, period) == (self.source, self.period) {
            return;
        }
        (self.source, self.period) = (source, period);
        let entries = match source {
            Source::Sine if period <= TABLE => period,
            _ => 0,
        };
        self.table = (0..entries).map(|place| sine(place, period)).collect();
    }

    /// Sample `index` as it is stored.
    pub(crate) fn sample(&self, index: u64) -> u16 {
        match self.source {
            // CAST: modulo 65536, as the page says.
            Source::Counter => index as u16,
            Source::Sine => {
                // CAST: less than the period.
                let place = (index % u64::from(self.period.max(1))) as u32;
                match self.table.get(place as usize) {
                    Some(sample) => *sample,
                    None => sine(place, self.period),
                }
            }
            Source::Ramp => {
                let period = u64::from(self.period.max(1));
                let place = index % period;
                // CAST: less than 4096.
                stored(LOWEST + (place * 4096 / period) as i64)
            }
            // CAST: 12 bits.
            Source::Noise => stored(LOWEST + (scatter(index) >> 52) as i64),
        }
    }

    /// Its value as LEVEL is compared with it.
    pub(crate) fn value(&self, index: u64) -> i32 {
        // CAST: the same bits as a signed number.
        i32::from(self.sample(index) as i16) >> SHIFT
    }

    /// Fills `bytes` with samples from `first` on.
    pub(crate) fn fill(&self, first: u64, bytes: &mut [u8]) {
        for (index, place) in (first..).zip(bytes.chunks_exact_mut(2)) {
            place.copy_from_slice(&self.sample(index).to_le_bytes());
        }
    }
}

fn sine(place: u32, period: u32) -> u16 {
    let angle = TAU * f64::from(place) / f64::from(period.max(1));
    // CAST: it is between -2047 and 2047.
    stored((HIGHEST * angle.sin()).round() as i64)
}

/// A signed number of 12 bits, left-justified.
fn stored(value: i64) -> u16 {
    // CAST: the low bits are all of it.
    (value as u16) << SHIFT
}

/// Bits that look like chance, always the same for the same index.
fn scatter(index: u64) -> u64 {
    let mut bits = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits ^= bits >> 31;
    bits = bits.wrapping_mul(0xd6e8_feb8_6659_fd93);
    bits ^ (bits >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generator(source: Source, period: u32) -> Generator {
        let mut generator = Generator::default();
        generator.set(source, period);
        generator
    }

    #[test]
    fn the_counter_has_all_bits() {
        let generator = generator(Source::Counter, 0);
        assert_eq!(generator.sample(0x1_fffe), 0xfffe);
        let mut bytes = [0; 6];
        generator.fill(0xffff, &mut bytes);
        assert_eq!(bytes, [0xff, 0xff, 0, 0, 1, 0]);
    }

    #[test]
    fn others_are_left_justified_and_within_their_range() {
        for source in [Source::Sine, Source::Ramp, Source::Noise] {
            let generator = generator(source, 1000);
            let values: Vec<i32> = (0..5000).map(|index| generator.value(index)).collect();
            assert!((0..5000).all(|index| generator.sample(index) & 0xf == 0));
            let (least, most) = (values.iter().min(), values.iter().max());
            assert!(
                least < Some(&-2000) && least >= Some(&-2048),
                "{source:?} {least:?}"
            );
            assert!(
                most > Some(&2000) && most <= Some(&2047),
                "{source:?} {most:?}"
            );
        }
    }

    #[test]
    fn sine_and_ramp_have_their_period() {
        for (period, set) in [(256, 0), (100, 100), (TABLE + 2, TABLE + 2)] {
            let sine = generator(Source::Sine, set);
            let quarter = u64::from(period / 4);
            assert_eq!(sine.value(0), 0);
            assert_eq!(sine.value(quarter), 2047, "{period}");
            assert_eq!(sine.value(u64::from(period) + 3 * quarter), -2047);
            let ramp = generator(Source::Ramp, set);
            assert_eq!(ramp.value(0), -2048);
            assert_eq!(ramp.value(u64::from(period / 2)), 0);
            assert_eq!(ramp.value(u64::from(period)), -2048);
        }
    }

    #[test]
    fn noise_is_flat_and_always_the_same() {
        let noise = generator(Source::Noise, 0);
        let mut halves = [0; 16];
        for index in 0..16_000 {
            halves[((noise.value(index) + 2048) / 256) as usize] += 1;
        }
        assert!(
            halves.iter().all(|count| (800..1200).contains(count)),
            "{halves:?}"
        );
        assert_eq!(noise.sample(77), generator(Source::Noise, 3).sample(77));
        assert!((0..100).any(|index| noise.sample(index) != noise.sample(index + 1)));
    }
}

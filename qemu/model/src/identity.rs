// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a card says about itself.

use thiserror::Error;

/// What a card says about itself in its configuration space. Subsystem vendor and
/// device are the same as vendor and device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Vendor, as in `lspci -n`.
    pub vendor: u16,
    /// Device of that vendor.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// Class in 24 bits: base class, subclass, programming interface.
    pub class: u32,
    /// Memory BARs.
    pub bars: Vec<Bar>,
    /// Vectors of message-signalled interrupts: 0 or a power of two up to 32. A
    /// guest may enable fewer; see [`Host::vectors`](crate::Host::vectors).
    pub vectors: u8,
}

/// A memory BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Which one, 0 to 5.
    pub index: u8,
    /// Bytes, a power of two from 16 on.
    pub size: u64,
    /// Has 64 bits, and takes the place of the next one, too.
    pub wide: bool,
    /// Reading has no side effects.
    pub prefetchable: bool,
    /// The only size that an access may have, in bytes, and what it is aligned to.
    /// Others read as 0, write nothing, and are violations. None: 1, 2, 4 or 8, at
    /// any offset.
    pub only: Option<u8>,
}

impl Bar {
    /// A BAR with 32 bits, not prefetchable. `size` in bytes.
    pub const fn new(index: u8, size: u64) -> Self {
        Self {
            index,
            size,
            wide: false,
            prefetchable: false,
            only: None,
        }
    }

    /// The same for registers of 32 bits that are read and written whole.
    pub const fn registers(index: u8, size: u64) -> Self {
        Self {
            only: Some(4),
            ..Self::new(index, size)
        }
    }
}

/// Why an [`Identity`] is none.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum IdentityError {
    /// A BAR that does not exist, or that another one takes the place of.
    #[error("BAR {0} does not exist, or another BAR takes its place")]
    BarIndex(u8),
    /// A BAR's size.
    #[error("BAR {0}: its size is not a power of two, too small, or too large for its bits")]
    BarSize(u8),
    /// The number of vectors.
    #[error("{0} interrupt vectors: it has to be 0 or a power of two up to 32")]
    Vectors(u8),
    /// The class.
    #[error("class {0:#x} has more than 24 bits")]
    Class(u32),
}

impl Identity {
    /// Whether a card can be this.
    pub(crate) fn check(&self) -> Result<(), IdentityError> {
        let mut taken = [false; 6];
        for bar in &self.bars {
            let places = usize::from(bar.index)..usize::from(bar.index) + 1 + usize::from(bar.wide);
            match taken.get_mut(places) {
                Some(places) if !places.contains(&true) => places.fill(true),
                _ => return Err(IdentityError::BarIndex(bar.index)),
            }
            let most = if bar.wide { 1 << 62 } else { 1 << 31 };
            if !bar.size.is_power_of_two() || !(16..=most).contains(&bar.size) {
                return Err(IdentityError::BarSize(bar.index));
            }
        }
        if self.vectors != 0 && (!self.vectors.is_power_of_two() || self.vectors > 32) {
            return Err(IdentityError::Vectors(self.vectors));
        }
        if self.class >> 24 != 0 {
            return Err(IdentityError::Class(self.class));
        }
        Ok(())
    }

    /// One of the BARs.
    pub(crate) fn bar(&self, index: u8) -> Option<&Bar> {
        self.bars.iter().find(|bar| bar.index == index)
    }

    /// The size of a BAR; 0 if there is none.
    pub(crate) fn bar_size(&self, index: u8) -> u64 {
        self.bar(index).map_or(0, |bar| bar.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(bars: &[Bar]) -> Identity {
        Identity {
            vendor: 0x1234,
            device: 1,
            revision: 0,
            class: 0x118000,
            bars: bars.to_vec(),
            vectors: 8,
        }
    }

    #[test]
    fn bars_have_places_of_their_own() {
        let wide = Bar {
            wide: true,
            ..Bar::new(0, 1 << 40)
        };
        assert_eq!(with(&[wide, Bar::new(2, 16)]).check(), Ok(()));
        let error = with(&[wide, Bar::new(1, 4096)]).check();
        assert_eq!(error, Err(IdentityError::BarIndex(1)));
        let error = with(&[Bar { index: 5, ..wide }]).check();
        assert_eq!(error, Err(IdentityError::BarIndex(5)));
        assert_eq!(with(&[Bar::new(3, 64)]).bar_size(3), 64);
        assert_eq!(with(&[Bar::new(3, 64)]).bar_size(2), 0);
    }

    #[test]
    fn sizes_and_vectors_are_powers_of_two() {
        for size in [0, 8, 48, 1 << 32] {
            let error = with(&[Bar::new(0, size)]).check();
            assert_eq!(error, Err(IdentityError::BarSize(0)), "{size}");
        }
        for (vectors, good) in [(0, true), (1, true), (32, true), (3, false), (64, false)] {
            let identity = Identity {
                vectors,
                ..with(&[])
            };
            assert_eq!(identity.check().is_ok(), good, "{vectors}");
        }
        let identity = Identity {
            class: 0x0111_8000,
            ..with(&[])
        };
        assert_eq!(identity.check(), Err(IdentityError::Class(0x0111_8000)));
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The configuration space: 256 bytes, with capabilities for message-signalled
//! interrupts and for a reset of the function (Advanced Features). QEMU answers
//! some of its registers itself, but passes on what is written to all of them.

use crate::identity::Identity;

/// Its size in bytes.
pub(crate) const SIZE: usize = 256;

const COMMAND: usize = 0x04;
const COMMAND_MASTER: u16 = 1 << 2;
/// Memory space, bus master, parity, SERR and no INTx.
const COMMAND_WRITABLE: u16 = 0x0546;
const STATUS: usize = 0x06;
const STATUS_CAPABILITIES: u16 = 1 << 4;
const CACHE_LINE: usize = 0x0c;
const LATENCY: usize = 0x0d;
const BARS: usize = 0x10;
const BAR_WIDE: u32 = 0b100;
const BAR_PREFETCHABLE: u32 = 0b1000;
const SUBSYSTEM: usize = 0x2c;
const CAPABILITIES: usize = 0x34;
const INTERRUPT_LINE: usize = 0x3c;

const ADVANCED: usize = 0x40;
const ADVANCED_ID: u8 = 0x13;
const ADVANCED_LENGTH: u8 = 6;
/// Says whether transactions are pending, and can be reset.
const ADVANCED_FEATURES: u8 = 0b11;
const ADVANCED_CONTROL: usize = ADVANCED + 4;
const ADVANCED_RESET: u8 = 1;

const MSI: usize = 0x50;
const MSI_ID: u8 = 0x05;
const MSI_CONTROL: usize = MSI + 2;
/// Enable, and how many vectors of those that are offered.
const MSI_CONTROL_WRITABLE: u16 = 0x0071;
const MSI_WIDE: u16 = 1 << 7;
const MSI_ADDRESS: usize = MSI + 4;
const MSI_DATA: usize = MSI + 12;

/// The configuration space.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    bytes: [u8; SIZE],
    /// The bits that can be written.
    writable: [u8; SIZE],
    /// What it is after a reset.
    initial: [u8; SIZE],
}

impl Config {
    pub(crate) fn new(identity: &Identity) -> Self {
        let mut config = Self {
            bytes: [0; SIZE],
            writable: [0; SIZE],
            initial: [0; SIZE],
        };
        config.put(0x00, &identity.vendor.to_le_bytes(), &[]);
        config.put(0x02, &identity.device.to_le_bytes(), &[]);
        config.put(COMMAND, &[0; 2], &COMMAND_WRITABLE.to_le_bytes());
        config.put(STATUS, &STATUS_CAPABILITIES.to_le_bytes(), &[]);
        let [interface, subclass, base, _] = identity.class.to_le_bytes();
        config.put(0x08, &[identity.revision, interface, subclass, base], &[]);
        config.put(CACHE_LINE, &[0], &[0xff]);
        config.put(LATENCY, &[0], &[0xff]);
        config.put(SUBSYSTEM, &identity.vendor.to_le_bytes(), &[]);
        config.put(SUBSYSTEM + 2, &identity.device.to_le_bytes(), &[]);
        config.put(INTERRUPT_LINE, &[0], &[0xff]);
        for bar in &identity.bars {
            let place = BARS + 4 * usize::from(bar.index);
            let mut low = 0;
            if bar.wide {
                low |= BAR_WIDE;
            }
            if bar.prefetchable {
                low |= BAR_PREFETCHABLE;
            }
            let mask = (!(bar.size - 1)).to_le_bytes();
            config.put(place, &low.to_le_bytes(), &mask[..4]);
            if bar.wide {
                config.put(place + 4, &[0; 4], &mask[4..]);
            }
        }
        config.add_capabilities(identity.vectors);
        config.initial = config.bytes;
        config
    }

    fn add_capabilities(&mut self, vectors: u8) {
        self.put(CAPABILITIES, &[low(ADVANCED)], &[]);
        let next = if vectors == 0 { 0 } else { low(MSI) };
        let advanced = [ADVANCED_ID, next, ADVANCED_LENGTH, ADVANCED_FEATURES];
        self.put(ADVANCED, &advanced, &[]);
        if vectors != 0 {
            self.put(MSI, &[MSI_ID, 0], &[]);
            let offered = (vectors.ilog2() as u16) << 1;
            let control = (MSI_WIDE | offered).to_le_bytes();
            self.put(MSI_CONTROL, &control, &MSI_CONTROL_WRITABLE.to_le_bytes());
            self.put(
                MSI_ADDRESS,
                &[0; 8],
                &[0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            );
            self.put(MSI_DATA, &[0; 2], &[0xff; 2]);
        }
    }

    fn put(&mut self, offset: usize, value: &[u8], writable: &[u8]) {
        self.bytes[offset..offset + value.len()].copy_from_slice(value);
        self.writable[offset..offset + writable.len()].copy_from_slice(writable);
    }

    /// Reads; what is beyond the end reads as 0.
    pub(crate) fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        for (place, byte) in places(offset).zip(data) {
            *byte = self.bytes[place];
        }
    }

    /// Writes the bits that can be written. Says whether a reset of the function
    /// was asked for, which is the caller's to do.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> bool {
        let mut reset = false;
        for (place, byte) in places(offset).zip(data) {
            let mask = self.writable[place];
            self.bytes[place] = self.bytes[place] & !mask | byte & mask;
            reset |= place == ADVANCED_CONTROL && byte & ADVANCED_RESET != 0;
        }
        reset
    }

    /// Whether the bus master bit is set.
    pub(crate) fn is_bus_master(&self) -> bool {
        let command = u16::from_le_bytes([self.bytes[COMMAND], self.bytes[COMMAND + 1]]);
        command & COMMAND_MASTER != 0
    }

    /// As after power was applied.
    pub(crate) fn reset(&mut self) {
        self.bytes = self.initial;
    }
}

fn places(offset: u64) -> std::ops::Range<usize> {
    usize::try_from(offset).unwrap_or(SIZE).min(SIZE)..SIZE
}

/// A place in the space as its registers have it.
const fn low(place: usize) -> u8 {
    (place & 0xff) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Bar;

    fn config() -> Config {
        let wide = Bar {
            wide: true,
            prefetchable: true,
            ..Bar::new(2, 1 << 33)
        };
        Config::new(&Identity {
            vendor: 0x1234,
            device: 0x11e9,
            revision: 7,
            class: 0x118001,
            bars: vec![Bar::new(0, 0x8000), wide],
            vectors: 8,
        })
    }

    fn dword(config: &Config, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        config.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn it_says_who_it_is() {
        let config = config();
        assert_eq!(dword(&config, 0), 0x11e9_1234);
        assert_eq!(dword(&config, 8), 0x1180_0107);
        assert_eq!(dword(&config, 0x2c), 0x11e9_1234);
        // Capabilities, no line interrupt.
        assert_eq!(dword(&config, 4), 0x0010_0000);
        assert_eq!(dword(&config, 0x3c), 0);
    }

    #[test]
    fn the_capabilities_are_a_list() {
        let config = config();
        let (mut place, mut ids) = (dword(&config, 0x34) & 0xff, Vec::new());
        while place != 0 {
            let head = dword(&config, place.into());
            ids.push(head & 0xff);
            place = (head >> 8) & 0xff;
        }
        assert_eq!(ids, [0x13, 0x05]);
        // 64 bits, 8 vectors, none enabled.
        assert_eq!(dword(&config, MSI as u64) >> 16, 0x0086);
    }

    #[test]
    fn all_ones_written_to_a_bar_read_as_its_size() {
        let mut config = config();
        for bar in 0..6 {
            assert!(!config.write(0x10 + 4 * bar, &[0xff; 4]));
        }
        let bars: Vec<u32> = (0..6).map(|bar| dword(&config, 0x10 + 4 * bar)).collect();
        assert_eq!(bars, [0xffff_8000, 0, 0x0000_000c, 0xffff_fffe, 0, 0]);
    }

    #[test]
    fn the_bus_master_bit_is_seen_and_reset() {
        let mut config = config();
        assert!(!config.is_bus_master());
        config.write(4, &[0xff, 0xff]);
        assert!(config.is_bus_master());
        assert_eq!(dword(&config, 4), 0x0010_0546);
        config.reset();
        assert!(!config.is_bus_master());
    }

    #[test]
    fn a_reset_of_the_function_is_asked_for_by_one_bit() {
        let mut config = config();
        assert!(config.write(ADVANCED_CONTROL as u64, &[1]));
        assert!(config.write(ADVANCED as u64, &[0, 0, 0, 0, 1, 0]));
        assert!(!config.write(ADVANCED as u64, &[0xff; 4]));
        // It reads as 0.
        assert_eq!(dword(&config, ADVANCED_CONTROL as u64), 0);
    }

    #[test]
    fn nothing_is_beyond_the_end() {
        let mut config = config();
        let mut bytes = [0xaa; 8];
        config.read(252, &mut bytes);
        assert_eq!(bytes, [0; 8]);
        config.read(u64::MAX, &mut bytes);
        assert!(!config.write(u64::MAX, &[1; 8]));
        assert!(!config.write(254, &[1; 8]));
    }
}

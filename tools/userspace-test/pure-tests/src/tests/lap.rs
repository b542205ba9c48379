// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `Lap`: who follows the phases reads each entry once, in order, and no older one.

use proptest::prelude::*;

use super::config;
use crate::pure::lap::Lap;

proptest! {
    #![proptest_config(config())]

    /// A writer and a reader of one ring, at any pace, over many laps.
    #[test]
    fn each_entry_is_read_once(bits in 1u32..5, steps in prop::collection::vec(any::<bool>(), 0..500)) {
        let mut ring = vec![(false, 0u32); 1 << bits];
        let (mut writer, mut reader) = (Lap::new(bits), Lap::new(bits));
        for write in steps {
            let ahead = writer.count().wrapping_sub(reader.count());
            if write && ahead < 1 << bits {
                ring[writer.slot()] = (writer.phase(), writer.count());
                writer.advance();
            } else {
                let (phase, number) = ring[reader.slot()];
                prop_assert_eq!(phase == reader.phase(), ahead > 0);
                if ahead > 0 {
                    prop_assert_eq!(number, reader.count());
                    reader.advance();
                }
            }
        }
    }
}

#[test]
fn the_count_wraps_at_the_end_of_a_lap() {
    let mut lap = Lap::new(3);
    for _ in 0..8 {
        assert!(lap.phase());
        lap.advance();
    }
    assert_eq!((lap.slot(), lap.phase(), lap.count()), (0, false, 8));
}

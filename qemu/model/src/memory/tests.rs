// SPDX-License-Identifier: GPL-2.0 OR MIT

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use proptest::prelude::*;
use rustix::fs::memfd_create;
use rustix::fs::MemfdFlags;

use super::*;

const PAGE: u64 = 4096;
const BOTH: (bool, bool) = (true, true);

/// A file of so many pages; each byte says where it is.
fn file(pages: u64) -> File {
    let file = File::from(memfd_create("guest", MemfdFlags::CLOEXEC).expect("memfd"));
    file.set_len(pages * PAGE).expect("length");
    let bytes: Vec<u8> = (0..pages * PAGE).map(byte).collect();
    file.write_all_at(&bytes, 0).expect("content");
    file
}

fn byte(place: u64) -> u8 {
    (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn again(file: &File) -> Option<File> {
    Some(file.try_clone().expect("dup"))
}

fn master() -> Memory {
    let memory = Memory::new();
    memory.set_master(true);
    memory
}

#[test]
fn an_access_may_cross_adjacent_pieces() {
    let (memory, file) = (master(), file(4));
    // The pages in another order.
    for (page, place) in [(0, 3), (1, 1), (2, 0), (3, 2)] {
        memory.map(
            0x10000 + page * PAGE,
            PAGE,
            BOTH,
            again(&file),
            place * PAGE,
        );
    }
    assert_eq!(memory.files.count(), 1);
    let mut bytes = vec![0; 2 * PAGE as usize];
    memory.read(0x10000 + 100, &mut bytes).expect("read");
    for (index, found) in bytes.iter().enumerate() {
        let at = index as u64 + 100;
        let place = [3, 1, 0][(at / PAGE) as usize] * PAGE + at % PAGE;
        assert_eq!(*found, byte(place), "{index}");
    }
    memory
        .write(0x10000 + PAGE - 3, &[1, 2, 3, 4, 5, 6])
        .expect("write");
    let card = DeviceMemory::new(64).expect("memory");
    let moved = memory.copy(Place::Host(0x10000 + PAGE - 3), Place::Card(&card, 7), 6);
    assert_eq!(moved, Ok(6));
    let mut bytes = [0; 8];
    card.read(6, &mut bytes).expect("read");
    assert_eq!(bytes, [0, 1, 2, 3, 4, 5, 6, 0]);
}

#[test]
fn a_copy_ends_where_nothing_is_given() {
    let (memory, file) = (master(), file(2));
    memory.map(0, PAGE, BOTH, again(&file), PAGE);
    let card = DeviceMemory::new(1 << 20).expect("memory");
    let (host, card) = (Place::Host(10), Place::Card(&card, 0));
    assert_eq!(memory.copy(host, card, 2 * PAGE), Ok(PAGE - 10));
    assert_eq!(
        memory.copy(Place::Host(PAGE), card, 1),
        Err(Refusal::Unmapped(PAGE))
    );
    let high = Place::Host(u64::MAX);
    assert_eq!(memory.copy(high, card, 2), Err(Refusal::Unmapped(u64::MAX)));
}

#[test]
fn an_address_that_wraps_is_none() {
    let (memory, file) = (master(), file(1));
    memory.map(0, PAGE, BOTH, again(&file), 0);
    memory.map(0u64.wrapping_sub(PAGE), PAGE, BOTH, again(&file), 0);
    let card = DeviceMemory::new(1 << 20).expect("memory");
    let near_the_end = Place::Host(0u64.wrapping_sub(16));
    assert_eq!(memory.copy(near_the_end, Place::Card(&card, 0), 16), Ok(16));
    let over = memory.copy(near_the_end, Place::Card(&card, 0), 17);
    assert_eq!(over, Err(Refusal::Unmapped(u64::MAX)));
    assert!(memory.write(0u64.wrapping_sub(8), &[0; 9]).is_err());
}

#[test]
fn one_call_moves_a_block_at_most() {
    let (memory, file) = (master(), file(128));
    memory.map(0, 128 * PAGE, BOTH, again(&file), 0);
    let card = DeviceMemory::new(1 << 20).expect("memory");
    let moved = memory.copy(Place::Host(0), Place::Card(&card, 0), 1 << 20);
    assert_eq!(moved, Ok(BLOCK));
}

#[test]
fn memory_may_overlap_itself() {
    let (memory, file) = (master(), file(2));
    memory.map(0, 2 * PAGE, BOTH, again(&file), 0);
    let mut expected = vec![0; 5000];
    memory.read(0, &mut expected).expect("read");
    let moved = memory.copy(Place::Host(0), Place::Host(100), 5000);
    assert_eq!(moved, Ok(5000));
    let mut found = vec![0; 5000];
    memory.read(100, &mut found).expect("read");
    assert_eq!(found, expected);
}

#[test]
fn each_refusal_has_its_reason() {
    let (memory, file) = (Memory::new(), file(2));
    let mut bytes = [0; 8];
    assert_eq!(memory.read(0, &mut bytes), Err(Refusal::NotMaster));
    memory.set_master(true);
    assert_eq!(memory.read(0, &mut bytes), Err(Refusal::Unmapped(0)));
    memory.map(0, PAGE, (true, false), again(&file), 0);
    assert_eq!(memory.read(0, &mut bytes), Ok(()));
    assert_eq!(memory.write(8, &bytes), Err(Refusal::Direction(8)));
    memory.map(PAGE, PAGE, (false, true), again(&file), 0);
    assert_eq!(memory.load(PAGE), Err(Refusal::Direction(PAGE)));
    // Neither a file, nor one that is long enough.
    memory.map(2 * PAGE, PAGE, BOTH, None, 0);
    assert_eq!(memory.store(2 * PAGE, 1), Err(Refusal::NotMemory(2 * PAGE)));
    memory.map(0, PAGE, BOTH, again(&file), 2 * PAGE);
    assert_eq!(memory.read(0, &mut bytes), Err(Refusal::NotMemory(0)));
    memory.map(0, PAGE, BOTH, again(&file), u64::MAX);
    assert_eq!(memory.read(0, &mut bytes), Err(Refusal::NotMemory(0)));
    memory.map(0, PAGE, BOTH, again(&file), 0);
    assert_eq!(memory.load(4), Err(Refusal::Unaligned(4)));
    let card = DeviceMemory::new(64).expect("memory");
    let outside = memory.copy(Place::Host(0), Place::Card(&card, 60), 8);
    assert_eq!(outside, Err(Refusal::Outside(60)));
    memory.detach();
    assert_eq!(memory.read(0, &mut bytes), Err(Refusal::Gone));
}

#[test]
fn a_word_is_stored_and_loaded_little_endian() {
    let (memory, file) = (master(), file(1));
    memory.map(0, PAGE, BOTH, again(&file), 0);
    memory.store(16, 0x0102_0304_0506_0708).expect("store");
    let mut bytes = [0; 8];
    memory.read(16, &mut bytes).expect("read");
    assert_eq!(bytes, [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(memory.load(16), Ok(0x0102_0304_0506_0708));
}

/// Ends other threads also when this one fails.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_was_taken_away_is_not_used_any_more() {
    let (memory, file) = (master(), file(64));
    let card = DeviceMemory::new(BLOCK as usize).expect("memory");
    let end = AtomicBool::new(false);
    let (say, said) = mpsc::channel();
    let hear = || said.recv_timeout(Duration::from_secs(20)).expect("a word");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                // Zeros all over, to all of the range.
                let moved = memory.copy(Place::Card(&card, 0), Place::Host(0), BLOCK);
                let _ = say.send(moved);
            }
        });
        let _end = EndOnDrop(&end);
        for round in 1..=100 {
            memory.map(0, BLOCK, BOTH, again(&file), 0);
            while hear() != Ok(BLOCK) {}
            memory.unmap(0, u64::MAX);
            // Whatever is written now stays.
            let mine = [0xa5; 64];
            file.write_all_at(&mine, BLOCK - 64).expect("write");
            // What was said before it was taken away; then nothing is copied.
            let deadline = Instant::now() + Duration::from_secs(20);
            while hear() == Ok(BLOCK) {
                assert!(Instant::now() < deadline, "round {round}: still copied");
            }
            for _ in 0..10 {
                assert_eq!(hear(), Err(Refusal::Unmapped(0)), "round {round}");
            }
            let mut found = [0; 64];
            file.read_exact_at(&mut found, BLOCK - 64).expect("read");
            assert_eq!(found, mine, "round {round}");
        }
    });
}

proptest! {
    /// Against a model of one flag for each address.
    #[test]
    fn any_order_of_giving_and_taking(
        steps in prop::collection::vec((any::<bool>(), 0..40u64, 0..40u64), 1..40)
    ) {
        let mut map = Map::default();
        let mut given = [false; 80];
        for (give, address, size) in steps {
            match give {
                true => map.insert(address, size, BOTH, None),
                false => map.remove(address, size),
            }
            given[address as usize..(address + size) as usize].fill(give);
            let mut found = [false; 80];
            for (first, last) in map.pieces() {
                for place in &mut found[first as usize..=last as usize] {
                    prop_assert!(!*place, "two pieces overlap");
                    *place = true;
                }
            }
            prop_assert_eq!(found, given);
        }
    }

    /// What remains of a piece still is where it was.
    #[test]
    fn a_piece_that_is_cut_keeps_its_place(
        cuts in prop::collection::vec((0..4 * PAGE, 1..PAGE), 0..8), at in 0..4 * PAGE
    ) {
        let (memory, file) = (master(), file(4));
        memory.map(0, 4 * PAGE, BOTH, again(&file), 0);
        for (address, size) in &cuts {
            memory.unmap(*address, *size);
        }
        let gone = cuts.iter().any(|(address, size)| (*address..address + size).contains(&at));
        let mut found = [0];
        match memory.read(at, &mut found) {
            Ok(()) => prop_assert!(!gone && found[0] == byte(at)),
            Err(refusal) => prop_assert!(gone && refusal == Refusal::Unmapped(at)),
        }
    }
}

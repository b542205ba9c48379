// SPDX-License-Identifier: GPL-2.0 OR MIT

use anyhow::Result;
use userdma_model::testing::Program;

use crate::driver::*;

#[test]
fn the_card_says_what_it_is() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    let mut config = [0; 12];
    guest.config(0, &mut config)?;
    assert_eq!(config[..4], [0x34, 0x12, 0xe9, 0x11]);
    assert_eq!(config[9..], [0, 0x80, 0x11]);
    assert_eq!(guest.offered_vectors()?, 8);
    assert_eq!(guest.read32(0, 0)?, 0x11e9_0001);
    assert_eq!(guest.read32(0, 8)?, 0x020c_0804);
    assert_eq!(guest.read32(0, 0xc)?, 4 << 20);
    for value in [0, 0x1234_5678, u32::MAX] {
        guest.write32(0, 4, value)?;
        assert_eq!(guest.read32(0, 4)?, !value);
    }
    let mut last = 0;
    for _ in 0..100 {
        let low = guest.read32(0, 0x18)?;
        let time = (u64::from(guest.read32(0, 0x1c)?) << 32) | u64::from(low);
        assert!(time > last);
        last = time;
    }
    // What has no name reads as 0, and writing it does no harm.
    for offset in [0x24, 0xffc, 0x1038, 0x1100, 0x5000, 0x7ffc] {
        guest.write32(0, offset, u32::MAX)?;
        assert_eq!(guest.read32(0, offset)?, 0, "{offset:#x}");
    }
    assert_clean(&program)
}

#[test]
fn the_card_has_as_much_memory_as_it_is_told() -> Result<()> {
    let program = Program::start_with(PROGRAM, &["--memory", "1000"])?;
    let (mut guest, _events) = machine(&program, 0)?;
    assert_eq!(guest.read32(0, 0xc)?, 1000);
    let mut channel = Channel::start(&mut guest, 0, 4, 4)?;
    for (target, status) in [(900, OK), (901, RANGE)] {
        let one = Descriptor::new(TO_CARD, BASE + DATA, target, 100);
        assert_eq!(channel.run(&mut guest, &[one])?.status, status);
    }
    assert_eq!(program.violations()?, ["range"]);
    Ok(())
}

#[test]
fn each_direction_is_exact_to_the_byte() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    for index in 0..4 {
        let mut channel = Channel::start(&mut guest, index, 4, 4)?;
        for (seed, length) in [(1, 1), (2, 7), (3, 4096), (4, 65_537), (5, 1_234_567)] {
            let bytes = pattern(seed, length);
            // Odd places everywhere, and other places for each length.
            let (source, card) = (DATA + 3 * seed, 0x1001 * seed);
            let (back, twice) = (DATA + (8 << 20) + 5 * seed, DATA + (16 << 20) + 7 * seed);
            guest.put(source, &bytes)?;
            guest.put(back - 1, &vec![0xee; length + 2])?;
            guest.put(twice - 1, &vec![0xdd; length + 2])?;
            let size = length as u32;
            for descriptor in [
                Descriptor::new(TO_CARD, BASE + source, card, size),
                Descriptor::new(TO_HOST, BASE + back, card, size),
                Descriptor::new(HOST_TO_HOST, BASE + back, BASE + twice, size),
            ] {
                let cookie = (seed << 32) | u64::from(descriptor.flags);
                let done = channel.run(&mut guest, &[descriptor.cookie(cookie)])?;
                assert_eq!((done.status, done.bytes, done.cookie), (OK, size, cookie));
                assert!(done.start <= done.end && !done.gap);
            }
            for (place, fence) in [(back, 0xee), (twice, 0xdd)] {
                let found = guest.bytes(place - 1, length + 2)?;
                assert!(
                    found[1..=length] == bytes,
                    "channel {index}, {length} bytes"
                );
                assert_eq!((found[0], found[length + 1]), (fence, fence));
            }
        }
        channel.reset(&mut guest)?;
    }
    assert_clean(&program)
}

#[test]
fn a_chain_gathers_and_scatters() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, events) = machine(&program, 1)?;
    let mut channel = Channel::start(&mut guest, 1, 8, 4)?;
    let bytes = pattern(9, 1 << 20);
    let mut gather = Vec::new();
    let mut place = 0;
    while place < bytes.len() {
        let length = (place % 9001 + 1).min(bytes.len() - place);
        // Last first: each piece is somewhere else.
        let from = DATA + (2 << 20) - (place + length) as u64;
        guest.put(from, &bytes[place..place + length])?;
        let one = Descriptor::new(TO_CARD, BASE + from, 77 + place as u64, length as u32);
        gather.push(one.more().cookie(1));
        place += length;
    }
    if let Some(last) = gather.last_mut() {
        *last = Descriptor {
            flags: TO_CARD,
            cookie: 0xc0ffee,
            ..*last
        };
    }
    assert!(gather.len() > 20);
    let done = channel.run(&mut guest, &gather)?;
    assert_eq!(
        (done.status, done.bytes, done.cookie),
        (OK, 1 << 20, 0xc0ffee)
    );
    assert_eq!(channel.read(&mut guest, TAKEN)?, channel.given);
    let half = 1 << 19;
    let scatter = [
        Descriptor::new(TO_HOST, BASE + DATA + (4 << 20), 77, half).more(),
        Descriptor::new(TO_HOST, BASE + DATA + (6 << 20), 77 + u64::from(half), half),
    ];
    let done = channel.run(&mut guest, &scatter)?;
    assert_eq!((done.status, done.bytes), (OK, 1 << 20));
    let half = half as usize;
    assert!(guest.bytes(DATA + (4 << 20), half)? == bytes[..half]);
    assert!(guest.bytes(DATA + (6 << 20), half)? == bytes[half..]);
    // One completion and one interrupt for each.
    assert_eq!(channel.look(&guest)?, None);
    let mut interrupts = 0;
    while interrupts < 2 {
        interrupts += events[0].wait()?;
    }
    assert_eq!((interrupts, channel.read(&mut guest, RAISED)?), (2, 2));
    assert_clean(&program)
}

#[test]
fn channels_know_nothing_of_each_other() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, events) = machine(&program, 4)?;
    let mut channels = Vec::new();
    for index in 0..4 {
        let channel = Channel::prepare(&mut guest, index, 6, 6)?;
        channel.write(&mut guest, VECTOR, index as u32)?;
        channel.write(&mut guest, CONTROL, RUN)?;
        channels.push(channel);
    }
    let length = 300_001;
    for channel in &mut channels {
        let bytes = pattern(channel.index + 1, length);
        let from = DATA + (channel.index << 21);
        guest.put(from, &bytes)?;
        let chains: Vec<_> = (0..20)
            .flat_map(|round| {
                let card = channel.index << 20;
                let to = BASE + DATA + ((8 + channel.index) << 21);
                [
                    Descriptor::new(TO_CARD, BASE + from, card, length as u32).cookie(2 * round),
                    Descriptor::new(TO_HOST, to, card, length as u32).cookie(2 * round + 1),
                ]
            })
            .collect();
        channel.give(&mut guest, &chains)?;
    }
    for channel in &mut channels {
        for cookie in 0..40 {
            let done = channel.wait(&guest)?;
            assert_eq!((done.status, done.cookie), (OK, cookie));
        }
        let found = guest.bytes(DATA + ((8 + channel.index) << 21), length)?;
        assert!(found == pattern(channel.index + 1, length));
        channel.wait_idle(&mut guest)?;
        assert_eq!(channel.read(&mut guest, RAISED)?, 40);
        assert_eq!(events[channel.index as usize].take()?, 40);
    }
    assert_clean(&program)
}

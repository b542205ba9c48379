// SPDX-License-Identifier: GPL-2.0 OR MIT

use anyhow::Result;
use userdma_model::testing::until;
use userdma_model::testing::Guest;
use userdma_model::testing::Program;

use crate::driver::*;

const ENABLE: u32 = 1;
const SINE: u32 = 1 << 1;
const RAMP: u32 = 2 << 1;
const NOISE: u32 = 3 << 1;
const TRIGGERED: u32 = 1 << 4;
const FORCE: u32 = 1 << 5;

fn buffer(place: u64, length: u32) -> Descriptor {
    Descriptor::new(SAMPLES, BASE + DATA + place, 0, length).cookie(place)
}

fn samples(guest: &Guest, place: u64, bytes: u32) -> Result<Vec<u16>> {
    let bytes = guest.bytes(DATA + place, bytes as usize)?;
    let pairs = bytes.chunks_exact(2);
    Ok(pairs
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect())
}

fn dropped(guest: &mut Guest, channel: &Channel) -> Result<u64> {
    let low = channel.read(guest, DROPPED_LOW)?;
    Ok((u64::from(channel.read(guest, DROPPED_HIGH)?) << 32) | u64::from(low))
}

/// Waits until so many nanoseconds have passed on the card's clock.
fn wait_a_while(guest: &mut Guest, time: u32) -> Result<()> {
    let begin = guest.read32(0, 0x18)?;
    until("some time", || {
        let now = guest.read32(0, 0x18)?;
        Ok((now.wrapping_sub(begin) > time).then_some(()))
    })
}

/// Samples that count up from `first` on.
fn assert_counts(samples: &[u16], first: u64) {
    for (index, sample) in (first..).zip(samples) {
        assert_eq!(*sample, index as u16, "sample {index}");
    }
}

/// Lets `chains` chains of `length` bytes be filled, some ahead, and looks at each
/// sample.
fn count_without_loss(period: u32, chains: u64, length: u32) -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 1)?;
    let mut channel = Channel::start(&mut guest, 2, 3, 3)?;
    channel.write(&mut guest, PERIOD, period)?;
    let place = |chain: u64| (chain % 8) << 21;
    let chain = |number: u64| buffer(place(number), length).cookie(number);
    let ahead: Vec<_> = (0..8).map(chain).collect();
    channel.give(&mut guest, &ahead)?;
    channel.write(&mut guest, ACQUIRE, ENABLE)?;
    let mut end = 0;
    for number in 0..chains {
        let done = channel.wait(&guest)?;
        assert_eq!((done.status, done.bytes, done.cookie), (OK, length, number));
        assert!(!done.gap && done.start >= end);
        end = done.start;
        let found = samples(&guest, place(number), length)?;
        assert_counts(&found, number * u64::from(length / 2));
        // Filled again as soon as it was looked at.
        channel.give(&mut guest, &[chain(number + 8)])?;
    }
    assert_eq!(dropped(&mut guest, &channel)?, 0);
    channel.reset(&mut guest)?;
    assert_clean(&program)
}

#[test]
fn the_counter_is_without_loss_as_fast_as_can_be() -> Result<()> {
    count_without_loss(0, 60, 100_002)
}

#[test]
fn the_counter_is_without_loss_at_a_million_samples_a_second() -> Result<()> {
    // 8 buffers are 640 ms: the test would have to sleep so long to lose one.
    count_without_loss(1000, 12, 160_000)
}

#[test]
fn samples_without_a_chain_are_dropped_and_leave_a_gap() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    let mut channel = Channel::start(&mut guest, 3, 4, 4)?;
    // It takes a minute until the count begins anew.
    channel.write(&mut guest, PERIOD, 1_000_000)?;
    channel.write(&mut guest, ACQUIRE, ENABLE)?;
    until("dropped samples", || {
        Ok((dropped(&mut guest, &channel)? >= 20).then_some(()))
    })?;
    let mut next = 0;
    for round in 0..3 {
        channel.give(&mut guest, &[buffer(0, 64), buffer(1000, 64)])?;
        let (first, second) = (channel.wait(&guest)?, channel.wait(&guest)?);
        assert!(first.gap && !second.gap, "round {round}");
        let lost = dropped(&mut guest, &channel)?;
        let found = samples(&guest, 0, 64)?;
        let begin = u64::from(found[0]);
        // As many were dropped as are missing in the count.
        assert!(begin > next && begin <= lost + 64 * round);
        assert_counts(&found, begin);
        assert_counts(&samples(&guest, 1000, 64)?, begin + 32);
        // 32 samples later, to the nanosecond.
        assert_eq!(second.start - first.start, 32_000_000);
        next = begin + 64;
        // Twenty more. DROPPED is not read: it must not matter.
        wait_a_while(&mut guest, 20_000_000)?;
    }
    // Disabled, nothing more is lost.
    channel.write(&mut guest, ACQUIRE, 0)?;
    let lost = dropped(&mut guest, &channel)?;
    channel.write(&mut guest, ACQUIRE, ENABLE)?;
    channel.give(&mut guest, &[buffer(0, 2)])?;
    channel.wait(&guest)?;
    let sample = u64::from(samples(&guest, 0, 2)?[0]);
    let missing = dropped(&mut guest, &channel)?;
    assert!(sample >= lost + 192 && sample <= missing + 192);
    assert_clean(&program)
}

#[test]
fn a_copy_in_front_is_no_chain_for_samples() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    let mut channel = Channel::start(&mut guest, 3, 4, 4)?;
    channel.write(&mut guest, PERIOD, 1_000_000)?;
    inject(&program, "slow", 3, Some(30))?;
    let copy = Descriptor::new(HOST_TO_HOST, BASE + DATA, BASE + DATA + 5000, 64);
    channel.give(&mut guest, &[copy, buffer(0, 8)])?;
    channel.write(&mut guest, ACQUIRE, ENABLE)?;
    let (copy, filled) = (channel.wait(&guest)?, channel.wait(&guest)?);
    assert!(!copy.gap && filled.gap);
    assert!(filled.start >= copy.start + 20_000_000);
    // Most of those thirty milliseconds, and then four without a gap.
    let found = samples(&guest, 0, 8)?;
    assert!(found[0] >= 20, "{found:?}");
    assert_counts(&found, found[0].into());
    assert_clean(&program)
}

#[test]
fn a_chain_without_a_sample_waits_also_while_run_is_0() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    let mut channel = Channel::start(&mut guest, 2, 4, 4)?;
    channel.give(&mut guest, &[buffer(0, 64), buffer(100, 64)])?;
    channel.wait_for(&mut guest, TAKEN, u32::MAX, 1)?;
    for _ in 0..3 {
        channel.write(&mut guest, CONTROL, 0)?;
        channel.wait_idle(&mut guest)?;
        channel.write(&mut guest, CONTROL, RUN)?;
        assert_eq!(channel.read(&mut guest, STATUS)?, BUSY);
        assert_eq!(channel.look(&guest)?, None);
    }
    channel.write(&mut guest, ACQUIRE, ENABLE)?;
    for cookie in [0, 100] {
        let done = channel.wait(&guest)?;
        assert_eq!((done.status, done.bytes, done.cookie), (OK, 64, cookie));
        assert_counts(&samples(&guest, cookie, 64)?, cookie / 100 * 32);
    }
    assert_clean(&program)
}

#[test]
fn disabling_ends_the_chain_with_what_it_has() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    for clears_run in [false, true] {
        let mut channel = Channel::start(&mut guest, 2, 4, 4)?;
        channel.write(&mut guest, PERIOD, 50_000)?;
        channel.give(&mut guest, &[buffer(0, 1 << 20), buffer(2 << 20, 64)])?;
        channel.write(&mut guest, ACQUIRE, ENABLE)?;
        // So much later that twenty samples must be there.
        wait_a_while(&mut guest, 1_000_000)?;
        match clears_run {
            true => channel.write(&mut guest, CONTROL, 0)?,
            false => channel.write(&mut guest, ACQUIRE, 0)?,
        }
        let done = channel.wait(&guest)?;
        assert_eq!((done.status, done.cookie, done.gap), (OK, 0, false));
        assert!(
            done.bytes >= 20 * 2 && done.bytes < 1 << 20,
            "{}",
            done.bytes
        );
        assert_counts(&samples(&guest, 0, done.bytes)?, 0);
        let mut next = u64::from(done.bytes / 2);
        if clears_run {
            channel.wait_idle(&mut guest)?;
            channel.write(&mut guest, ACQUIRE, 0)?;
            // Those that came while it did not run.
            next += dropped(&mut guest, &channel)?;
            channel.write(&mut guest, CONTROL, RUN)?;
        }
        // The next chain has no sample, and still waits for its first.
        assert_eq!(channel.read(&mut guest, STATUS)?, BUSY);
        assert_eq!(channel.look(&guest)?, None);
        channel.write(&mut guest, ACQUIRE, ENABLE)?;
        let second = channel.wait(&guest)?;
        assert_eq!((second.cookie, second.bytes), (2 << 20, 64));
        assert_eq!(second.gap, next != u64::from(done.bytes / 2));
        assert_counts(&samples(&guest, 2 << 20, 64)?, next);
        channel.reset(&mut guest)?;
    }
    assert_clean(&program)
}

#[test]
fn sine_ramp_and_noise_are_what_they_should_be() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    let mut noise = Vec::new();
    for source in [SINE, RAMP, NOISE, NOISE] {
        let mut channel = Channel::start(&mut guest, 3, 4, 4)?;
        channel.write(&mut guest, SINE_PERIOD, 100)?;
        channel.write(&mut guest, ACQUIRE, source | ENABLE)?;
        assert_eq!(channel.read(&mut guest, ACQUIRE)?, source | ENABLE);
        // In pieces that end within a sample.
        let pieces = [
            buffer(1, 7).more(),
            buffer(8, 1000).more(),
            buffer(1008, 993),
        ];
        let done = channel.run(&mut guest, &pieces)?;
        assert_eq!((done.status, done.bytes, done.gap), (OK, 2000, false));
        let found = samples(&guest, 1, 2000)?;
        assert!(found.iter().all(|sample| sample & 0xf == 0));
        let values: Vec<i16> = found.iter().map(|sample| *sample as i16 >> 4).collect();
        match source {
            SINE => {
                assert_eq!((values[0], values[25], values[75]), (0, 2047, -2047));
                assert_eq!(values[..100], values[900..]);
            }
            RAMP => {
                assert_eq!((values[0], values[50], values[99]), (-2048, 0, 2007));
                assert!(values[..100].is_sorted() && values[..100] == values[900..]);
            }
            _ if noise.is_empty() => noise = values,
            _ => assert_eq!(values, noise),
        }
        channel.reset(&mut guest)?;
        assert_eq!(channel.read(&mut guest, ACQUIRE)?, 0);
    }
    assert_clean(&program)
}

#[test]
fn acquisition_begins_with_the_trigger() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    for (period, level) in [(0, 1000), (1000, 1000), (0, -1000), (1000, 0)] {
        let mut channel = Channel::start(&mut guest, 2, 4, 4)?;
        channel.write(&mut guest, PERIOD, period)?;
        channel.write(&mut guest, LEVEL, level as u32)?;
        channel.give(&mut guest, &[buffer(0, 512)])?;
        channel.write(&mut guest, ACQUIRE, SINE | TRIGGERED | ENABLE)?;
        let done = channel.wait(&guest)?;
        assert!(!done.gap && done.bytes == 512);
        let found = samples(&guest, 0, 512)?;
        let values: Vec<i32> = found
            .iter()
            .map(|one| i32::from(*one as i16 >> 4))
            .collect();
        // A whole period: the last is the one before the first.
        assert!(
            values[0] >= level && values[255] < level,
            "{level}: {values:?}"
        );
        channel.reset(&mut guest)?;
    }
    // Never, until it is forced.
    for period in [0, 1000] {
        let mut channel = Channel::start(&mut guest, 2, 4, 4)?;
        channel.write(&mut guest, PERIOD, period)?;
        channel.write(&mut guest, LEVEL, 4000)?;
        channel.write(&mut guest, ACQUIRE, SINE | TRIGGERED | ENABLE)?;
        channel.give(&mut guest, &[buffer(0, 512)])?;
        channel.wait_for(&mut guest, TAKEN, u32::MAX, 1)?;
        for _ in 0..100 {
            assert_eq!(channel.read(&mut guest, STATUS)?, BUSY);
            assert_eq!(channel.look(&guest)?, None);
        }
        channel.write(&mut guest, ACQUIRE, SINE | TRIGGERED | FORCE | ENABLE)?;
        assert_eq!(
            channel.read(&mut guest, ACQUIRE)?,
            SINE | TRIGGERED | ENABLE
        );
        let done = channel.wait(&guest)?;
        assert!(done.bytes == 512 && !done.gap);
        channel.reset(&mut guest)?;
    }
    assert_clean(&program)
}

#[test]
fn a_chain_of_samples_meets_faults_and_copies_go_between() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    let mut channel = Channel::start(&mut guest, 2, 4, 4)?;
    channel.write(&mut guest, ACQUIRE, ENABLE)?;
    for (fault, status, bytes) in [("error", FAILED, 32), ("short", OK, 32), ("slow", OK, 64)] {
        inject(&program, fault, 2, Some(20))?;
        let done = channel.run(&mut guest, &[buffer(0, 64)])?;
        assert_eq!((done.status, done.bytes), (status, bytes), "{fault}");
    }
    let copy = Descriptor::new(HOST_TO_HOST, BASE + DATA, BASE + DATA + 5000, 64);
    assert_eq!(channel.run(&mut guest, &[copy])?.status, OK);
    // No PERIOD: none is lost.
    assert_eq!(channel.run(&mut guest, &[buffer(0, 64)])?.bytes, 64);
    assert_counts(&samples(&guest, 0, 64)?, 64);
    // A sample that could not be stored comes again.
    guest.unmap(BASE + DATA + 4096, 4096)?;
    let done = channel.run(&mut guest, &[buffer(4096 - 7, 64)])?;
    assert_eq!((done.status, done.bytes), (ADDRESS, 7));
    assert_counts(&samples(&guest, 4096 - 7, 6)?, 96);
    channel.run(&mut guest, &[buffer(0, 64)])?;
    assert_counts(&samples(&guest, 0, 64)?, 99);
    assert_eq!(program.violations()?, ["address"]);
    inject(&program, "stuck", 2, None)?;
    channel.give(&mut guest, &[buffer(0, 64)])?;
    channel.wait_for(&mut guest, TAKEN, u32::MAX, 8)?;
    channel.reset(&mut guest)?;
    assert_eq!(channel.look(&guest)?, None);
    assert_clean(&program)
}

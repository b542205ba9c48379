// SPDX-License-Identifier: GPL-2.0 OR MIT

use anyhow::Result;
use userdma_model::testing::until;
use userdma_model::testing::Guest;
use userdma_model::testing::Program;

use crate::driver::*;

const PAGE: u64 = 4096;

fn to_card(address: u64, length: u32) -> Descriptor {
    Descriptor::new(TO_CARD, address, 0, length)
}

#[test]
fn a_chain_that_is_malformed_moves_nothing() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    let mut channel = Channel::start(&mut guest, 0, 4, 4)?;
    let good = to_card(BASE + DATA, 64);
    let memory = 4 << 20;
    let reserved = Descriptor {
        reserved: 1,
        ..good
    };
    let unknown = Descriptor {
        flags: 1 << 9,
        ..good
    };
    for (chain, status, rule) in [
        (vec![to_card(BASE, 0)], RANGE, "range"),
        (vec![to_card(BASE, (1 << 31) + 1)], RANGE, "range"),
        (
            vec![Descriptor::new(TO_CARD, BASE, memory - 63, 64)],
            RANGE,
            "range",
        ),
        (
            vec![Descriptor::new(TO_HOST, BASE, u64::MAX, 64)],
            RANGE,
            "range",
        ),
        (
            vec![good.more(), Descriptor::new(TO_HOST, BASE, 0, 64)],
            OPERATION,
            "descriptor",
        ),
        (
            vec![Descriptor::new(SAMPLES, BASE, 0, 64)],
            OPERATION,
            "descriptor",
        ),
        (vec![good.more(), reserved], OPERATION, "descriptor"),
        (vec![unknown], OPERATION, "descriptor"),
        (vec![good.more(); 16], OPERATION, "descriptor"),
    ] {
        let done = channel.run(&mut guest, &chain)?;
        assert_eq!((done.status, done.bytes), (status, 0), "{chain:x?}");
        assert_eq!(program.violations()?, [rule], "{chain:x?}");
        // The next one begins as if nothing had been.
        let done = channel.run(&mut guest, &[good])?;
        assert_eq!((done.status, done.bytes), (OK, 64));
    }
    let mut samples = Channel::start(&mut guest, 2, 4, 4)?;
    let odd = Descriptor::new(SAMPLES, BASE + DATA, 0, 65);
    let done = samples.run(&mut guest, &[odd])?;
    assert_eq!((done.status, done.bytes), (RANGE, 0));
    assert_eq!(program.violations()?, ["range"]);
    Ok(())
}

#[test]
fn memory_that_was_taken_away_is_refused() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    let mut channel = Channel::start(&mut guest, 1, 4, 4)?;
    let bytes = pattern(1, 4 * PAGE as usize);
    guest.put(DATA, &bytes)?;
    // The third page of four.
    guest.unmap(BASE + DATA + 2 * PAGE, PAGE)?;
    let all = to_card(BASE + DATA, 4 * PAGE as u32);
    let done = channel.run(&mut guest, &[all])?;
    assert_eq!((done.status, done.bytes), (ADDRESS, 2 * PAGE as u32));
    assert_eq!(program.violations()?, ["address"]);
    // Those of a chain are moved up to there, and no further.
    let to = DATA + (1 << 20);
    let last = Descriptor::new(TO_HOST, BASE + to + 3 * PAGE, 0, PAGE as u32);
    let chain = [
        Descriptor::new(TO_HOST, BASE + to, 0, PAGE as u32).more(),
        Descriptor::new(TO_HOST, BASE + DATA + 2 * PAGE, 0, 64).more(),
        last,
    ];
    let done = channel.run(&mut guest, &chain)?;
    assert_eq!((done.status, done.bytes), (ADDRESS, PAGE as u32));
    assert_eq!(program.violations()?, ["address"]);
    assert!(guest.bytes(to, PAGE as usize)? == bytes[..PAGE as usize]);
    assert_eq!(guest.bytes(to + 3 * PAGE, 64)?, [0; 64]);
    // It comes back, at another place of the memory.
    let file = DATA + (2 << 20);
    guest.map(BASE + DATA + 2 * PAGE, file, PAGE)?;
    guest.put(file, &pattern(5, PAGE as usize))?;
    assert_eq!(channel.run(&mut guest, &[all])?.status, OK);
    let back = Descriptor::new(TO_HOST, BASE + to, 2 * PAGE, PAGE as u32);
    assert_eq!(channel.run(&mut guest, &[back])?.status, OK);
    assert!(guest.bytes(to, PAGE as usize)? == pattern(5, PAGE as usize));
    // Both sides of host to host.
    for (from, to) in [(0x1000, BASE), (BASE + DATA, 0x1000), (u64::MAX - 63, BASE)] {
        let chain = Descriptor::new(HOST_TO_HOST, from, to, 64);
        let done = channel.run(&mut guest, &[chain])?;
        assert_eq!((done.status, done.bytes), (ADDRESS, 0));
        assert_eq!(program.violations()?, ["address"]);
    }
    Ok(())
}

/// The channel has halted for `reason`, and RESET is the way out.
fn assert_halted(guest: &mut Guest, channel: &Channel, reason: u16) -> Result<()> {
    let halted = HALTED | (u32::from(reason) << 8);
    channel.wait_for(guest, STATUS, HALTED, HALTED)?;
    channel.wait_idle(guest)?;
    assert_eq!(channel.read(guest, STATUS)?, halted);
    channel.write(guest, CONTROL, 0)?;
    channel.write(guest, CONTROL, RUN)?;
    assert_eq!(channel.read(guest, STATUS)?, halted);
    channel.reset(guest)?;
    assert_eq!(channel.read(guest, STATUS)?, 0);
    Ok(())
}

#[test]
fn a_channel_without_its_rings_halts() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, events) = machine(&program, 1)?;
    let good = to_card(BASE + DATA, 64);

    // A descriptor that is stale, behind one that is good.
    let mut channel = Channel::start(&mut guest, 0, 2, 2)?;
    channel.write(&mut guest, CONTROL, 0)?;
    channel.write(&mut guest, MODERATE_COUNT, 100)?;
    channel.write(&mut guest, MODERATE_TIME, 4_000_000_000)?;
    channel.write(&mut guest, CONTROL, RUN)?;
    channel.put(&guest, &[good.quiet()])?;
    channel.put_stale(&guest, &good)?;
    channel.ring_doorbell(&mut guest)?;
    assert_eq!(channel.wait(&guest)?.status, OK);
    // Moderation does not hold this one back.
    assert_eq!(events[0].wait()?, 1);
    assert_eq!(channel.read(&mut guest, TAKEN)?, 1);
    assert_halted(&mut guest, &channel, STALE)?;
    assert_eq!(channel.look(&guest)?, None);
    assert_eq!(program.violations()?, ["descriptor"]);
    assert_eq!(events[0].take()?, 0);

    // One within a chain: nothing of the chain is moved.
    let mut channel = Channel::start(&mut guest, 0, 2, 2)?;
    guest.put(DATA, &[9; 64])?;
    let to = DATA + PAGE;
    let copy = Descriptor::new(HOST_TO_HOST, BASE + DATA, BASE + to, 64);
    channel.put(&guest, &[copy.more()])?;
    channel.put_stale(&guest, &copy)?;
    channel.ring_doorbell(&mut guest)?;
    assert_eq!(events[0].wait()?, 1);
    assert_halted(&mut guest, &channel, STALE)?;
    assert_eq!(guest.bytes(to, 64)?, [0; 64]);
    assert_eq!(program.violations()?, ["descriptor"]);

    // A ring that is not there, either one.
    for done in [false, true] {
        let mut channel = Channel::start(&mut guest, 0, 2, 2)?;
        let ring = match done {
            false => channel.ring_offset(),
            true => channel.done_offset(),
        };
        guest.unmap(BASE + ring, PAGE)?;
        guest.map(0x7000_0000, ring, PAGE)?;
        channel.give(&mut guest, &[good])?;
        assert_eq!(events[0].wait()?, 1);
        assert_halted(&mut guest, &channel, ADDRESS)?;
        assert_eq!(channel.look(&guest)?, None);
        assert_eq!(program.violations()?, ["address"]);
        guest.unmap(0x7000_0000, PAGE)?;
        guest.map(BASE + ring, ring, PAGE)?;
    }
    let mut channel = Channel::start(&mut guest, 0, 2, 2)?;
    assert_eq!(channel.run(&mut guest, &[good])?.status, OK);
    assert_clean(&program)
}

#[test]
fn nothing_moves_without_bus_mastering() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, events) = machine(&program, 1)?;
    let mut channel = Channel::start(&mut guest, 0, 2, 2)?;
    guest.set_master(false)?;
    channel.give(&mut guest, &[to_card(BASE + DATA, 64)])?;
    assert_halted(&mut guest, &channel, MASTER)?;
    assert_eq!(program.violations()?, ["master"]);
    // An interrupt is a write, too.
    guest.write32(0, 0x20, 1)?;
    assert_eq!(events[0].take()?, 0);
    guest.set_master(true)?;
    guest.write32(0, 0x20, 1)?;
    assert_eq!(events[0].wait()?, 1);

    // In the middle of a long chain: it ends, but nobody can be told.
    let mut channel = Channel::start(&mut guest, 0, 12, 2)?;
    let (from, to) = (BASE + DATA, BASE + DATA + (32 << 20));
    let long = Descriptor::new(HOST_TO_HOST, from, to, 16 << 20);
    let mut chain = vec![long.more(); 4095];
    chain.push(long);
    channel.give(&mut guest, &chain)?;
    guest.put(DATA, &[1; 64])?;
    until("bytes moved", || {
        Ok((guest.bytes(to - BASE, 1)? == [1]).then_some(()))
    })?;
    guest.set_master(false)?;
    // Nothing is written any more, at once.
    guest.put(to - BASE, &[2; 64])?;
    assert_halted(&mut guest, &channel, MASTER)?;
    assert_eq!(guest.bytes(to - BASE, 64)?, [2; 64]);
    assert_eq!(channel.look(&guest)?, None);
    assert_eq!(program.violations()?, ["master", "master"]);
    Ok(())
}

#[test]
fn registers_are_not_written_while_the_channel_runs() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    let channel = Channel::start(&mut guest, 1, 4, 4)?;
    let registers = [
        RING_LOW,
        RING_HIGH,
        RING_SIZE,
        DONE_LOW,
        DONE_HIGH,
        DONE_SIZE,
        VECTOR,
        MODERATE_COUNT,
        MODERATE_TIME,
    ];
    for register in registers {
        let before = channel.read(&mut guest, register)?;
        channel.write(&mut guest, register, 1 << 12)?;
        assert_eq!(channel.read(&mut guest, register)?, before, "{register:#x}");
        assert_eq!(program.violations()?, ["running"], "{register:#x}");
    }
    channel.write(&mut guest, CONTROL, 0)?;
    for register in registers {
        channel.write(&mut guest, register, 1)?;
    }
    // The two addresses must be aligned.
    assert_eq!(program.violations()?, ["running", "running"]);
    channel.write(&mut guest, RING_SIZE, 13)?;
    channel.write(&mut guest, DONE_SIZE, u32::MAX)?;
    assert_eq!(program.violations()?, ["running", "running"]);
    assert_eq!(channel.read(&mut guest, DONE_SIZE)?, 1);
    Ok(())
}

#[test]
fn run_needs_both_rings() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    for register in [RING_LOW, RING_SIZE, DONE_LOW, DONE_SIZE] {
        let channel = Channel::prepare(&mut guest, 0, 4, 4)?;
        channel.write(&mut guest, register, 0)?;
        if register == RING_LOW {
            channel.write(&mut guest, RING_HIGH, 0)?;
        } else if register == DONE_LOW {
            channel.write(&mut guest, DONE_HIGH, 0)?;
        }
        channel.write(&mut guest, CONTROL, RUN)?;
        assert_eq!(channel.read(&mut guest, CONTROL)?, 0, "{register:#x}");
        assert_eq!(program.violations()?, ["running"], "{register:#x}");
        channel.reset(&mut guest)?;
    }
    Ok(())
}

#[test]
fn registers_have_32_bits_and_violations_are_counted() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    assert_eq!(guest.read32(0, 0x14)?, 0);
    for (offset, length) in [(4, 1), (4, 2), (6, 4), (0, 8), (0x7fff, 1), (0x8000, 4)] {
        guest.write(0, offset, &vec![0xff; length])?;
        let mut bytes = vec![0xff; length];
        guest.read(0, offset, &mut bytes)?;
        assert_eq!(bytes, vec![0; length], "{offset:#x}");
    }
    // Nothing was written.
    assert_eq!(guest.read32(0, 4)?, u32::MAX);
    assert_eq!(guest.read32(0, 0x14)?, 12);
    assert_eq!(program.violations()?, ["access"; 12]);
    // Forgiven, but the register says since power was applied.
    assert_eq!(guest.read32(0, 0x14)?, 12);
    guest.write32(0, 0x10, 1)?;
    assert_eq!(guest.read32(0, 0x14)?, 12);
    Ok(())
}

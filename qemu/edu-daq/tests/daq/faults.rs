// SPDX-License-Identifier: GPL-2.0 OR MIT

use anyhow::Result;
use serde_json::json;
use userdma_model::testing::until;
use userdma_model::testing::Program;

use crate::driver::*;

const FROM: u64 = DATA;
const TO: u64 = DATA + (1 << 20);

fn copy(length: u32) -> Descriptor {
    Descriptor::new(HOST_TO_HOST, BASE + FROM, BASE + TO, length)
}

#[test]
fn a_chain_ends_after_half_of_it() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    let mut channel = Channel::start(&mut guest, 0, 4, 4)?;
    for (fault, status) in [("error", FAILED), ("short", OK)] {
        guest.put(FROM, &[1; 3000])?;
        guest.put(TO, &[0; 3000])?;
        inject(&program, fault, 0, None)?;
        let second = Descriptor::new(HOST_TO_HOST, BASE + FROM + 1000, BASE + TO + 1000, 1001);
        let done = channel.run(&mut guest, &[copy(1000).more(), second.cookie(5)])?;
        assert_eq!((done.status, done.bytes, done.cookie), (status, 1000, 5));
        assert_eq!(guest.bytes(TO, 1001)?, [vec![1; 1000], vec![0]].concat());
        inject(&program, fault, 0, None)?;
        let done = channel.run(&mut guest, &[copy(1)])?;
        assert_eq!((done.status, done.bytes), (status, 0));
        let done = channel.run(&mut guest, &[copy(2001)])?;
        assert_eq!((done.status, done.bytes), (OK, 2001));
    }
    // So many times, and only on that channel.
    program.control(&json!({"inject": {"fault": "error", "channel": 1, "count": 3}}))?;
    let mut other = Channel::start(&mut guest, 1, 4, 4)?;
    assert_eq!(channel.run(&mut guest, &[copy(8)])?.status, OK);
    for _ in 0..3 {
        assert_eq!(other.run(&mut guest, &[copy(8)])?.status, FAILED);
    }
    assert_eq!(other.run(&mut guest, &[copy(8)])?.status, OK);
    assert_clean(&program)
}

#[test]
fn a_channel_that_is_stuck_is_freed_by_reset() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, events) = machine(&program, 1)?;
    guest.put(FROM, &[1; 4000])?;
    inject(&program, "stuck", 0, None)?;
    let mut channel = Channel::start(&mut guest, 0, 4, 4)?;
    channel.give(&mut guest, &[copy(4000), copy(10)])?;
    until("half of it", || {
        Ok((guest.bytes(TO + 1999, 1)? == [1]).then_some(()))
    })?;
    assert_eq!(channel.read(&mut guest, STATUS)?, BUSY);
    // The other channels go on.
    let mut other = Channel::start(&mut guest, 1, 4, 4)?;
    assert_eq!(other.run(&mut guest, &[copy(1)])?.status, OK);
    other.wait_idle(&mut guest)?;
    assert_eq!(events[0].take()?, 1);
    assert_eq!(guest.bytes(TO + 2000, 1)?, [0]);
    channel.reset(&mut guest)?;
    assert_eq!(channel.read(&mut guest, STATUS)?, 0);
    assert_eq!(channel.look(&guest)?, None);
    let mut channel = Channel::start(&mut guest, 0, 4, 4)?;
    assert_eq!(channel.run(&mut guest, &[copy(4000)])?.bytes, 4000);
    assert_clean(&program)
}

#[test]
fn a_channel_that_is_stuck_goes_on_when_it_is_healed() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    for fault in ["stuck", "stuck-hard"] {
        guest.put(FROM, &[1; 4000])?;
        guest.put(TO, &[0; 4000])?;
        inject(&program, fault, 0, None)?;
        let mut channel = Channel::start(&mut guest, 0, 4, 4)?;
        channel.give(&mut guest, &[copy(4000)])?;
        until("half of it", || {
            Ok((guest.bytes(TO + 1999, 1)? == [1]).then_some(()))
        })?;
        heal(&program)?;
        let done = channel.wait(&guest)?;
        assert_eq!((done.status, done.bytes), (OK, 4000));
        assert_eq!(guest.bytes(TO, 4000)?, [1; 4000]);
        channel.reset(&mut guest)?;
    }
    assert_clean(&program)
}

#[test]
fn a_channel_that_is_stuck_hard_ignores_reset_until_it_is_healed() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    guest.put(FROM, &[1; 4000])?;
    inject(&program, "stuck-hard", 2, None)?;
    let mut channel = Channel::start(&mut guest, 2, 4, 4)?;
    channel.give(&mut guest, &[copy(4000)])?;
    until("half of it", || {
        Ok((guest.bytes(TO + 1999, 1)? == [1]).then_some(()))
    })?;
    channel.write(&mut guest, CONTROL, RESET)?;
    guest.write32(0, 0x10, 1)?;
    // Others are done meanwhile, a hundred times.
    let mut other = Channel::start(&mut guest, 0, 4, 4)?;
    for _ in 0..100 {
        assert_eq!(other.run(&mut guest, &[copy(1)])?.status, OK);
        assert_eq!(channel.read(&mut guest, CONTROL)? & RESET, RESET);
        assert_eq!(channel.read(&mut guest, STATUS)? & BUSY, BUSY);
        assert_eq!(guest.read32(0, 0x10)?, 1);
    }
    // Not even a reset of the function: it does not wait for it for ever.
    guest.reset()?;
    assert_eq!(channel.read(&mut guest, STATUS)? & BUSY, BUSY);
    heal(&program)?;
    channel.wait_for(&mut guest, CONTROL, RESET, 0)?;
    assert_eq!(channel.read(&mut guest, STATUS)?, 0);
    assert_eq!(guest.read32(0, 0x10)?, 0);
    assert_eq!(channel.look(&guest)?, None);
    assert_eq!(guest.bytes(TO + 2000, 1)?, [0]);
    guest.set_master(true)?;
    let mut channel = Channel::start(&mut guest, 2, 4, 4)?;
    assert_eq!(channel.run(&mut guest, &[copy(4000)])?.bytes, 4000);
    assert_clean(&program)?;
    // Such a card can be pulled, too.
    inject(&program, "stuck-hard", 2, None)?;
    channel.give(&mut guest, &[copy(4000)])?;
    drop(guest);
    let (mut guest, _events) = machine(&program, 0)?;
    let mut channel = Channel::start(&mut guest, 2, 4, 4)?;
    assert_eq!(channel.run(&mut guest, &[copy(4000)])?.bytes, 4000);
    assert_clean(&program)
}

#[test]
fn chains_take_longer_when_they_are_told_to() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    let mut channel = Channel::start(&mut guest, 0, 4, 4)?;
    inject(&program, "slow", 0, Some(40))?;
    let done = channel.run(&mut guest, &[copy(64)])?;
    assert!((done.status, done.bytes) == (OK, 64) && done.end - done.start >= 40_000_000);
    inject(&program, "slow-all", 0, Some(30))?;
    for _ in 0..3 {
        let done = channel.run(&mut guest, &[copy(64)])?;
        assert!(done.end - done.start >= 30_000_000);
    }
    // An hour, and a RESET in its middle.
    inject(&program, "slow", 0, Some(3_600_000))?;
    channel.give(&mut guest, &[copy(64)])?;
    channel.wait_for(&mut guest, TAKEN, u32::MAX, 5)?;
    channel.reset(&mut guest)?;
    // An hour, and healed.
    let mut channel = Channel::start(&mut guest, 0, 4, 4)?;
    inject(&program, "slow", 0, Some(3_600_000))?;
    channel.give(&mut guest, &[copy(64)])?;
    channel.wait_for(&mut guest, TAKEN, u32::MAX, 1)?;
    heal(&program)?;
    assert_eq!(channel.wait(&guest)?.bytes, 64);
    assert_clean(&program)
}

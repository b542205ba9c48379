// SPDX-License-Identifier: GPL-2.0 OR MIT

use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use userdma_model::testing::until;
use userdma_model::testing::Guest;
use userdma_model::testing::Program;

use crate::driver::*;

/// A reset takes no longer than this, much longer than it needs.
const SOON: Duration = Duration::from_secs(2);

const FROM: u64 = DATA;
const TO: u64 = DATA + (32 << 20);

/// Begins a chain that takes longer than any test: 64 GiB. Returns when bytes move.
fn begin_a_long_chain(guest: &mut Guest, channel: &mut Channel) -> Result<()> {
    guest.put(FROM, &[1; 64])?;
    guest.put(TO, &[0; 64])?;
    let piece = Descriptor::new(HOST_TO_HOST, BASE + FROM, BASE + TO, 16 << 20);
    let mut chain = vec![piece.more(); 4095];
    chain.push(piece);
    channel.give(guest, &chain)?;
    until("bytes moved", || {
        Ok((guest.bytes(TO, 1)? == [1]).then_some(()))
    })
}

/// Nothing of a long chain is moved any more, and there was no completion.
fn assert_quiet(guest: &mut Guest, channel: &mut Channel) -> Result<()> {
    guest.put(TO, &[2; 64])?;
    // What the worker would do next comes after this.
    let mut other = Channel::start(guest, 3, 4, 4)?;
    for _ in 0..20 {
        let copy = Descriptor::new(TO_CARD, BASE + FROM, 0, 1 << 20);
        assert_eq!(other.run(guest, &[copy])?.status, OK);
    }
    other.wait_idle(guest)?;
    other.reset(guest)?;
    assert_eq!(guest.bytes(TO, 64)?, [2; 64]);
    assert_eq!(channel.look(guest)?, None);
    Ok(())
}

#[test]
fn reset_stops_a_long_chain_at_once() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, events) = machine(&program, 1)?;
    for _ in 0..5 {
        let mut channel = Channel::start(&mut guest, 0, 12, 2)?;
        begin_a_long_chain(&mut guest, &mut channel)?;
        assert_eq!(channel.read(&mut guest, STATUS)?, BUSY);
        let begun = Instant::now();
        channel.reset(&mut guest)?;
        let taken = begun.elapsed();
        assert!(taken < SOON, "{taken:?}");
        for register in (0..0x38).step_by(4).chain((0x100..0x118).step_by(4)) {
            assert_eq!(channel.read(&mut guest, register)?, 0, "{register:#x}");
        }
        assert_quiet(&mut guest, &mut channel)?;
    }
    // Those of the other channel.
    assert_eq!(events[0].take()?, 100);
    assert_eq!(counter(&program, 0, "completions")?, 0);
    assert_clean(&program)
}

#[test]
fn every_reset_of_the_card_stops_all_channels() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 1)?;
    for way in 0..3 {
        let mut channels = Vec::new();
        for index in 0..3 {
            let mut channel = Channel::start(&mut guest, index, 12, 2)?;
            begin_a_long_chain(&mut guest, &mut channel)?;
            channels.push(channel);
        }
        guest.write32(0, 4, 7)?;
        match way {
            // CONTROL.
            0 => {
                guest.write32(0, 0x10, 1)?;
                until("reset", || Ok((guest.read32(0, 0x10)? == 0).then_some(())))?;
            }
            // That of a machine, and that of the function's capability.
            1 => guest.reset()?,
            _ => guest.set_config(0x44, &[1])?,
        }
        assert_eq!(guest.read32(0, 4)?, u32::MAX);
        for channel in &channels {
            assert_eq!(channel.read(&mut guest, CONTROL)?, 0);
            assert_eq!(channel.read(&mut guest, STATUS)?, 0);
        }
        guest.set_master(true)?;
        for channel in &mut channels {
            assert_quiet(&mut guest, channel)?;
        }
    }
    assert_clean(&program)
}

#[test]
fn a_channel_works_as_new_after_its_reset() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    for round in 0..10 {
        let mut channel = Channel::start(&mut guest, 1, 2, 3)?;
        // Rings are left at other places each time, also within a chain.
        for cookie in 0..round {
            let copy = Descriptor::new(TO_CARD, BASE + FROM, 0, 64).cookie(cookie);
            assert_eq!(channel.run(&mut guest, &[copy])?.cookie, cookie);
        }
        let copy = Descriptor::new(TO_CARD, BASE + FROM, 0, 64);
        channel.give(&mut guest, &[copy.more()])?;
        channel.wait_for(&mut guest, TAKEN, u32::MAX, channel.given)?;
        channel.reset(&mut guest)?;
    }
    assert_clean(&program)
}

#[test]
fn a_client_may_go_in_the_middle_and_another_one_come() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    for _ in 0..3 {
        let (mut guest, _events) = machine(&program, 1)?;
        assert_eq!(guest.read32(0, 4)?, u32::MAX, "a card that was used");
        guest.write32(0, 4, 1)?;
        let mut channel = Channel::start(&mut guest, 0, 12, 2)?;
        begin_a_long_chain(&mut guest, &mut channel)?;
        drop(guest);
        // What it counted can be asked for until the next one comes.
        assert_eq!(counter(&program, 0, "doorbells")?, 1);
    }
    assert_clean(&program)
}

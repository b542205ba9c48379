// SPDX-License-Identifier: GPL-2.0 OR MIT

use anyhow::Result;
use userdma_model::testing::Program;

use crate::driver::*;

fn copy(round: u64) -> Descriptor {
    Descriptor::new(
        HOST_TO_HOST,
        BASE + DATA,
        BASE + DATA + (1 << 20) + 8 * round,
        8,
    )
    .cookie(round)
}

#[test]
fn both_rings_wrap_with_their_phases() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    for (ring, done) in [(1, 1), (2, 1), (1, 3), (3, 2)] {
        let mut channel = Channel::start(&mut guest, 0, ring, done)?;
        let mut round = 0;
        while round < 50 {
            // As many as both rings hold.
            let batch = (1 << ring.min(done)).min(50 - round);
            let chains: Vec<_> = (round..round + batch).map(copy).collect();
            for chain in &chains {
                guest.put(DATA, &pattern(chain.cookie, 8))?;
            }
            channel.give(&mut guest, &chains)?;
            for chain in chains {
                let found = channel.wait(&guest)?;
                assert_eq!(
                    (found.status, found.cookie),
                    (OK, chain.cookie),
                    "{ring} {done}"
                );
            }
            round += batch;
        }
        assert_eq!(channel.read(&mut guest, TAKEN)?, 50);
        assert_eq!(channel.read(&mut guest, DOORBELL)?, 50);
        assert_eq!(channel.look(&guest)?, None);
        channel.reset(&mut guest)?;
    }
    assert_clean(&program)
}

#[test]
fn the_largest_ring_can_be_full() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    let mut channel = Channel::start(&mut guest, 3, 12, 12)?;
    for pass in 0..2 {
        let chains: Vec<_> = (0..4096).map(|round| copy((pass << 12) | round)).collect();
        channel.give(&mut guest, &chains)?;
        for chain in chains {
            assert_eq!(channel.wait(&guest)?.cookie, chain.cookie);
        }
    }
    assert_eq!(counter(&program, 3, "chains")?, 8192);
    assert_clean(&program)
}

#[test]
fn a_chain_waits_for_its_end() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    let mut channel = Channel::start(&mut guest, 0, 3, 3)?;
    guest.put(DATA, &[7; 16])?;
    let to = DATA + 100;
    let piece = |place: u64| {
        Descriptor::new(HOST_TO_HOST, BASE + DATA, BASE + to + 16 * place, 16).cookie(place)
    };
    channel.give(&mut guest, &[piece(0).more(), piece(1).more()])?;
    channel.wait_for(&mut guest, TAKEN, u32::MAX, 2)?;
    assert_eq!(channel.read(&mut guest, STATUS)?, BUSY);
    channel.give(&mut guest, &[piece(2).more()])?;
    channel.wait_for(&mut guest, TAKEN, u32::MAX, 3)?;
    assert_eq!(channel.look(&guest)?, None);
    // Nothing has begun.
    assert_eq!(guest.bytes(to, 48)?, [0; 48]);
    // Not even while it does not run.
    channel.write(&mut guest, CONTROL, 0)?;
    channel.wait_idle(&mut guest)?;
    channel.write(&mut guest, CONTROL, RUN)?;
    let done = channel.run(&mut guest, &[piece(3)])?;
    assert_eq!((done.status, done.bytes, done.cookie), (OK, 64, 3));
    assert_eq!(guest.bytes(to, 64)?, [7; 64]);
    channel.wait_idle(&mut guest)?;
    assert_clean(&program)
}

#[test]
fn run_cleared_ends_one_chain_and_the_next_waits() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    let mut channel = Channel::start(&mut guest, 2, 4, 4)?;
    // The first one is worked on while RUN is cleared.
    inject(&program, "stuck", 2, None)?;
    channel.give(&mut guest, &[copy(0), copy(1), copy(2)])?;
    channel.wait_for(&mut guest, TAKEN, u32::MAX, 1)?;
    channel.write(&mut guest, CONTROL, 0)?;
    assert_eq!(channel.read(&mut guest, STATUS)?, BUSY);
    heal(&program)?;
    let done = channel.wait(&guest)?;
    assert_eq!((done.status, done.bytes, done.cookie), (OK, 8, 0));
    channel.wait_idle(&mut guest)?;
    assert_eq!(channel.look(&guest)?, None);
    assert_eq!(channel.read(&mut guest, TAKEN)?, 1);
    channel.write(&mut guest, CONTROL, RUN)?;
    assert_eq!(channel.wait(&guest)?.cookie, 1);
    assert_eq!(channel.wait(&guest)?.cookie, 2);
    assert_clean(&program)
}

#[test]
fn a_doorbell_gives_what_the_page_allows() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    let mut channel = Channel::prepare(&mut guest, 0, 2, 4)?;
    channel.write(&mut guest, DOORBELL, 1)?;
    assert_eq!(program.violations()?, ["doorbell"]);
    assert_eq!(channel.read(&mut guest, DOORBELL)?, 0);
    channel.write(&mut guest, CONTROL, RUN)?;
    channel.write(&mut guest, DOORBELL, 5)?;
    channel.write(&mut guest, DOORBELL, u32::MAX)?;
    assert_eq!(program.violations()?, ["doorbell", "doorbell"]);
    // A chain that has not ended holds its entries, although they are taken.
    inject(&program, "stuck", 0, None)?;
    channel.give(&mut guest, &[copy(0).more(), copy(1)])?;
    channel.wait_for(&mut guest, TAKEN, u32::MAX, 2)?;
    channel.write(&mut guest, DOORBELL, 5)?;
    channel.write(&mut guest, DOORBELL, 1)?;
    assert_eq!(program.violations()?, ["doorbell", "doorbell"]);
    assert_eq!(channel.read(&mut guest, DOORBELL)?, 2);
    heal(&program)?;
    assert_eq!(channel.wait(&guest)?.cookie, 1);
    channel.give(&mut guest, &[copy(2), copy(3), copy(4), copy(5)])?;
    for cookie in 2..6 {
        assert_eq!(channel.wait(&guest)?.cookie, cookie);
    }
    // The same again gives nothing.
    channel.ring_doorbell(&mut guest)?;
    channel.wait_idle(&mut guest)?;
    assert_eq!(channel.read(&mut guest, TAKEN)?, 6);
    assert_clean(&program)
}

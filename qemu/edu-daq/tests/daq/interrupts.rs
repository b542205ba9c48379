// SPDX-License-Identifier: GPL-2.0 OR MIT

use std::time::Duration;

use anyhow::Result;
use userdma_model::testing::Event;
use userdma_model::testing::Guest;
use userdma_model::testing::Program;

use crate::driver::*;

/// Longer than any test, in microseconds.
const NEVER: u32 = 4_000_000_000;

fn loud(cookie: u64) -> Descriptor {
    Descriptor::new(TO_CARD, BASE + DATA, 0, 64).cookie(cookie)
}

fn copy(cookie: u64) -> Descriptor {
    loud(cookie).quiet()
}

fn moderated(program: &Program, count: u32, time: u32) -> Result<(Guest, Event, Channel)> {
    let (mut guest, mut events) = machine(program, 1)?;
    let channel = Channel::prepare(&mut guest, 0, 6, 6)?;
    channel.write(&mut guest, MODERATE_COUNT, count)?;
    channel.write(&mut guest, MODERATE_TIME, time)?;
    channel.write(&mut guest, CONTROL, RUN)?;
    Ok((guest, events.remove(0), channel))
}

fn now(guest: &mut Guest) -> Result<u64> {
    let low = guest.read32(0, 0x18)?;
    Ok((u64::from(guest.read32(0, 0x1c)?) << 32) | u64::from(low))
}

#[test]
fn each_completion_is_in_memory_before_its_interrupt() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, event, mut channel) = moderated(&program, 0, NEVER)?;
    for cookie in 0..2000 {
        channel.give(&mut guest, &[copy(cookie)])?;
        assert_eq!(event.wait()?, 1);
        // Not waited for: it is there.
        let done = channel.look(&guest)?;
        assert_eq!(done.map(|done| done.cookie), Some(cookie));
    }
    assert_eq!(channel.read(&mut guest, RAISED)?, 2000);
    assert_clean(&program)
}

#[test]
fn so_many_completions_have_one_interrupt() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, event, mut channel) = moderated(&program, 4, NEVER)?;
    for round in 1..=5 {
        channel.give(&mut guest, &[copy(0), copy(1), copy(2)])?;
        for _ in 0..3 {
            channel.wait(&guest)?;
        }
        channel.wait_idle(&mut guest)?;
        assert_eq!(event.take()?, 0);
        channel.give(&mut guest, &[copy(3)])?;
        assert_eq!(event.wait()?, 1);
        assert_eq!(channel.read(&mut guest, RAISED)?, round);
        assert_eq!(channel.wait(&guest)?.cookie, 3);
    }
    // One that is not quiet tells of all, and the count begins anew.
    channel.give(&mut guest, &[copy(0), copy(1), loud(2), copy(3), copy(4)])?;
    for _ in 0..5 {
        channel.wait(&guest)?;
    }
    channel.wait_idle(&mut guest)?;
    assert_eq!((event.take()?, channel.read(&mut guest, RAISED)?), (1, 6));
    channel.give(&mut guest, &[copy(0), copy(1)])?;
    assert_eq!(event.wait()?, 1);
    assert_eq!(
        (channel.wait(&guest)?.cookie, channel.wait(&guest)?.cookie),
        (0, 1)
    );
    // A chain is as quiet as its last descriptor.
    channel.give(&mut guest, &[copy(0).more(), loud(1)])?;
    assert_eq!(event.wait()?, 1);
    channel.give(&mut guest, &[loud(0).more(), copy(1)])?;
    assert_eq!(
        (channel.wait(&guest)?.bytes, channel.wait(&guest)?.bytes),
        (128, 128)
    );
    channel.wait_idle(&mut guest)?;
    assert_eq!(event.take()?, 0);
    channel.reset(&mut guest)?;
    // RESET forgets those that were not told of.
    drop((guest, channel));
    let (mut guest, event, mut channel) = moderated(&program, 4, NEVER)?;
    channel.give(&mut guest, &[copy(0), copy(1), copy(2)])?;
    channel.wait_idle(&mut guest)?;
    channel.reset(&mut guest)?;
    for register in [VECTOR, MODERATE_COUNT, MODERATE_TIME, RAISED] {
        assert_eq!(channel.read(&mut guest, register)?, 0);
    }
    assert_eq!(event.take()?, 0);
    assert_clean(&program)
}

#[test]
fn a_completion_waits_no_longer_than_it_may() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, event, mut channel) = moderated(&program, 1000, 30_000)?;
    for round in 1..=3 {
        let first = channel.run(&mut guest, &[copy(0)])?;
        channel.run(&mut guest, &[copy(1)])?;
        assert_eq!(event.wait()?, 1);
        assert!(now(&mut guest)? >= first.end + 30_000_000);
        assert_eq!(channel.read(&mut guest, RAISED)?, round);
    }
    channel.wait_idle(&mut guest)?;
    channel.reset(&mut guest)?;
    // No time at all is at once.
    drop((guest, channel));
    let (mut guest, event, mut channel) = moderated(&program, 1000, 0)?;
    channel.run(&mut guest, &[copy(0)])?;
    assert_eq!(event.wait()?, 1);
    assert_clean(&program)
}

#[test]
fn a_vector_is_one_of_those_that_are_enabled() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    for (vectors, vector, expected) in [(8, 7, 7), (4, 6, 2), (1, 5, 0)] {
        let (mut guest, events) = machine(&program, vectors)?;
        let mut channel = Channel::prepare(&mut guest, 3, 4, 4)?;
        channel.write(&mut guest, VECTOR, vector)?;
        assert_eq!(channel.read(&mut guest, VECTOR)?, vector);
        channel.write(&mut guest, CONTROL, RUN)?;
        channel.run(&mut guest, &[copy(0)])?;
        assert_eq!(events[expected].wait()?, 1);
        for (index, event) in events.iter().enumerate() {
            assert_eq!(event.take()?, 0, "{index}");
        }
        // By hand; those that are not enabled are nowhere.
        guest.write32(0, 0x20, 0xff)?;
        for event in &events {
            assert_eq!(event.wait()?, 1);
        }
        guest.write32(0, 0x20, 1)?;
        assert_eq!(events[0].wait()?, 1);
    }
    // None enabled: it is counted, and goes nowhere.
    let (mut guest, _) = machine(&program, 0)?;
    let mut channel = Channel::start(&mut guest, 0, 4, 4)?;
    channel.run(&mut guest, &[copy(0)])?;
    channel.wait_idle(&mut guest)?;
    assert_eq!(channel.read(&mut guest, RAISED)?, 1);
    assert_clean(&program)
}

#[test]
fn interrupts_go_wrong_when_they_are_told_to() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, event, mut channel) = moderated(&program, 0, 0)?;
    inject(&program, "lost-interrupt", 0, None)?;
    channel.run(&mut guest, &[copy(0)])?;
    channel.wait_idle(&mut guest)?;
    assert_eq!((event.take()?, channel.read(&mut guest, RAISED)?), (0, 1));

    inject(&program, "late-interrupt", 0, Some(50))?;
    let done = channel.run(&mut guest, &[copy(0)])?;
    assert_eq!(event.wait()?, 1);
    assert!(now(&mut guest)? >= done.end + 50_000_000);
    assert_eq!(channel.read(&mut guest, RAISED)?, 2);

    inject(&program, "double-interrupt", 0, None)?;
    channel.run(&mut guest, &[copy(0)])?;
    let mut count = 0;
    while count < 2 {
        count += event.wait()?;
    }
    assert_eq!((count, channel.read(&mut guest, RAISED)?), (2, 3));

    inject(&program, "spurious-interrupt", 0, None)?;
    assert_eq!(event.wait()?, 1);
    assert_eq!(channel.read(&mut guest, RAISED)?, 3);
    assert_eq!(channel.look(&guest)?, None);

    // And then all is well.
    channel.run(&mut guest, &[copy(0)])?;
    assert_eq!(event.wait()?, 1);
    assert_eq!(counter(&program, 0, "interrupts")?, 4);

    // One that is late does not come after a RESET.
    inject(&program, "late-interrupt", 0, Some(20))?;
    channel.run(&mut guest, &[copy(0)])?;
    channel.wait_idle(&mut guest)?;
    channel.reset(&mut guest)?;
    assert_eq!(event.wait_for(Duration::from_millis(100))?, None);
    assert_clean(&program)
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The program, driven as QEMU drives it. Goes with the model when it is copied.

use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;

use anyhow::Result;
use serde_json::json;
use userdma_model::testing::until;
use userdma_model::testing::Event;
use userdma_model::testing::Guest;
use userdma_model::testing::Program;
use userdma_model::testing::LIMIT;

const PROGRAM: &str = env!("CARGO_BIN_EXE_userdma-template");

const LIVENESS: u64 = 0x04;
const HOST_LOW: u64 = 0x10;
const HOST_HIGH: u64 = 0x14;
const CARD: u64 = 0x18;
const LENGTH: u64 = 0x1c;
const COMMAND: u64 = 0x20;
const STATUS: u64 = 0x24;

/// A machine whose memory begins at this bus address.
const BASE: u64 = 0x12_3400_0000;
const SIZE: u64 = 1 << 20;

fn machine(program: &Program) -> Result<(Guest, Event)> {
    let mut guest = program.guest(SIZE as usize)?;
    guest.map(BASE, 0, SIZE)?;
    guest.set_master(true)?;
    let mut events = guest.enable_vectors(1)?;
    Ok((guest, events.remove(0)))
}

fn command(guest: &mut Guest, command: u32, host: u64, card: u32, length: u32) -> Result<()> {
    guest.write32(0, HOST_LOW, host as u32)?;
    guest.write32(0, HOST_HIGH, (host >> 32) as u32)?;
    guest.write32(0, CARD, card)?;
    guest.write32(0, LENGTH, length)?;
    guest.write32(0, COMMAND, command)
}

#[test]
fn bytes_go_to_the_card_and_come_back() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, event) = machine(&program)?;
    assert_eq!(guest.read32(0, 0)?, 0x11ea_0001);
    guest.write32(0, LIVENESS, 0x1234_5678)?;
    assert_eq!(guest.read32(0, LIVENESS)?, !0x1234_5678);
    let bytes: Vec<u8> = (0..65536_u32)
        .map(|place| ((place * 7919) >> 8) as u8)
        .collect();
    guest.put(0, &bytes)?;
    for (host, card, length) in [(0, 0, 65536), (3, 1, 5001), (77, 65535, 1)] {
        command(&mut guest, 1, BASE + host, card, length)?;
        assert_eq!(event.wait()?, 1);
        assert_eq!(guest.read32(0, STATUS)?, 0);
        let back = 0x80000 + 2 * host + 1;
        command(&mut guest, 2, BASE + back, card, length)?;
        assert_eq!(event.wait()?, 1);
        assert_eq!(guest.read32(0, STATUS)?, 0);
        let (from, length) = (host as usize, length as usize);
        assert!(guest.bytes(back, length)? == bytes[from..from + length]);
        // Not a byte more.
        assert_eq!(guest.bytes(back + length as u64, 1)?, [0]);
        guest.put(back, &vec![0; length])?;
    }
    assert!(program.violations()?.is_empty());
    Ok(())
}

#[test]
fn what_is_wrong_fails_and_is_in_the_report() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, event) = machine(&program)?;
    let beyond = BASE + SIZE;
    for (rule, host, card, length) in [
        ("range", BASE, 0, 0),
        ("range", BASE, 0, 65537),
        ("range", BASE, 65000, 1000),
        ("range", BASE, u32::MAX, u32::MAX),
        ("address", beyond - 4, 0, 8),
        ("address", 0, 0, 8),
        ("address", u64::MAX, 0, 8),
    ] {
        command(&mut guest, 2, host, card, length)?;
        assert_eq!(event.wait()?, 1);
        assert_eq!(guest.read32(0, STATUS)?, 2, "{host:#x}");
        assert_eq!(program.violations()?, [rule], "{host:#x}");
    }
    guest.write(0, 2, &[0; 4])?;
    guest.write(0, 0, &[0; 8])?;
    guest.write32(0, COMMAND, 3)?;
    guest.write32(0, 0x800, 1)?;
    assert_eq!(guest.read32(0, 0x800)?, 0);
    assert_eq!(program.violations()?, ["access", "access", "command"]);
    guest.set_master(false)?;
    command(&mut guest, 1, BASE, 0, 8)?;
    until("the end", || {
        Ok((guest.read32(0, STATUS)? == 2).then_some(()))
    })?;
    // An interrupt is written, too.
    assert_eq!(event.take()?, 0);
    assert_eq!(program.violations()?, ["master"]);
    Ok(())
}

#[test]
fn it_stops_and_is_reset() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, event) = machine(&program)?;
    command(&mut guest, 4, 0, 0, 0)?;
    command(&mut guest, 1, BASE, 0, 65536)?;
    guest.write32(0, COMMAND, 4)?;
    until("not busy", || {
        Ok((guest.read32(0, STATUS)? & 1 == 0).then_some(()))
    })?;
    // Either it was done before it was stopped, or there is no interrupt.
    let ended = event.take()?;
    assert!(ended <= 1);
    guest.reset()?;
    for register in [HOST_LOW, HOST_HIGH, CARD, LENGTH, STATUS] {
        assert_eq!(guest.read32(0, register)?, 0, "{register:#x}");
    }
    guest.set_master(true)?;
    command(&mut guest, 2, BASE, 0, 16)?;
    assert_eq!(event.wait()?, 1);
    assert!(program.violations()?.is_empty());
    Ok(())
}

#[test]
fn the_process_serves_and_ends() -> Result<()> {
    let mut program = Program::start(PROGRAM)?;
    for value in 1..4 {
        let (mut guest, _event) = machine(&program)?;
        assert_eq!(guest.read32(0, LIVENESS)?, u32::MAX, "a card that was used");
        guest.write32(0, LIVENESS, value)?;
    }
    let error = program.control(&json!({"dance": {}})).expect_err("unknown");
    assert!(error.to_string().contains("dance"), "{error}");
    program.end_input();
    assert!(program.wait()?.success());
    assert!(!program.socket().exists());
    program.start_again(PROGRAM)?;
    program.terminate()?;
    assert!(program.wait()?.success());
    program.start_again(PROGRAM)?;
    // It goes without an answer, and leaves its sockets to the next one.
    assert!(program.control(&json!({"die": {}})).is_err());
    assert!(!program.wait()?.success());
    assert!(program.socket().exists());
    program.start_again(PROGRAM)?;
    assert!(program.guest(4096).is_ok());
    Ok(())
}

/// QEMU takes ECONNRESET badly, which is what a socket's other end gets if there
/// was something to be read.
#[test]
fn it_dies_with_nothing_unread() -> Result<()> {
    let mut program = Program::start(PROGRAM)?;
    for _ in 0..8 {
        let client = UnixStream::connect(program.socket())?;
        client.set_read_timeout(Some(LIMIT))?;
        // vfio-user: message 0, DEVICE_RESET, 16 bytes, a request, no error.
        let reset: [u32; 4] = [13 << 16, 16, 0, 0];
        let reset = reset.map(u32::to_le_bytes).concat();
        let mut asking = client.try_clone()?;
        let asker = std::thread::spawn(move || {
            let asked = std::iter::repeat_with(|| asking.write_all(&reset));
            asked.take_while(std::io::Result::is_ok).count()
        });
        let mut answer = [0; 16];
        (&client).read_exact(&mut answer)?;
        let reader = std::thread::spawn(move || {
            let mut answers = vec![];
            (&client).read_to_end(&mut answers).map(|_| answers.len())
        });
        assert!(program.control(&json!({"die": {}})).is_err());
        assert!(!program.wait()?.success());
        let asked = asker.join().expect("no panic");
        let answered = reader.join().expect("no panic")? / answer.len() + 1;
        assert_eq!(asked, answered);
        program.start_again(PROGRAM)?;
    }
    Ok(())
}

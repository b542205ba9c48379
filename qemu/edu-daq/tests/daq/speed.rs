// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How fast it copies; not part of a usual run:
//! `cargo test --release -p userdma-edu-daq -- --ignored --nocapture speed`.

use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use userdma_model::testing::Program;

use crate::driver::*;

const PIECE: u64 = 4 << 20;

#[test]
#[ignore = "a measurement"]
fn speed() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    let mut channel = Channel::start(&mut guest, 2, 10, 4)?;
    // Every page is there.
    guest.put(DATA, &vec![1; (SIZE - DATA) as usize])?;
    for (what, operation) in [
        ("host to card", TO_CARD),
        ("card to host", TO_HOST),
        ("host to host", HOST_TO_HOST),
        ("samples", SAMPLES),
    ] {
        let places = (SIZE - DATA) / PIECE;
        let piece = |number: u64| {
            let address = BASE + DATA + number % places * PIECE;
            let target = match operation {
                HOST_TO_HOST => BASE + DATA + (number + 1) % places * PIECE,
                _ => 0,
            };
            Descriptor::new(operation, address, target, PIECE as u32)
        };
        let mut chain: Vec<_> = (0..256).map(|number| piece(number).more()).collect();
        chain.push(piece(256));
        channel.write(&mut guest, ACQUIRE, 1)?;
        let done = channel.run(&mut guest, &chain)?;
        assert_eq!(done.status, OK);
        let bytes = 257 * PIECE;
        let rate = bytes as f64 / (done.end - done.start) as f64;
        println!("{what}: {rate:.2} GB/s, {bytes} bytes in descriptors of {PIECE}");
        assert!(rate > 1.074 || operation == SAMPLES, "less than 1 GiB/s");
    }
    // Many small descriptors; then a reset in the middle of a chain of 16 GiB.
    let small = |number: u64| {
        let address = BASE + DATA + number % 1000 * 4096;
        Descriptor::new(TO_CARD, address, 0, 4096)
    };
    let mut chain: Vec<_> = (0..999).map(|number| small(number).more()).collect();
    chain.push(small(999));
    let done = channel.run(&mut guest, &chain)?;
    let each = (done.end - done.start) / 1000;
    println!("descriptors of 4096 bytes: {each} ns each");
    channel.reset(&mut guest)?;
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let mut channel = Channel::start(&mut guest, 2, 10, 4)?;
        let long = Descriptor::new(
            HOST_TO_HOST,
            BASE + DATA,
            BASE + DATA + (32 << 20),
            16 << 20,
        );
        let mut chain = vec![long.more(); 1023];
        chain.push(long);
        channel.give(&mut guest, &chain)?;
        channel.wait_for(&mut guest, TAKEN, u32::MAX, 1024)?;
        let begun = Instant::now();
        channel.reset(&mut guest)?;
        longest = longest.max(begun.elapsed());
    }
    println!("reset in the middle of a long chain: {longest:?} at most");
    assert!(longest < Duration::from_millis(100));
    assert_clean(&program)
}

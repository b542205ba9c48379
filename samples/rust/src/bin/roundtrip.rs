// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The smallest useful program for a userdma device: sends a few bytes from a
//! buffer to the card's memory and back to another place, and compares them.
//!
//! Run it with the path of a node, as `roundtrip-rust /dev/userdma0`.

use std::process::ExitCode;
use std::time::Duration;

use userdma::Device;
use userdma::Transfer;

const MESSAGE: &[u8; 32] = b"hello, card! is anybody in there";

fn round_trip(path: &str) -> userdma::Result<bool> {
    let card = Device::open(path)?;
    let buffer = card.coherent(1 << 20).allocate()?;
    let mut memory = buffer.map()?;
    memory.copy_from(0, MESSAGE)?;

    // Both in one system call; they run in order.
    let transfers = [
        Transfer::to_card(&buffer, 0..32, 0),
        Transfer::from_card(&buffer, 4096..4128, 0),
    ];
    for completion in card.run(&transfers, Some(Duration::from_secs(5)))? {
        completion.result()?;
    }

    let mut back = [0; 32];
    memory.copy_to(4096, &mut back)?;
    Ok(back == *MESSAGE)
}

fn main() -> ExitCode {
    let path = std::env::args()
        .nth(1)
        .unwrap_or("/dev/userdma0".to_owned());
    match round_trip(&path) {
        Ok(true) => {
            println!("roundtrip: what came back is equal");
            return ExitCode::SUCCESS;
        }
        Ok(false) => eprintln!("roundtrip: what came back DIFFERS"),
        // Says why, which limit was met, and what to try.
        Err(error) => eprintln!("roundtrip: {}", error.report()),
    }
    ExitCode::FAILURE
}

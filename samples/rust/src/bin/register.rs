// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Memory that the program already has: the card reads a vector as it is, and
//! writes to memory in huge pages that this program allocated. No copy.
//!
//! Run it with the path of a node, as `register-rust /dev/userdma0`.

use std::process::ExitCode;
use std::time::Duration;

use userdma::Device;
use userdma::Memory;
use userdma::Pages;
use userdma::Transfer;

fn round_trip(path: &str) -> userdma::Result<bool> {
    let card = Device::open(path)?;
    let length = card.info().max_transfer.min(1 << 20);

    // A slice may be read by the card, not written: Rust would not know of it.
    let data: Vec<u8> = (0..length)
        .map(|index| index.to_le_bytes()[0] ^ 0x5a)
        .collect();
    let source = card.register_source(&data).pin()?;

    // What the card may write to is memory that is only read by copying.
    let memory = Memory::anonymous(4 << 20)
        .pages(Pages::Transparent)
        .allocate()?;
    let target = card.register(memory).pin()?;
    println!(
        "register: {} pinned, in pages of {}, {} segments",
        userdma::Bytes(target.pinned()),
        userdma::Bytes(target.page_size()),
        target.segments()
    );

    // From anywhere to anywhere; the transfers run in order.
    let transfers = [
        Transfer::to_card(&source, 0..length, 0),
        Transfer::from_card(&target, 12345..12345 + length, 0),
    ];
    for completion in card.run(&transfers, Some(Duration::from_secs(5)))? {
        completion.result()?;
    }

    let mut back = vec![0; data.len()];
    target.memory().copy_to(12345, &mut back)?;
    // Unregistered and given back when they go out of scope.
    Ok(back == data)
}

fn main() -> ExitCode {
    let path = std::env::args()
        .nth(1)
        .unwrap_or("/dev/userdma0".to_owned());
    match round_trip(&path) {
        Ok(true) => {
            println!("register: what came back is equal");
            return ExitCode::SUCCESS;
        }
        Ok(false) => eprintln!("register: what came back DIFFERS"),
        // Says why, which limit was met, and what to try.
        Err(error) => eprintln!("register: {}", error.report()),
    }
    ExitCode::FAILURE
}

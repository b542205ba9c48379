// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Asynchronous transfers: a task for each channel of the card, all in one thread, on
//! io_uring. Any executor will do; here it is that of the crate `futures`.
//!
//! Run it with the path of a node, as `async-rust /dev/userdma0`.

use std::process::ExitCode;

use futures::executor::block_on;
use futures::future::try_join_all;
use userdma::uring::Queue;
use userdma::Device;
use userdma::Transfer;

/// Bytes of a block, in memory and in the card.
const BYTES: usize = 1024;
const BLOCK: u64 = BYTES as u64;
/// How often each task sends one.
const ROUNDS: u64 = 4;

/// Sends blocks to the task's own part of the card's memory and back, on its own channel.
async fn task(queue: Queue, channel: u16) -> userdma::Result<u64> {
    let card = queue.device().clone();
    let buffer = card.coherent(2 * BLOCK).allocate()?;
    let mut memory = buffer.map()?;
    let place = u64::from(channel) * BLOCK;
    let mut equal = 0;
    for round in 0..ROUNDS {
        let value = (16 * channel + 1).to_le_bytes()[0].wrapping_add(round.to_le_bytes()[0]);
        let data = [value; BYTES];
        memory.copy_from(0, &data)?;
        // Both are under way at once; those of one channel run in order.
        let there = queue.run(Transfer::to_card(&buffer, 0..BLOCK, place).channel(channel));
        let back = Transfer::from_card(&buffer, BLOCK..2 * BLOCK, place).channel(channel);
        let back = queue.run(back);
        there.await?;
        back.await?;
        let mut came = [0; BYTES];
        memory.copy_to(BYTES, &mut came)?;
        equal += u64::from(came == data);
    }
    Ok(equal)
}

fn all(path: &str) -> userdma::Result<bool> {
    let card = Device::open(path)?;
    let queue = Queue::new(&card)?;
    let channels = u16::try_from(card.info().channels).unwrap_or(1);
    let tasks = (0..channels).map(|channel| task(queue.clone(), channel));
    let equal: u64 = block_on(try_join_all(tasks))?.iter().sum();
    println!("async: {channels} tasks, {equal} blocks came back equal");
    Ok(equal == u64::from(channels) * ROUNDS)
}

fn main() -> ExitCode {
    let path = std::env::args()
        .nth(1)
        .unwrap_or("/dev/userdma0".to_owned());
    match all(&path) {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => eprintln!("async: what came back DIFFERS"),
        // Says why, which limit was met, and what to try.
        Err(error) => eprintln!("async: {}", error.report()),
    }
    ExitCode::FAILURE
}

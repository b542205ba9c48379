// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Nobody is starved.

use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use userdma::sys;

use crate::device::{to_card, Device, COHERENT};
use crate::memory::PAGE;
use crate::outcome::Outcome;
use crate::raw::size;
use crate::registry::Context;

/// A channel that nobody knows yet may be given many at once; of these it learns how
/// slow the card is.
fn learn(device: &Device, transfer: sys::userdma_transfer) -> Outcome {
    device.run_well(&[transfer; 3])
}

/// One file with large transfers, one with small: while both have work, each
/// gets its share of the *bytes*.
pub(super) fn two_files(context: &mut Context) -> Outcome {
    let rounds = size(context.times(60).into());
    let (large, small) = (context.open()?, context.open()?);
    let mut queues = Vec::new();
    for (device, length) in [(&large, PAGE), (&small, PAGE / 4)] {
        let buffer = device.alloc(COHERENT, PAGE)?;
        queues.push(vec![to_card(buffer.handle, 0, length, 0); 120]);
    }
    learn(&large, queues[0][0])?;
    // Whoever comes first must not matter.
    check_eq!(large.submit(&queues[0])?, 120);
    check_eq!(small.submit(&queues[1])?, 120);
    let mut ended = Vec::new();
    let (mut sent, mut done) = ([120, 120], [0, 0]);
    while ended.len() < rounds {
        for (file, device) in [&large, &small].into_iter().enumerate() {
            let records = device.wait(0, 64, 0)?;
            done[file] += records.len();
            ended.extend(
                records
                    .iter()
                    .map(|record| (record.end_ns, file, record.bytes)),
            );
            if sent[file] - done[file] < 60 {
                sent[file] += device.submit(&queues[file][..60])?;
            }
        }
        // Sleeps until one of them has a record.
        let mut fds = [
            rustix::event::PollFd::new(&large, rustix::event::PollFlags::IN),
            rustix::event::PollFd::new(&small, rustix::event::PollFlags::IN),
        ];
        rustix::event::poll(&mut fds, None)?;
    }
    ended.sort_unstable();
    let bytes = |which: usize| -> u64 {
        let of = ended.iter().filter(|(_, file, _)| *file == which);
        of.map(|(_, _, bytes)| bytes).sum()
    };
    let (a, b) = (bytes(0), bytes(1));
    println!("{a} and {b} bytes in {} transfers", ended.len());
    let least = (a + b) * 2 / 5;
    check!(
        a >= least && b >= least,
        "{a} and {b} bytes: one has less than 40 %"
    );
    Ok(())
}

/// Somebody who comes beside a full queue waits for a turn, not for the queue.
pub(super) fn latecomer(context: &mut Context) -> Outcome {
    let (busy, device) = (context.open()?, context.open()?);
    let full = busy.alloc(COHERENT, PAGE)?;
    let transfers = vec![to_card(full.handle, 0, PAGE, 0); 100];
    learn(&busy, transfers[0])?;
    check_eq!(busy.submit(&transfers)?, 100);
    let buffer = device.alloc(COHERENT, PAGE)?;
    let mut mine = Vec::new();
    for _ in 0..3 {
        device.submit(&[to_card(buffer.handle, 0, PAGE, 0)])?;
        mine.extend(device.collect(1)?);
    }
    let begin = Instant::now();
    check_eq!(device.file().read_at(&mut [0; 4096], 0)?, 4096);
    println!("a read took {:?}", begin.elapsed());
    let theirs = busy.wait(0, 100, 0)?;
    check!(theirs.len() < 50, "a read waited for the queue");
    // By the driver's clock: what of the other file began between coming and turn.
    for record in &mine {
        let between = |time: u64| (record.submit_ns..record.start_ns).contains(&time);
        let before = theirs
            .iter()
            .filter(|other| between(other.start_ns))
            .count();
        check!(
            before <= 1,
            "{before} transfers of another file came before"
        );
    }
    Ok(())
}

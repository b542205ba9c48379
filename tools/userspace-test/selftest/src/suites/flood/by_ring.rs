// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Four threads, each with a ring of its own, two for each file.

use std::time::Instant;

use rand::Rng as _;

use super::{count, Expected, Numbered, BATCH, FILES};
use crate::device::{Device, COHERENT};
use crate::memory::PAGE;
use crate::outcome::Outcome;
use crate::raw::wide;
use crate::registry::Context;
use crate::suites::uring::Ring;

const THREADS: usize = 2 * FILES;

/// What a thread has outstanding: all of a file together have places.
const MOST: usize = 2 * BATCH - 8;

fn run(device: &Device, mut numbered: Numbered, count: usize) -> Outcome {
    let mut ring = Ring::new(device)?;
    ring.fix(device)?;
    let mut expected = Expected::new(u16::try_from(device.info()?.out_channels)?);
    let (mut sent, mut done) = (0, 0);
    while done < count {
        let room = (count - sent).min(MOST - (sent - done)).min(BATCH);
        if room > 0 {
            let batch = numbered.more(room);
            ring.transfers(&batch)?;
            sent += batch.len();
        }
        let ends = ring.take()?;
        check!(ends.len() <= sent - done, "more than were submitted");
        done += ends.len();
        for end in ends {
            let result = end.result.min(0);
            expected.ended(end.tag, result, end.bytes)?;
            check_eq!(wide(usize::try_from(end.result)?), end.bytes);
        }
    }
    device.check_idle()
}

pub(super) fn flood(context: &mut Context) -> Outcome {
    let count = count(context, THREADS)?;
    let (mut files, mut work) = (Vec::new(), Vec::new());
    for _ in 0..FILES {
        files.push(context.open()?);
    }
    for thread in 0..THREADS {
        let device = &files[thread % FILES];
        let channels = u16::try_from(device.info()?.out_channels)?;
        // Of a file with several channels each thread has some of its own; the order
        // between threads is nobody's.
        let own = |channel: &u16| channels == 1 || usize::from(*channel) % 2 == thread / FILES;
        let channels = (0..channels).filter(own).collect();
        let buffer = device.alloc(COHERENT, PAGE)?.handle;
        work.push((
            device,
            Numbered::new(context.rng.random(), buffer, channels),
        ));
    }
    let begin = Instant::now();
    std::thread::scope(|scope| -> Outcome {
        let threads: Vec<_> = work
            .into_iter()
            .map(|(device, numbered)| scope.spawn(move || run(device, numbered, count)))
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(outcome) => outcome?,
                Err(_) => fail!("a thread panicked"),
            }
        }
        Ok(())
    })?;
    println!("{:?}", begin.elapsed());
    println!("did {} completions by io_uring", count * THREADS);
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Waiting: always for something that can be seen, always with an end.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::time::{clock_gettime, ClockId};

use crate::outcome::Outcome;

/// Far longer than anything takes that works, on a slow emulated machine.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// Between two looks at a condition that cannot be slept on.
const PAUSE: Duration = Duration::from_millis(2);

/// Looks at a condition until it holds; fails after [`LONG`].
#[track_caller]
pub(crate) fn until(what: &str, condition: impl FnMut() -> Outcome<bool>) -> Outcome {
    until_within(LONG, what, condition)
}

/// The same with a limit of the caller's.
#[track_caller]
pub(crate) fn until_within(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> Outcome<bool>,
) -> Outcome {
    let end = Instant::now() + limit;
    loop {
        if condition()? {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(crate::outcome::Stop::fail(format!(
                "after {limit:?} still not: {what}"
            )));
        }
        std::thread::sleep(PAUSE);
    }
}

/// The shortest that a transfer takes on any card that is tested, and a little
/// less.
const CARD: Duration = Duration::from_millis(90);

/// Tries what holds only until the first transfer has ended, from before that
/// is submitted. A failure counts if the card cannot have been so quick; else
/// the machine was slow, and it is tried again.
pub(crate) fn while_card_is_busy(mut attempt: impl FnMut() -> Outcome) -> Outcome {
    let mut tries = 0;
    loop {
        let begin = Instant::now();
        let outcome = attempt();
        tries += 1;
        if outcome.is_ok() || begin.elapsed() < CARD || tries == 20 {
            return outcome;
        }
    }
}

/// poll() of one file; the events that are ready, none after the limit.
pub(crate) fn ready(fd: &impl AsFd, events: PollFlags, limit: Duration) -> Outcome<PollFlags> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left)?;
        let mut fds = [PollFd::new(fd, events)];
        match rustix::event::poll(&mut fds, Some(&left)) {
            Ok(_) => return Ok(fds[0].revents()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// CLOCK_MONOTONIC in nanoseconds, as the ABI's deadlines have it.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    // The time since boot is not negative.
    seconds.unwrap_or(0) * 1_000_000_000 + nanos.unwrap_or(0)
}

/// A deadline of the ABI so far from now.
pub(crate) fn after(time: Duration) -> u64 {
    now() + u64::try_from(time.as_nanos()).expect("not centuries")
}

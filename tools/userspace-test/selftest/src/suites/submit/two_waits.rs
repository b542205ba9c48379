// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Two WAITs that each want all that is outstanding. Each takes records as they
//! come; neither may wait for those that the other holds.

use userdma::sys;
use zerocopy::FromBytes as _;

use super::wait::send;
use crate::device::Device;
use crate::memory::{Mapping, PAGE};
use crate::outcome::Outcome;
use crate::poll::{after, now, LONG};
use crate::raw::wide;
use crate::registry::Context;
use crate::stalled::Page;

const COUNT: usize = 5;
const RECORD: usize = size_of::<sys::userdma_completion>();

/// WAIT for five into `memory`; the tags of what came. A call that returns only
/// because its time is up is a failure: it slept for what could not come.
fn wait(device: &Device, memory: &Mapping) -> Outcome<Vec<u64>> {
    let five = u32::try_from(COUNT)?;
    let deadline = after(LONG);
    let count = device.wait_at(wide(memory.address()), five, five, deadline)?;
    check!(now() < deadline, "{count} records, and slept on for more");
    let mut tags = Vec::new();
    for index in 0..count {
        let bytes = memory.read(index * RECORD, RECORD);
        match sys::userdma_completion::read_from_bytes(&bytes) {
            Ok(record) => tags.push(record.user_data),
            Err(error) => fail!("a record: {error:?}"),
        }
    }
    Ok(tags)
}

/// Requires that both together got all, each once.
fn check_all(mut first: Vec<u64>, second: Vec<u64>) -> Outcome {
    println!("{first:?} and {second:?}");
    first.extend(second);
    first.sort_unstable();
    check_eq!(first, (0..wide(COUNT)).collect::<Vec<_>>());
    Ok(())
}

/// The first waits with one record in its hand, for a page that does not come,
/// while the second takes the other four: whatever the order of wake-ups is,
/// each has some of the five.
fn shared_out(context: &Context) -> Outcome {
    let page = Page::new()?;
    let memory = Mapping::anonymous(PAGE)?;
    let device = context.open()?;
    send(&device, COUNT)?;
    let (first, second) = std::thread::scope(|scope| -> Outcome<_> {
        let first = scope.spawn(|| wait(&device, page.memory()));
        let second = page.wait().and_then(|()| wait(&device, &memory));
        // Whatever came of it, let the other thread go.
        page.fill()?;
        match first.join() {
            Ok(first) => Ok((first?, second?)),
            Err(_) => fail!("the other thread panicked"),
        }
    })?;
    check_eq!(first, [0], "who held one");
    check_all(first, second)?;
    device.check_idle()
}

/// Both sleep before the first record is there, and are woken as it happens.
fn both_asleep(context: &Context) -> Outcome {
    let memory = [Mapping::anonymous(PAGE)?, Mapping::anonymous(PAGE)?];
    let device = context.open()?;
    send(&device, COUNT)?;
    let (first, second) = std::thread::scope(|scope| -> Outcome<_> {
        let first = scope.spawn(|| wait(&device, &memory[0]));
        let second = wait(&device, &memory[1]);
        match first.join() {
            Ok(first) => Ok((first?, second?)),
            Err(_) => fail!("the other thread panicked"),
        }
    })?;
    check_all(first, second)?;
    device.check_idle()
}

pub(super) fn two_waits(context: &mut Context) -> Outcome {
    shared_out(context)?;
    for _ in 0..context.times(3) {
        both_asleep(context)?;
    }
    Ok(())
}

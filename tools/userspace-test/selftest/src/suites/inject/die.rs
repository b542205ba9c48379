// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The model's process is killed: all registers read as ones, and nothing ends by
//! itself any more. Then the dead card is pulled, and a new one is plugged in.

use std::time::{Duration, Instant};

use rand::Rng as _;
use serde_json::json;

use super::others::check_channels;
use crate::account::pins;
use crate::guest::debug_kernel;
use crate::hugepool::Pool;
use crate::lab::Lab;
use crate::outcome::{Context as _, Outcome};
use crate::poll::until;
use crate::registry::Context;
use crate::suites::full::{slow, Full, POOL_PAGES};
use crate::suites::hotplug::{model_slots, plug, pull, Slot};
use crate::suites::unbind::check_works;

/// What ends with a card that does not answer, and what with one that is gone.
const LOST: [i32; 2] = [-libc::EIO, -libc::ENODEV];

/// The longest until all that a dead card had has ended: its time limit, once more
/// for a channel that finds out by itself, and a slow machine.
fn bound() -> Duration {
    Duration::from_secs(if debug_kernel() { 12 } else { 6 })
}

/// All cards die with full rings. Whoever waits is told; or they are pulled at once.
pub(super) fn die(context: &mut Context) -> Outcome {
    let mut lab = Lab::open()?;
    let mut slots = model_slots(context, &mut lab)?;
    let before = pins()?;
    let _pool = Pool::of(POOL_PAGES * slots.len())?;
    let count = u32::try_from(slots.len())?;
    let rounds = context.times(4).div_ceil(count);
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        // Every other time at random; both in the short form.
        let wait = match round {
            0 | 1 => round == 0,
            _ => context.rng.random(),
        };
        let what = || format!("round {round}, wait: {wait}");
        let took = once(context, &mut lab, &mut slots, wait).context(what)?;
        longest = longest.max(took);
    }
    println!("longest until all had ended: {longest:?}");
    println!("did {} cards that died", rounds * count);
    until("all pages unpinned", || Ok(pins()? == before))
}

/// Returns how long it took until all that was waited for had ended.
fn once(context: &mut Context, lab: &mut Lab, slots: &mut [Slot], wait: bool) -> Outcome<Duration> {
    let mut loads = Vec::new();
    for slot in &*slots {
        slow(lab, &slot.name)?;
        loads.push(Full::new(&slot.card, &mut context.rng)?);
    }
    let moment = context.rng.random_range(0..60_000);
    std::thread::sleep(Duration::from_micros(moment));
    let begin = Instant::now();
    for slot in &*slots {
        lab.control(&slot.name, &json!({ "die": {} }))?;
    }
    let mut took = Duration::ZERO;
    if wait {
        for load in &mut loads {
            load.check_ended(&LOST)?;
        }
        took = begin.elapsed();
        check!(
            took < bound() * u32::try_from(slots.len())?,
            "it took {took:?}"
        );
        for load in &loads {
            load.check_lost()?;
        }
        for slot in &*slots {
            check!(slot.card.counter("timeouts")? >= 1, "{}", slot.name);
        }
    }
    pull(lab, slots)?;
    for load in &mut loads {
        if !wait {
            load.check_ended(&LOST)?;
        }
        load.check_gone()?;
    }
    plug(lab, slots)?;
    if context.rng.random() {
        loads.clear();
    }
    for slot in &*slots {
        check_works(&slot.card)?;
        check_channels(&slot.card)?;
    }
    Ok(took)
}

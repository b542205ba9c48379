// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Processes that are killed at a random moment while the card writes to their
//! memory: whoever has that memory next sees nothing of it.

mod oom;
mod victim;
mod watch;

use std::time::Duration;

use nix::sys::signal::Signal;
use rand::Rng as _;

use super::unbind::check_works;
use crate::account::pins;
use crate::child::{Child, Exit, Gate};
use crate::device::Device;
use crate::hugepool::Pool;
use crate::outcome::{Context as _, Outcome};
use crate::poll::until;
use crate::raw::size;
use crate::registry::{Context, Need, Test};
use crate::requests::set_contents;
use victim::How;

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "kill.transfers",
        "SIGKILL at any moment, memory of every kind, requests, execve",
        transfers,
    )
    .seconds(180)
    .needs(&[Need::Slow]),
    Test::new(
        "kill.out_of_memory",
        "the kernel kills for want of memory, with transfers under way",
        oom::out_of_memory,
    )
    .seconds(120)
    .needs(&[Need::Slow]),
];

/// What the card's memory holds: none of the bytes that are watched for.
const FROM_CARD: u8 = 0xc7;

/// Fills the memory of every card.
fn fill_cards(context: &Context) -> Outcome {
    for card in &context.cards {
        let device = Device::open(&card.path)?;
        let length = size(device.info()?.out_card_size);
        set_contents(&device, &vec![FROM_CARD; length])?;
    }
    Ok(())
}

/// Waits until everything that the dead had is given back.
fn wait_gone(pool: &Pool, pages: usize, pinned: u64) -> Outcome {
    pool.wait_free(pages)?;
    until("all pages unpinned", || Ok(pins()? == pinned))
}

/// One victim a card, all killed at moments of their own; then all of the memory
/// is taken again and watched.
fn transfers(context: &mut Context) -> Outcome {
    let count = u32::try_from(context.cards.len())?;
    let rounds = context.times(50).div_ceil(count);
    fill_cards(context)?;
    let pages = context.cards.len();
    let pool = Pool::exactly(pages)?;
    let pinned = pins()?;
    let mut killed = 0;
    for round in 0..rounds {
        let mut victims: Vec<(How, Child, u64)> = Vec::new();
        for card in &context.cards {
            let how = How::random(&mut context.rng);
            let begun = Gate::new()?;
            let victim = victim::start(&card.path, how, &begun)?;
            begun.pass().context(|| format!("{how:?}"))?;
            // From before the first transfer to within the third.
            victims.push((how, victim, context.rng.random_range(0..250_000)));
        }
        victims.sort_by_key(|(_, _, moment)| *moment);
        let mut now = 0;
        for (how, victim, moment) in &mut victims {
            // Any moment is right, so this one need not be exact.
            std::thread::sleep(Duration::from_micros(*moment - now));
            now = *moment;
            victim.signal(Signal::SIGKILL)?;
            let exit = victim.wait()?;
            check_eq!(exit, Exit::Signal(libc::SIGKILL), "{how:?}");
            killed += 1;
        }
        let what = || {
            let all: Vec<_> = victims.iter().map(|(how, ..)| *how).collect();
            format!("round {round}, {all:?}")
        };
        // What is free is taken at once, the rest as soon as it is free.
        watch::while_it_comes(context, &pool, pages).context(what)?;
        wait_gone(&pool, pages, pinned).context(what)?;
    }
    println!("did {killed} processes killed");
    for card in &context.cards {
        check_works(card)?;
    }
    Ok(())
}

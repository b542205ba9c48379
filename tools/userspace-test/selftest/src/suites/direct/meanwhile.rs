// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What happens while the card works on the program's pages.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::Ways;
use crate::account::Account;
use crate::child::{sleeps_in, spawn, Gate};
use crate::device::{from_card, Device, COHERENT};
use crate::memory::{Mapping, PAGE};
use crate::model::is_slow;
use crate::outcome::{all_bytes, same_bytes, Context as _, Outcome};
use crate::poll::LONG;
use crate::raw::{self, size};
use crate::registry::Context;
use crate::requests::{contents, pread, set_contents, vector, vectored};
use crate::signals::catch;

/// The card's longest piece of work, and a little more: what it does later it
/// does not do at all.
const WATCH: Duration = Duration::from_millis(150);

/// Runs `call` in a thread, and `then` when that is asleep in `number`. A call
/// that ends before it was seen asleep, on a slow machine, is made again.
fn while_asleep<R: Send>(
    number: i64,
    call: impl Fn() -> R + Sync,
    mut then: impl FnMut(i32) -> Outcome,
) -> Outcome<R> {
    const TRIES: u32 = 20;
    let order = std::sync::atomic::Ordering::SeqCst;
    for _ in 0..TRIES {
        let thread = std::sync::atomic::AtomicI32::new(0);
        let begun = Gate::new()?;
        let result = std::thread::scope(|scope| -> Outcome<Option<R>> {
            let caller = scope.spawn(|| {
                thread.store(nix::unistd::gettid().as_raw(), order);
                let _ = begun.open();
                call()
            });
            begun.pass()?;
            let (own, caller_id) = (nix::unistd::getpid().as_raw(), thread.load(order));
            let asleep = sleeps_in(own, caller_id, &[number]);
            let missed = asleep.is_err() && caller.is_finished();
            let outcome = asleep.and_then(|_| then(caller_id));
            let Ok(result) = caller.join() else {
                fail!("the caller panicked");
            };
            if missed {
                return Ok(None);
            }
            outcome?;
            Ok(Some(result))
        })?;
        if let Some(result) = result {
            return Ok(result);
        }
    }
    fail!("{TRIES} calls ended before they were seen asleep");
}

/// The parent's pages are the ones that the card writes to, and the child has
/// what was there before, or after, but never a part of the parent's future.
pub(super) fn fork(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let card = context.bytes(size(device.info()?.out_card_size));
    set_contents(&device, &card)?;
    let before = Account::now()?;
    for _ in 0..context.times(3) {
        let memory = Mapping::anonymous(2 * PAGE)?;
        memory.fill(0..2 * PAGE, 0x35);
        let look = Gate::new()?;
        let mut child = None;
        let result = while_asleep(
            libc::SYS_pread64,
            || pread(&device, memory.address() + PAGE - 1024, 2048, 0),
            |_| {
                child = Some(spawn(|| {
                    memory.fill(0..16, 0xcc);
                    memory.fill(2 * PAGE - 16..2 * PAGE, 0xcc);
                    look.pass()?;
                    // Its own copies: nothing that the parent wrote since.
                    all_bytes(&memory.read(0, 16), 0xcc, "the child's bytes")?;
                    all_bytes(&memory.read(16, 16), 0x35, "the child's bytes")
                })?);
                // Beside what the card writes to, in the same pages.
                memory.fill(0..32, 0xaa);
                memory.fill(2 * PAGE - 32..2 * PAGE, 0xbb);
                Ok(())
            },
        )?;
        check_eq!(result, Ok(2048));
        let got = memory.read(PAGE - 1024, 2048);
        same_bytes(&got, &card[..2048], "what the parent has read")?;
        all_bytes(&memory.read(0, 32), 0xaa, "what the parent wrote")?;
        all_bytes(
            &memory.read(2 * PAGE - 32, 32),
            0xbb,
            "what the parent wrote",
        )?;
        look.open()?;
        if let Some(child) = child {
            child.join(LONG)?;
        }
    }
    before.settle()
}

/// The pages are held by the request; what is at the address later is not
/// touched.
pub(super) fn unmap(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = Account::now()?;
    for _ in 0..context.times(3) {
        let memory = Mapping::anonymous(2 * PAGE)?;
        memory.fill(0..2 * PAGE, 0x35);
        let result = while_asleep(
            libc::SYS_pread64,
            || pread(&device, memory.address(), 4096, 0),
            |_| {
                memory.unmap(0..2 * PAGE)?;
                memory.cover(0..2 * PAGE)?;
                memory.fill(0..2 * PAGE, 0x53);
                Ok(())
            },
        )?;
        check_eq!(result, Ok(4096));
        all_bytes(&memory.read(0, 2 * PAGE), 0x53, "other memory in its place")?;
        std::thread::sleep(WATCH);
        all_bytes(&memory.read(0, 2 * PAGE), 0x53, "other memory, later")?;
    }
    before.settle()
}

/// At any moment: of a request in pieces, each of which takes the card a while,
/// whole pieces count, and no byte changes after the call has returned.
pub(super) fn signal(context: &mut Context) -> Outcome {
    catch(Signal::SIGALRM)?;
    let device = context.open()?;
    // Pieces, and what the card takes for all or some of them. One with rings takes as
    // much at once as is pinned at once.
    let (piece, pieces, longest) = match is_slow(&device)? {
        true => (512, 5, 600),
        false => (2 << 20, 2, 300),
    };
    let stride = 2 * piece.max(PAGE);
    let card = context.bytes(size(device.info()?.out_card_size));
    set_contents(&device, &card)?;
    let memory = Mapping::anonymous(pieces * stride)?;
    // Not neighbours, so that each is a piece of its own for the card too.
    let vectors: Vec<_> = (0..pieces)
        .map(|number| vector(&memory, number * stride + 64, piece))
        .collect();
    let before = Account::now()?;
    let (mut short, mut whole) = (0, 0);
    for round in 0..context.times(8) {
        memory.fill(0..memory.length(), 0x4e);
        let timer = raw::alarm_after(u16::try_from(1 + context.between(0, longest))?);
        let begin = Instant::now();
        let result = vectored(libc::SYS_preadv, &device, &vectors, 0);
        let (time, seen) = (begin.elapsed(), memory.read(0, memory.length()));
        drop(timer);
        let done = match result {
            Ok(done) => done,
            Err(Errno::EINTR) => 0,
            other => fail!("{other:?}"),
        };
        let what = || format!("round {round}: {done} bytes after {time:?}");
        let mut want = vec![0x4e; memory.length()];
        for (number, part) in card[..done].chunks(piece).enumerate() {
            let place = number * stride + 64;
            want[place..place + part.len()].copy_from_slice(part);
        }
        same_bytes(&seen, &want, "the count and the bytes").context(what)?;
        before.settle().context(what)?;
        std::thread::sleep(WATCH);
        same_bytes(&memory.read(0, memory.length()), &want, "later").context(what)?;
        if done == piece * pieces {
            whole += 1;
        } else {
            short += 1;
        }
    }
    println!("{short} cut short, {whole} whole");
    check!(short > 0, "no signal came in time");
    // The same with the file's next request, and another's.
    same_bytes(&contents(&device)?, &card, "the card afterwards")
}

/// Behind another file's work there is nothing to wait for.
pub(super) fn signal_queued(context: &mut Context) -> Outcome {
    catch(Signal::SIGUSR1)?;
    let busy = context.open()?;
    let buffer = busy.alloc(COHERENT, PAGE)?;
    let device = context.open()?;
    let before = Account::now()?;
    for _ in 0..context.times(2) {
        // Seconds of work, of which a part is done when the signal comes.
        let count = busy.submit(&[from_card(buffer.handle, 0, PAGE, 0); 40])?;
        let memory = Mapping::anonymous(2 * PAGE)?;
        memory.fill(0..2 * PAGE, 0x4e);
        let begin = Instant::now();
        let result = while_asleep(
            libc::SYS_pread64,
            || pread(&device, memory.address(), PAGE, 0),
            |thread| Ok(raw::signal_thread(thread, libc::SIGUSR1)?),
        )?;
        let time = begin.elapsed();
        match result {
            Err(Errno::EINTR) => all_bytes(&memory.read(0, PAGE), 0x4e, "after EINTR")?,
            // Files take turns: it may have been under way.
            Ok(PAGE) => {}
            other => fail!("{other:?}"),
        }
        let left = count - busy.wait(0, 64, 0)?.len();
        check!(
            left > 0,
            "it returned only when the card was idle, {time:?}"
        );
        before.settle()?;
        let seen = memory.read(0, 2 * PAGE);
        std::thread::sleep(WATCH);
        same_bytes(&memory.read(0, 2 * PAGE), &seen, "later")?;
        busy.collect(left)?;
    }
    Ok(())
}

/// One request at a time and file; each has its own pages.
pub(super) fn threads(context: &mut Context) -> Outcome {
    let (device, other) = (context.open()?, context.open()?);
    let card = context.bytes(size(device.info()?.out_card_size));
    set_contents(&device, &card)?;
    let before = Ways::of(&device)?;
    let rounds = size(context.times(4).into());
    let read = |device: &Device, seed: usize| -> Outcome {
        for round in 0..rounds {
            let memory = Mapping::anonymous(2 * PAGE)?;
            let (place, from) = (seed * 512 + round * 4, seed * 100 + round * 16);
            let got = pread(device, memory.address() + place, 2048, i64::try_from(from)?);
            check_eq!(got, Ok(2048));
            same_bytes(
                &memory.read(place, 2048),
                &card[from..from + 2048],
                "a thread",
            )?;
            all_bytes(&memory.read(0, place), 0, "before")?;
            let end = place + 2048;
            all_bytes(&memory.read(end, 2 * PAGE - end), 0, "behind")?;
        }
        Ok(())
    };
    std::thread::scope(|scope| -> Outcome {
        let (device, other) = (&device, &other);
        let threads = [(device, 1), (device, 2), (other, 3)]
            .map(|(device, seed)| scope.spawn(move || read(device, seed)));
        for thread in threads {
            match thread.join() {
                Ok(outcome) => outcome?,
                Err(_) => fail!("a thread panicked"),
            }
        }
        Ok(())
    })?;
    let mut want = before;
    for _ in 0..2 * rounds {
        want = want.and(true, 2048);
    }
    check_eq!(Ways::of(&device)?, want);
    Ok(())
}

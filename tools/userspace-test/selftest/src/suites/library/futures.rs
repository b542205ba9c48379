// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Transfers that are awaited.

use std::thread;

use futures::executor::block_on;
use userdma::uring::{Queue, Ring};
use userdma::ErrorKind;

use super::{wide, Scene, PIECE};
use crate::child::spawn;
use crate::guest::{self, Card};
use crate::outcome::{same_bytes, Outcome, Stop};
use crate::poll::{until, LONG};
use crate::registry::Context;
use crate::resources::open_files;

/// The result of a thread, whose panic is the test's.
fn join<T>(thread: thread::JoinHandle<Outcome<T>>) -> Outcome<T> {
    match thread.join() {
        Ok(outcome) => outcome,
        Err(_) => fail!("a thread panicked"),
    }
}

/// A queue's files go with its thread, soon after the last that has to do with it.
fn settled(before: usize) -> Outcome {
    until("the queue's files closed", || Ok(open_files()? == before))
}

pub(super) fn threads(context: &mut Context) -> Outcome {
    let before = open_files()?;
    let card = context.card().clone();
    let scenes = [Scene::new(&card, 4)?, Scene::new(&card, 4)?];
    let mut running = Vec::new();
    for (number, mut scene) in scenes.into_iter().enumerate() {
        let bytes = context.bytes(PIECE);
        // Room for fewer than there are: the rest follows.
        let queue = Queue::with(Ring::builder(&scene.device).entries(2).build()?)?;
        running.push(thread::spawn(move || {
            scene.put(0, &bytes)?;
            let there = queue.run(scene.send(0, number));
            let back = queue.run_all((1..4).map(|piece| scene.fetch(piece, number)));
            block_on(async {
                check_eq!(there.await?, wide(PIECE));
                for back in back {
                    check_eq!(back.await?, wide(PIECE));
                }
                Ok(())
            })?;
            for piece in 1..4 {
                same_bytes(&scene.get(piece)?, &bytes, "what came back")?;
            }
            Ok(())
        }));
    }
    running.into_iter().try_for_each(join)?;
    settled(before)
}

pub(super) fn thread_ends(context: &mut Context) -> Outcome {
    let before = open_files()?;
    let scene = Scene::new(context.card(), 2)?;
    let queue = Queue::new(&scene.device)?;
    let transfers = [scene.send(0, 0), scene.fetch(1, 0)];
    let of_thread = queue.clone();
    let running = thread::spawn(move || Ok(of_thread.run_all(transfers)));
    // The transfers belong to the queue, not to the thread that is gone by now.
    let running = join(running)?;
    for running in running {
        check_eq!(block_on(running)?, wide(PIECE));
    }
    drop((queue, scene));
    settled(before)
}

/// Buffers that a card has, by the driver's count.
fn buffers(card: &Card) -> Outcome<u64> {
    guest::number(&card.stats()?, "buffers")
}

pub(super) fn dropped(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    // What is forgotten keeps its files, so this is a process of its own.
    spawn(|| forgetful(&card))?.join(LONG)
}

fn forgetful(card: &Card) -> Outcome {
    let before = buffers(card)?;
    let scene = Scene::new(card, 4)?;
    let queue = Queue::new(&scene.device)?;
    let mut running = queue.run_all((0..4).map(|piece| scene.fetch(piece, 0)));
    // Withdrawn, if the card has not got to it.
    drop(running.pop());
    // Nobody will ever ask how this one ends.
    std::mem::forget(running.pop());
    let Scene {
        device,
        buffer,
        memory,
    } = scene;
    drop(memory);
    buffer.free()?;
    for running in running {
        check_eq!(block_on(running)?, wide(PIECE));
    }
    drop(queue);
    // The file is open still, by the future that was forgotten, and has no buffer any more.
    until("the buffer given back", || Ok(buffers(card)? == before))?;
    let scene = Scene::new(card, 1)?;
    check_eq!(scene.device.run(&[scene.send(0, 0)], None)?.len(), 1);
    drop(device);
    Ok(())
}

pub(super) fn cancel(context: &mut Context) -> Outcome {
    let before = open_files()?;
    let scene = Scene::new(context.card(), 1)?;
    let queue = Queue::new(&scene.device)?;
    let mut running = queue.run_all((0..4).map(|_| scene.send(0, 0).user_data(7)));
    let Some(last) = running.pop() else {
        return Err(Stop::fail("no future"));
    };
    last.cancel();
    for running in running {
        check_eq!(block_on(running)?, wide(PIECE));
    }
    match block_on(last) {
        Ok(bytes) => check_eq!(bytes, wide(PIECE)),
        Err(error) => {
            check_eq!(error.kind(), ErrorKind::Canceled);
            // By the program's own name, not by that of the queue.
            check!(error.to_string().starts_with("transfer 7 "), "{error}");
        }
    }
    drop((queue, scene));
    settled(before)
}

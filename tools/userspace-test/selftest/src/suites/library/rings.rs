// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Batches and rings.

use std::time::Duration;

use userdma::uring::Ring;
use userdma::{Batch, ErrorKind, Wait};

use super::{wide, Scene, PIECE};
use crate::outcome::{same_bytes, Outcome};
use crate::poll::LONG;
use crate::registry::Context;

pub(super) fn batch(context: &mut Context) -> Outcome {
    let bytes = context.bytes(PIECE);
    let mut scene = Scene::new(context.card(), 8)?;
    scene.put(0, &bytes)?;
    let channels = u16::try_from(scene.device.info().channels)?;
    let mut batch = Batch::new(&scene.device);
    for channel in 0..channels.min(4) {
        let at = usize::from(channel);
        batch.push(scene.send(0, at).channel(channel).user_data(100));
        batch
            .channel(channel)
            .from_card(&scene.buffer, piece(4 + at), wide(at * PIECE));
    }
    let count = batch.len();
    check_eq!(batch.submit()?, count);
    check!(batch.is_empty());
    let mut names = Vec::new();
    for completion in scene.device.completions(Some(LONG)) {
        let completion = completion?;
        names.push(completion.user_data());
        check_eq!(completion.result()?, wide(PIECE));
    }
    names.sort_unstable();
    // Those with a name of their own, and the others by their place.
    let mut want: Vec<u64> = (0..wide(count)).filter(|place| place % 2 == 1).collect();
    want.extend(vec![100; count / 2]);
    check_eq!(names, want);
    for channel in 0..usize::from(channels.min(4)) {
        same_bytes(&scene.get(4 + channel)?, &bytes, "what came back")?;
    }
    // Nothing is in flight, so it does not wait.
    check_eq!(scene.device.completions(None).count(), 0);
    Ok(())
}

fn piece(number: usize) -> std::ops::Range<u64> {
    wide(number * PIECE)..wide((number + 1) * PIECE)
}

pub(super) fn small(context: &mut Context) -> Outcome {
    let bytes = context.bytes(PIECE);
    let mut scene = Scene::new(context.card(), 4)?;
    scene.put(0, &bytes)?;
    let mut ring = Ring::builder(&scene.device).entries(2).build()?;
    check_eq!(ring.room(), 2);
    let long = Wait::new().timeout(LONG);
    let mut names = Vec::new();
    for name in 0..5 {
        let transfer = match name % 2 {
            0 => scene.send(0, 0),
            _ => scene.fetch(2, 0),
        };
        let transfer = transfer.user_data(name);
        while ring.room() == 0 {
            let kind = ring.push(&transfer).map_err(|error| error.kind());
            check_eq!(kind, Err(ErrorKind::WouldBlock));
            names.extend(ring.wait(&long)?.map(|completion| completion.user_data()));
        }
        ring.push(&transfer)?;
    }
    let in_flight = ring.in_flight();
    for completion in ring.wait(&long.clone().min(in_flight))? {
        names.push(completion.user_data());
        check_eq!(completion.result()?, wide(PIECE));
    }
    check_eq!(names, [0, 1, 2, 3, 4]);
    same_bytes(&scene.get(2)?, &bytes, "what came back")?;
    check_eq!(ring.wait(&long)?.count(), 0);

    // What the driver refuses it explains, as SUBMIT does.
    let end = usize::try_from(scene.device.info().card_size)? / PIECE;
    ring.push(&scene.send(0, end).user_data(9))?;
    let refused = ring.wait(&long)?.next();
    let Some(refused) = refused else {
        fail!("no completion");
    };
    check_eq!(refused.user_data(), 9);
    let Err(error) = refused.result() else {
        fail!("a transfer beyond the card's memory ended well");
    };
    check_eq!(error.kind(), ErrorKind::OutOfRange);
    check!(error.explanation().met_limit().is_some(), "{error}");
    Ok(())
}

pub(super) fn polled(context: &mut Context) -> Outcome {
    let bytes = context.bytes(PIECE);
    let mut scene = Scene::new(context.card(), 2)?;
    scene.put(0, &bytes)?;
    let ring = Ring::builder(&scene.device).polled(Duration::from_secs(1));
    let mut ring = ring.build()?;
    ring.push(&scene.send(0, 0))?;
    ring.push(&scene.fetch(1, 0))?;
    ring.submit()?;
    let both = Wait::new().min(2).timeout(LONG);
    let Some(first) = ring.wait(&both)?.next() else {
        fail!("no completion");
    };
    check_eq!(first.result()?, wide(PIECE));
    // What was not asked for is there still.
    let rest: Vec<_> = ring.wait(&Wait::poll())?.collect();
    check_eq!(rest.len(), 1);
    check_eq!(rest[0].bytes(), wide(PIECE));
    check_eq!(ring.in_flight(), 0);
    same_bytes(&scene.get(1)?, &bytes, "what came back")
}

pub(super) fn cancel(context: &mut Context) -> Outcome {
    let scene = Scene::new(context.card(), 1)?;
    let mut ring = Ring::new(&scene.device)?;
    for name in 0..4 {
        ring.push(&scene.send(0, 0).user_data(name))?;
    }
    ring.cancel(0, 3)?;
    let all = Wait::new().min(4).timeout(LONG);
    let mut names = Vec::new();
    for completion in ring.wait(&all)? {
        names.push(completion.user_data());
        match (completion.user_data(), completion.error()) {
            (_, None) => check_eq!(completion.bytes(), wide(PIECE)),
            (3, Some(error)) => {
                check_eq!(error.kind(), ErrorKind::Canceled);
                check_eq!(completion.bytes(), 0);
            }
            (name, Some(error)) => fail!("{name}: {error}"),
        }
    }
    names.sort_unstable();
    check_eq!(names, [0, 1, 2, 3]);
    check_eq!(ring.in_flight(), 0);
    Ok(())
}

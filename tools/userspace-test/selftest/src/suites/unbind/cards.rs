// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The card, the bus and the module.

use std::fs;

use super::{check_works, cycles, unbind};
use crate::device::Device;
use crate::guest::{self, Card};
use crate::outcome::Outcome;
use crate::poll::until;
use crate::registry::Context;

pub(super) fn idle(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    for _ in 0..cycles(context) {
        unbind(&card)?;
        check_err!(Device::open(&card.path), ENOENT);
        check!(card.unbind().is_err(), "unbound twice");
        let card = card.bind()?;
        check_works(&card)?;
        check_eq!(card.counter("buffers").unwrap_or(0), 0);
    }
    Ok(())
}

/// One of the two does it; the other may be told so, or that it was done.
pub(super) fn two_at_once(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    for _ in 0..cycles(context) {
        let device = Device::open(&card.path)?;
        let results = std::thread::scope(|scope| {
            let both = [(); 2].map(|()| scope.spawn(|| card.unbind().is_ok()));
            both.map(|thread| thread.join().unwrap_or(false))
        });
        check!(results.contains(&true));
        check_err!(device.info(), ENODEV);
        drop(device);
        check_works(&card.bind()?)?;
    }
    Ok(())
}

/// Finds a card again after the bus was searched.
fn rescan(card: &Card) -> Outcome<Card> {
    fs::write("/sys/bus/pci/rescan", "1")?;
    until("the card found again", || Ok(card.again()?.is_some()))?;
    match card.again()? {
        Some(card) => Ok(card),
        None => fail!("{} went again", card.bus),
    }
}

pub(super) fn remove_rescan(context: &mut Context) -> Outcome {
    let card = context.card().clone();
    for round in 0..cycles(context) {
        let device = Device::open(&card.path)?;
        let buffer = device.alloc(crate::device::COHERENT, 4096)?;
        let map = device.map(&buffer)?;
        map.set_byte(0, 1);
        if round % 2 == 1 {
            let read = crate::device::from_card(buffer.handle, 0, 4096, 0);
            check_eq!(device.submit(&[read, read])?, 2);
        }
        fs::write(card.sysfs().join("remove"), "1")?;
        check!(!card.sysfs().exists());
        check_err!(device.info(), ENODEV);
        map.check_gone(0..4096)?;
        let again = rescan(&card)?;
        check_works(&again)?;
        check_err!(
            device.info(),
            ENODEV,
            "an old file after the card came back"
        );
        drop((map, device));
        check_works(&again)?;
    }
    Ok(())
}

pub(super) fn module(context: &mut Context) -> Outcome {
    let Some(file) = context.module.clone() else {
        skip!("needs the module's file");
    };
    let mut card = context.card().clone();
    let parameters = guest::module_parameters(&card)?;
    for _ in 0..cycles(context) {
        let device = Device::open(&card.path)?;
        // EAGAIN: in use, asked not to wait.
        check_err!(guest::unload(), EAGAIN, "with an open file");
        // Unbound, the file is still the module's.
        unbind(&card)?;
        check_err!(
            guest::unload(),
            EAGAIN,
            "with an open file of a card that has gone"
        );
        drop(device);
        guest::unload()?;
        check!(!guest::is_loaded());
        check!(!card.is_bus_master()?);
        guest::load(&file, &parameters)?;
        // Its number may be another now.
        card = match card.again()? {
            Some(card) => card,
            None => fail!("no node after loading the module"),
        };
        check_works(&card)?;
    }
    // Also with the cards bound.
    guest::unload()?;
    check_eq!(guest::cards()?.len(), 0);
    check!(!card.is_bus_master()?);
    guest::load(&file, &parameters)?;
    check_eq!(guest::cards()?.len(), context.cards.len());
    Ok(())
}

pub(super) fn parameters(context: &mut Context) -> Outcome {
    let Some(file) = context.module.clone() else {
        skip!("needs the module's file");
    };
    let before = guest::module_parameters(context.card())?;
    guest::unload()?;
    let set = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let mut wrong = Ok(());
    for (name, value) in [
        ("dma_mask_bits", "many"),
        ("dma_mask_bits", "-1"),
        ("limit_total_mib", "1x"),
        ("limit_file_mib", "99999999999999999999999"),
        ("timeout_ms", ""),
    ] {
        if guest::load(&file, &set(name, value)).is_ok() {
            guest::unload()?;
            wrong = Err(crate::outcome::Stop::fail(format!(
                "{name}={value} was accepted"
            )));
        }
    }
    // A number, but of no mask that there is: the module loads, and binds no card.
    let silly = guest::load(&file, &set("dma_mask_bits", "65"));
    let bound = guest::cards()?.len();
    if silly.is_ok() {
        guest::unload()?;
    }
    guest::load(&file, &before)?;
    wrong?;
    check_eq!(bound, 0, "cards bound with a mask of 65 bits");
    match context.card().again()? {
        Some(card) => check_works(&card),
        None => fail!("no node after loading the module as it was"),
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is measured on edu-daq: small transfers, by ioctl and by io_uring.

mod polled;
mod transfer;
mod uring;
mod wake;

use std::time::Duration;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use userdma::sys;

use crate::card;
use crate::card::wide;
use crate::card::Card;
use crate::counter::Counter;
use crate::guest;
use crate::keeper::Keeper;
use crate::lab::Model;
use crate::memory::PAGE;
use crate::report::Report;

/// The card.
pub(super) const BACKEND: &str = "edu-daq";

/// What a transfer moves here.
const SMALL: usize = 64;

/// The channel that is used.
const CHANNEL: u16 = 0;

/// Long enough for an interrupt to come; and so often at most it is looked whether all has ended.
const ENOUGH: Duration = Duration::from_millis(2);
const LOOKS: usize = 2000;

/// What the measurements share.
struct Bench<'a> {
    counter: &'a Counter,
    card: Card,
    model: Model,
    /// What the card had completed when it was held.
    ended: u64,
    /// A coherent buffer of a page.
    buffer: u32,
    keeper: Keeper,
}

impl<'a> Bench<'a> {
    fn new(counter: &'a Counter) -> Result<Self> {
        let card = Card::open(&guest::node_of(BACKEND)?)?;
        // Before anything is asked of the host.
        let keeper = Keeper::start()?;
        let model = Model::at(&card.bus_name()?)?;
        let mut buffer = card::alloc(sys::USERDMA_BUF_COHERENT, PAGE);
        // SAFETY: it names no arrays.
        unsafe { card.call(&mut buffer) }.context("BUF_ALLOC")?;
        Ok(Self {
            counter,
            card,
            model,
            ended: 0,
            buffer: buffer.out_handle,
            keeper,
        })
    }

    /// So many transfers to the card.
    fn transfers(&self, count: usize) -> Result<Vec<sys::userdma_transfer>> {
        let transfer = sys::userdma_transfer {
            op: sys::USERDMA_OP_TO_CARD.try_into()?,
            channel: CHANNEL,
            buffer: self.buffer,
            length: wide(SMALL),
            ..Default::default()
        };
        let one = |number| sys::userdma_transfer {
            user_data: wide(number),
            ..transfer
        };
        Ok((0..count).map(one).collect())
    }

    /// Nothing ends from now on.
    fn hold(&mut self) -> Result<()> {
        self.ended = self.model.counts(CHANNEL.into())?.completions;
        self.model.hold(CHANNEL.into())
    }

    /// Lets so many end, and waits for it.
    fn release(&mut self, count: usize) -> Result<()> {
        self.model.release()?;
        for _ in 0..LOOKS {
            self.settle()?;
            if self.model.counts(CHANNEL.into())?.completions == self.ended + wide(count) {
                // The driver has yet to hear of the last.
                return self.settle();
            }
        }
        bail!("{count} transfers did not end");
    }

    /// Waits until the card has nothing more to do and the driver has heard of it.
    fn settle(&self) -> Result<()> {
        std::thread::sleep(ENOUGH);
        Ok(())
    }

    /// SUBMIT; gives how many were accepted, too.
    fn submit(&self, transfers: &[sys::userdma_transfer]) -> Result<(u64, usize)> {
        let mut submit = card::submit(transfers);
        // SAFETY: its transfers live.
        let call = || unsafe { self.card.call(&mut submit) };
        let (taken, result) = self.counter.time_of(call);
        result.context("SUBMIT")?;
        Ok((taken, usize::try_from(submit.out_count)?))
    }

    /// WAIT for so many.
    fn wait(&self, count: usize) -> Result<(u64, Vec<sys::userdma_completion>)> {
        let mut completions = vec![sys::userdma_completion::default(); count];
        let mut wait = card::wait(&mut completions);
        // SAFETY: its completions live, and nobody looks at them meanwhile.
        let call = || unsafe { self.card.call(&mut wait) };
        let (taken, result) = self.counter.time_of(call);
        result.context("WAIT")?;
        ensure!(
            usize::try_from(wait.out_count)? == count,
            "WAIT gave {} of {count}",
            wait.out_count
        );
        Ok((taken, completions))
    }
}

/// Submission, and collecting what is ready.
pub(super) fn transfers(counter: &Counter, report: &mut Report) -> Result<()> {
    transfer::run(&mut Bench::new(counter)?, report)
}

/// The same by io_uring.
pub(super) fn uring(counter: &Counter, report: &mut Report) -> Result<()> {
    let mut bench = Bench::new(counter)?;
    uring::run(&mut bench, report)?;
    polled::run(&mut bench, report)
}

/// From an interrupt to the program that waits for it.
pub(super) fn wake(counter: &Counter, report: &mut Report) -> Result<()> {
    wake::run(&mut Bench::new(counter)?, report)
}

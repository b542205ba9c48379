// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Every allocation and every copy that a call makes fails once, one after the
//! other: the call succeeds or gives an error that is documented, nothing is
//! left behind, and the next call succeeds.

mod buffers;
mod card;
mod inject;
mod requests;
mod transfers;

use nix::errno::Errno;

use crate::account::Account;
use crate::outcome::{Context as _, Outcome};
use crate::poll::until;
use crate::raw::Sys;
use crate::registry::{Context, Test};
use crate::resources::{open_files, Snapshot};
use inject::Injector;

pub(super) const TESTS: &[Test] = &[
    Test::new("fault.open", "open and close", card::open).seconds(120),
    Test::new("fault.info", "INFO, BUF_INFO, fdinfo, debugfs", card::info).seconds(120),
    Test::new("fault.poll", "poll and epoll", card::poll).seconds(120),
    Test::new(
        "fault.buf_alloc",
        "BUF_ALLOC and BUF_FREE of each kind",
        buffers::alloc,
    )
    .seconds(180),
    Test::new(
        "fault.buf_register",
        "BUF_REGISTER by address and by memfd, and BUF_FREE",
        buffers::register,
    )
    .seconds(300),
    Test::new("fault.buf_sync", "BUF_SYNC", buffers::sync).seconds(120),
    Test::new(
        "fault.mmap",
        "mmap, the first touch, and munmap",
        buffers::mmap,
    )
    .seconds(120),
    Test::new("fault.submit", "SUBMIT", transfers::submit).seconds(180),
    Test::new("fault.wait", "WAIT: no record is lost", transfers::wait).seconds(180),
    Test::new(
        "fault.cancel",
        "CANCEL: each transfer has its record",
        transfers::cancel,
    )
    .seconds(180),
    Test::new(
        "fault.eventfd",
        "EVENTFD: the new one, or the one before",
        transfers::eventfd,
    )
    .seconds(180),
    Test::new(
        "fault.copied",
        "read and write whose data are copied",
        requests::copied,
    )
    .seconds(300),
    Test::new(
        "fault.direct",
        "read and write of the program's own pages",
        requests::direct,
    )
    .seconds(300),
    Test::new("fault.bind", "bind: the card, or nothing", card::bind).seconds(600),
    Test::new("fault.unbind", "unbind: it cannot fail", card::unbind).seconds(300),
];

/// More sites than any call has.
const MOST: u32 = 3_000;

/// What must be the same after each attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    account: Account,
    files: usize,
    counts: Snapshot,
}

impl State {
    fn now(context: &Context) -> Outcome<Self> {
        Ok(Self {
            account: Account::now()?,
            files: open_files()?,
            counts: Snapshot::take(&context.cards)?,
        })
    }

    /// Requires it to be so again, soon.
    fn settle(&self, context: &Context) -> Outcome {
        let mut now = self.clone();
        let settled = until("everything as it was", || {
            now = Self::now(context)?;
            Ok(now == *self)
        });
        settled.context(|| format!("{now:?}, want {self:?}"))
    }
}

/// One call, with what goes before and behind it.
struct Case<'a, T> {
    what: &'a str,
    /// The errors that it may give.
    allowed: &'a [Errno],
    /// Every so many sites one, from `first` on.
    stride: u32,
    prepare: &'a mut dyn FnMut() -> Outcome,
    call: &'a mut dyn FnMut() -> Sys<T>,
    /// Takes back what it did; `None`: it failed.
    after: &'a mut dyn FnMut(Option<T>) -> Outcome,
}

impl<T> Case<'_, T> {
    /// Goes through all sites; how many there were.
    fn sweep(&mut self, context: &mut Context) -> Outcome<u32> {
        let mut injector = Injector::new()?;
        let what = self.what;
        // What is made once and kept is made before the state is taken.
        self.attempt(None, true)
            .context(|| format!("{what}, the first"))?;
        let before = State::now(context)?;
        let first = u32::try_from(context.between(1, usize::try_from(self.stride)?))?;
        let (mut nth, mut failed) = (first, 0);
        loop {
            check!(nth < MOST, "{what}: more than {MOST} sites");
            let site = || format!("{what}, site {nth}");
            let (left, error) = self
                .attempt(Some((&mut injector, nth)), false)
                .context(site)?;
            failed += u32::from(error);
            before.settle(context).context(site)?;
            if left > 0 {
                break;
            }
            self.attempt(None, true)
                .context(|| format!("{what}, after site {nth}"))?;
            before.settle(context).context(site)?;
            nth += self.stride;
        }
        println!("did {} injected faults", (nth - first) / self.stride);
        println!(
            "{what}: {} sites, every {}th tried, {failed} gave an error",
            nth - 1,
            self.stride
        );
        Ok(nth - 1)
    }

    /// One attempt; what is left of the count, and whether the call failed.
    fn attempt(
        &mut self,
        inject: Option<(&mut Injector, u32)>,
        must: bool,
    ) -> Outcome<(u32, bool)> {
        (self.prepare)()?;
        let (result, left) = match inject {
            Some((injector, nth)) => injector.during(nth, &mut *self.call)?,
            None => ((self.call)(), 0),
        };
        match result {
            Ok(value) => {
                (self.after)(Some(value))?;
                Ok((left, false))
            }
            Err(error) => {
                check!(!must, "{error:?} with nothing injected");
                check!(left == 0, "{error:?}, and nothing was injected");
                check!(self.allowed.contains(&error), "{error:?} is not documented");
                (self.after)(None)?;
                Ok((left, true))
            }
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! WAIT: records go to the program, and none is lost if one does not arrive.

use kernel::{
    prelude::*,
    sync::atomic::ordering::Acquire, //
};

use super::{
    Patience,
    Port,
    State,
    DEPTH, //
};
use crate::{
    queue::Pile,
    uapi, //
};

impl Port {
    /// Collects up to `max` records into `records`, and waits until there are `min`.
    ///
    /// Then calls `commit` with their number; if that fails, they are all as before.
    ///
    /// # Errors
    ///
    /// As the header says of WAIT; only if not a single record was collected.
    pub(crate) fn wait(
        &self,
        records: uapi::Array,
        min: u32,
        how: Patience,
        commit: impl FnOnce(u32) -> Result,
    ) -> Result {
        let mut claimed = Pile::default();
        let result = self.collect(records, min as usize, how, &mut claimed);
        let count = claimed.len();
        let result = match result {
            Err(error) if count == 0 => Err(error),
            // CAST: At most `DEPTH`.
            _ => commit(count as u32),
        };
        if count > 0 {
            self.settle(claimed, result.is_ok());
        }
        result
    }

    /// Lets go of the records that a call holds: they were `taken`, or go back to where they came from.
    fn settle(&self, claimed: Pile, taken: bool) {
        let count = claimed.len();
        let mut state = self.state.lock();
        state.claimed -= count;
        // What a poller waits for changes only from none to some. Sleepers look for more than that.
        let news = !taken || state.used == DEPTH || state.sleepers > 0;
        if taken {
            state.used -= count;
            state.free.append(claimed);
        } else {
            state.put_back(claimed);
        }
        drop(state);
        if news {
            self.changed.notify_all();
        }
    }

    /// Moves records to the program, and to `claimed`, the last on top.
    fn collect(
        &self,
        records: uapi::Array,
        min: usize,
        how: Patience,
        claimed: &mut Pile,
    ) -> Result {
        let max = (records.count() as usize).min(DEPTH);
        // After one that did not arrive, one by one: those before it do.
        let mut most = max;
        loop {
            let count = claimed.len();
            let new = self.claim(most.min(max - count), count, min, how)?;
            if new.len() == 0 {
                return Ok(());
            }
            // CAST: At most `DEPTH`.
            let behind = (count + new.len()) as u32;
            // The last is on top.
            let written = (0..behind)
                .rev()
                .zip(new.iter())
                .try_for_each(|(index, transfer)| records.write(index, &transfer.record()));
            if written.is_ok() {
                claimed.append(new);
                continue;
            }
            let alone = new.len() == 1;
            self.settle(new, false);
            if alone {
                return Err(EFAULT);
            }
            most = 1;
        }
    }

    /// Takes up to `most` records, and waits for them as long as there are not `min` with the `count` that the
    /// call has. None if that is enough, or there will be no more.
    fn claim(&self, most: usize, count: usize, min: usize, how: Patience) -> Result<Pile> {
        let mut new = Pile::default();
        if most == 0 {
            return Ok(new);
        }
        let mut state = self.state.lock();
        let mut woken = Ok(());
        loop {
            while new.len() < most {
                let Some(transfer) = state.done.pop_front() else {
                    break;
                };
                new.push(transfer);
            }
            if new.len() > 0 {
                state.claimed += new.len();
                return Ok(new);
            }
            // Nothing is in flight: nothing more will come, unless another call gives back what it
            // holds. Only a call that has nothing itself waits for that, else two would wait for
            // each other.
            if state.used - state.rings == state.claimed && (count > 0 || state.claimed == 0) {
                return match self.gone.load(Acquire) {
                    true => Err(ENODEV),
                    false => Ok(new),
                };
            }
            if count >= min {
                return Ok(new);
            }
            woken?;
            woken = self.sleep(&mut state, how);
        }
    }
}

impl State {
    /// Puts records back to where they came from.
    fn put_back(&mut self, mut claimed: Pile) {
        while let Some(transfer) = claimed.pop() {
            // There is room: `done` holds as many as there are places.
            let _ = self.done.push_front(transfer);
        }
    }
}

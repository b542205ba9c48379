// SPDX-License-Identifier: GPL-2.0

//! WAIT: records go to the program, and none is lost if one does not arrive.

use kernel::{
    prelude::*,
    sync::atomic::ordering::Acquire, //
};

use super::{
    Patience,
    Port,
    DEPTH, //
};
use crate::{
    queue::Transfer,
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
        let mut claimed: [Option<KBox<Transfer>>; DEPTH] = [const { None }; DEPTH];
        let mut count = 0;
        let result = self.collect(records, min as usize, how, &mut claimed, &mut count);
        let result = match result {
            Err(error) if count == 0 => Err(error),
            // CAST: At most `DEPTH`.
            _ => commit(count as u32),
        };
        let mut state = self.state.lock();
        state.claimed -= count;
        match result {
            Ok(()) => {
                state.used -= count;
                for transfer in claimed.iter_mut().filter_map(Option::take) {
                    let _ = state.free.push_back(transfer);
                }
            }
            Err(_) => {
                for transfer in claimed.iter_mut().rev().filter_map(Option::take) {
                    let _ = state.done.push_front(transfer);
                }
            }
        }
        drop(state);
        if count > 0 {
            self.changed.notify_all();
        }
        result
    }

    /// Moves records to `claimed` and to the program, `count` of them.
    fn collect(
        &self,
        records: uapi::Array,
        min: usize,
        how: Patience,
        claimed: &mut [Option<KBox<Transfer>>],
        count: &mut usize,
    ) -> Result {
        let max = (records.count() as usize).min(claimed.len());
        loop {
            let mut state = self.state.lock();
            let mut woken = Ok(());
            let transfer = loop {
                if *count == max {
                    return Ok(());
                }
                if let Some(transfer) = state.done.pop_front() {
                    state.claimed += 1;
                    break transfer;
                }
                // Nothing is in flight: nothing more will come, unless another call gives back what it
                // holds. Only a call that has nothing itself waits for that, else two would wait for
                // each other.
                if state.used - state.rings == state.claimed && (*count > 0 || state.claimed == 0) {
                    return match self.gone.load(Acquire) {
                        true => Err(ENODEV),
                        false => Ok(()),
                    };
                }
                if *count >= min {
                    return Ok(());
                }
                woken?;
                woken = self.sleep(&mut state, how);
            };
            drop(state);
            // CAST: Below `DEPTH`.
            let written = records.write(*count as u32, &transfer.record());
            if let (Ok(()), Some(place)) = (written, claimed.get_mut(*count)) {
                *place = Some(transfer);
                *count += 1;
            } else {
                let mut state = self.state.lock();
                state.claimed -= 1;
                let _ = state.done.push_front(transfer);
                drop(state);
                // Somebody may have looked while it was not there.
                self.changed.notify_all();
                return Err(EFAULT);
            }
        }
    }
}

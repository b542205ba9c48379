// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Signals that interrupt a call, and do nothing else.

use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};

use crate::outcome::Outcome;

extern "C" fn nothing(_: libc::c_int) {}

/// Lets a signal interrupt system calls.
pub(crate) fn catch(signal: Signal) -> Outcome {
    let action = SigAction::new(
        SigHandler::Handler(nothing),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

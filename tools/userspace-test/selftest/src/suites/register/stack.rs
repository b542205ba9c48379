// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Memory of the stack.

use std::cell::UnsafeCell;

use super::data::both_ways;
use crate::memory::{Window, PAGE};
use crate::outcome::Outcome;
use crate::registry::Context;

const LENGTH: usize = 6 * PAGE;

pub(super) fn round_trip(context: &mut Context) -> Outcome {
    let device = context.open()?;
    // Only looked at through the window while the card knows it.
    let variable = UnsafeCell::new([0_u8; LENGTH]);
    let memory = Window::new(variable.get().expose_provenance(), LENGTH);
    both_ways(context, &device, &memory, (0, LENGTH))?;
    both_ways(context, &device, &memory, (33, LENGTH - 5))
}

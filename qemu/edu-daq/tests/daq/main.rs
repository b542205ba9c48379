// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The program, driven as QEMU and a driver drive it, from the page
//! Documentation/edu-daq.rst.

mod driver;

mod copies;
mod digitisers;
mod faults;
mod interrupts;
mod process;
mod refusals;
mod resets;
mod rings;
mod speed;

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The tests, one module for each suite.

mod abi;
mod account;
mod alloc;
mod direct;
mod info;
mod many;
mod mmap;
mod random;
mod register;
mod rw;
mod submit;
mod unbind;

use crate::registry::Test;

/// Every test, the quick and basic ones first.
pub(crate) fn all() -> Vec<Test> {
    [
        info::TESTS,
        abi::TESTS,
        alloc::TESTS,
        mmap::TESTS,
        rw::TESTS,
        direct::TESTS,
        submit::TESTS,
        register::TESTS,
        account::TESTS,
        random::TESTS,
        many::TESTS,
        unbind::TESTS,
    ]
    .concat()
}

/// The table of commands, causes and errors as reST.
pub(crate) fn errno_table() -> String {
    abi::errno_table()
}

/// What a test does after it has become another program.
pub(crate) fn after_exec(words: &str) -> std::process::ExitCode {
    account::after_exec(words)
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The tests, one module for each suite.

mod abi;
mod account;
mod alloc;
mod copy;
mod direct;
mod event;
mod fault;
mod flood;
mod full;
mod hotplug;
mod info;
mod inject;
mod kill;
mod library;
mod many;
mod mmap;
mod random;
mod register;
mod remove;
mod rings;
mod rw;
mod submit;
mod unbind;
mod uring;

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
        event::TESTS,
        uring::TESTS,
        rings::TESTS,
        copy::TESTS,
        flood::TESTS,
        library::TESTS,
        inject::TESTS,
        register::TESTS,
        account::TESTS,
        random::TESTS,
        kill::TESTS,
        many::TESTS,
        unbind::TESTS,
        remove::TESTS,
        hotplug::TESTS,
        full::TESTS,
        fault::TESTS,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_names_tests_that_exist() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../Documentation/testing.rst"
        );
        let page = std::fs::read_to_string(path).expect("the page is in the tree");
        let tests = all();
        let groups: Vec<_> = tests
            .iter()
            .filter_map(|test| test.name.split('.').next())
            .collect();
        let mut named = 0;
        for word in page.split("``").skip(1).step_by(2) {
            let Some((group, name)) = word.split_once('.') else {
                continue;
            };
            // Files have dots in their names, too.
            if !groups.contains(&group) {
                continue;
            }
            let exists = name == "*" || tests.iter().any(|test| test.name == word);
            assert!(exists, "{word} of {path} is no test");
            named += 1;
        }
        assert!(named > 80, "{named} names of tests in {path}");
    }
}

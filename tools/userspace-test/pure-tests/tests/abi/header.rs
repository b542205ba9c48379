// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The header by itself: every dialect of C and C++ that a program may be
//! written in, by the rules for the kernel's exported headers.

use crate::c::{cc, compile};

/// Compiles nothing but the header, twice, because it must guard itself.
fn check(program: &str, args: &[&str]) {
    let strict = ["-fsyntax-only", "-Wall", "-Wextra", "-Werror"];
    let source = "#include <linux/userdma.h>\n".repeat(2);
    let (_, words) = compile(program, &[args, &strict].concat(), &source);
    assert!(words.is_empty(), "{words}");
}

fn clang() -> String {
    std::env::var("CLANG").unwrap_or_else(|_| "clang-19".to_owned())
}

/// As in the kernel's `usr/include/Makefile`: no comments of C++, no inline.
#[test]
fn it_is_c90_as_the_kernel_wants_it() {
    for bits in ["-m64", "-m32"] {
        check(&cc(), &["-x", "c", bits, "-std=c90"]);
    }
}

#[test]
fn it_is_strict_c99_and_later() {
    for std in ["-std=c99", "-std=c11", "-std=c17", "-std=c2x"] {
        check(&cc(), &["-x", "c", std, "-pedantic-errors"]);
    }
}

/// With clang, because the laboratory has no C++ of gcc.
#[test]
fn it_is_cpp() {
    // The oldest, which the kernel tests; one comma less strict.
    check(&clang(), &["-x", "c++", "-std=c++98"]);
    for std in ["-std=c++11", "-std=c++20"] {
        check(&clang(), &["-x", "c++", std, "-pedantic-errors"]);
    }
}

/// The compiler's own word that no structure has a hole or a tail.
#[test]
fn there_is_no_padding() {
    for bits in ["-m64", "-m32"] {
        check(&cc(), &["-x", "c", bits, "-Wpadded"]);
        check(&clang(), &["-x", "c", bits, "-Wpadded"]);
    }
}

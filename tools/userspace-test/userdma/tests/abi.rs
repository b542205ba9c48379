// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A 32-bit program and a 64-bit one see the same structures.
//!
//! The bindings say, for each structure, its size and the offset of each field
//! as the C compiler lays them out, so they must not depend on the target. That
//! this crate's own types agree with them is checked when it is compiled, and
//! that they have no padding too.

use std::env;
use std::path::Path;
use std::process::Command;

fn bindings(target: &str) -> String {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../include/uapi");
    let program = env::var("BINDGEN").unwrap_or_else(|_| "bindgen".to_owned());
    let output = Command::new(program)
        .arg(include.join("linux/userdma.h"))
        .args(["--use-core", "--allowlist-item", "(userdma|USERDMA)_.*"])
        .args(["--", &format!("--target={target}"), "-I"])
        .arg(&include)
        // Debian keeps <asm/types.h> apart for each architecture; what the
        // header uses of it is the same on all.
        .args(["-idirafter", "/usr/include/x86_64-linux-gnu"])
        .args(["-idirafter", "/usr/include/aarch64-linux-gnu"])
        .output()
        .expect("bindgen runs, as it did for the build");
    assert!(
        output.status.success(),
        "{target}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    // An attribute where the word is shorter than the alignment; whether it
    // does its work, the sizes and offsets behind it tell.
    String::from_utf8(output.stdout)
        .expect("bindgen writes UTF-8")
        .replace("#[repr(align(8))]\n", "")
}

#[test]
fn structures_do_not_depend_on_the_word_size() {
    let wide = bindings("x86_64-linux-gnu");
    for structure in [
        "info",
        "buf_alloc",
        "buf_info",
        "buf_free",
        "buf_register",
        "buf_sync",
        "transfer",
        "submit",
        "completion",
        "wait",
        "cancel",
        "eventfd",
    ] {
        let size = format!("\"Size of userdma_{structure}\"");
        assert!(wide.contains(&size), "no {size} in the bindings");
    }
    for target in [
        "i686-linux-gnu",
        "armv7-linux-gnueabihf",
        "aarch64-linux-gnu",
    ] {
        let other = bindings(target);
        let differ = wide
            .lines()
            .zip(other.lines())
            .find(|(here, there)| here != there);
        assert_eq!(differ, None, "x86_64 and {target}");
        assert_eq!(wide.lines().count(), other.lines().count(), "{target}");
    }
}

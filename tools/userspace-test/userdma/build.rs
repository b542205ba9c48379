// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Generates the `sys` module from the kernel's header.
//!
//! The header is the single source of truth of the ABI, so nothing that is
//! generated is committed. The `bindgen` command of the distribution is used,
//! the same one that the kernel's build uses, and not the crate.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Relative to this crate's directory.
const INCLUDE: &str = "../../../include/uapi";
const HEADER: &str = "linux/userdma.h";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed={INCLUDE}/{HEADER}");
    println!("cargo::rerun-if-env-changed=BINDGEN");
    match generate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn generate() -> Result<(), String> {
    let crate_dir = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("not run by cargo")?);
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("not run by cargo")?);
    let include = crate_dir.join(INCLUDE);
    let header = include.join(HEADER);
    if !header.is_file() {
        return Err(format!(
            "the ABI header {} is missing; build inside the userdma tree",
            header.display()
        ));
    }
    bindgen(&include, &header, &out_dir.join("sys.rs"))
}

fn bindgen(include: &Path, header: &Path, output: &Path) -> Result<(), String> {
    let program = env::var("BINDGEN").unwrap_or_else(|_| "bindgen".to_owned());
    let target = env::var("TARGET").unwrap_or_default();
    let mut command = Command::new(&program);
    command
        .arg(header)
        .arg("--output")
        .arg(output)
        .args(["--rust-target", "1.82", "--use-core"])
        .args(["--allowlist-item", "(userdma|USERDMA)_.*"])
        // bindgen makes these an i32 and a u32; src/sys.rs has them as u64.
        .args(["--blocklist-item", "USERDMA_WAIT_(POLL|FOREVER)"])
        .args(["--default-enum-style", "consts", "--no-prepend-enum-name"])
        .args(["--no-doc-comments", "--with-derive-default"])
        // IntoBytes is refused for a struct with padding: the ABI has none.
        .args([
            "--with-derive-custom-struct",
            "userdma_.*=zerocopy::FromBytes,zerocopy::IntoBytes,zerocopy::Immutable,zerocopy::KnownLayout",
        ])
        .arg("--")
        .arg("-I")
        .arg(include);
    if !target.is_empty() {
        command.arg(format!("--target={target}"));
    }
    let result = command.output().map_err(|error| {
        format!(
            "cannot run `{program}` ({error}); it is in Debian's package `bindgen`, \
             or set BINDGEN to where it is"
        )
    })?;
    if result.status.success() {
        return Ok(());
    }
    // One line for each, as cargo shows only lines that begin with "cargo::".
    for line in String::from_utf8_lossy(&result.stderr).lines() {
        println!("cargo::warning={line}");
    }
    Err(format!(
        "`{program}` failed on {} ({}); it needs the packages `libclang-19-dev` and `linux-libc-dev`",
        header.display(),
        result.status
    ))
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Generates what `tests/abi` compares, from the ABI's header:
//!
//! - `kernel.rs`: the kernel's bindings, with the flags of `Kbuild`;
//! - `names.rs`: the names of all constants, structures and fields;
//! - `layout.rs`: a function that asks the Rust types, whichever are in scope,
//!   for all of these. It is compiled against the kernel's bindings and against
//!   the library's: one that lacks a name fails to compile.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Relative to this crate's directory.
const TREE: &str = "../../..";
const HEADER: &str = "include/uapi/linux/userdma.h";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let tree = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join(TREE);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for input in [HEADER, "Kbuild"] {
        println!("cargo::rerun-if-changed={}", tree.join(input).display());
    }
    println!("cargo::rerun-if-env-changed=BINDGEN");

    let bindings = out.join("kernel.rs");
    bindgen(&tree, &bindings)?;
    let items = Items::parse(&fs::read_to_string(&bindings)?)?;
    fs::write(out.join("names.rs"), items.names())?;
    fs::write(out.join("layout.rs"), items.layout())?;
    Ok(())
}

/// Runs bindgen as the kernel's build does, but with the headers of this
/// machine instead of the kernel's own.
fn bindgen(tree: &Path, output: &Path) -> Result<()> {
    let program = env::var("BINDGEN").unwrap_or_else(|_| "bindgen".to_owned());
    let mut command = Command::new(&program);
    command
        .arg(tree.join(HEADER))
        .args(kbuild_flags(&fs::read_to_string(tree.join("Kbuild"))?)?)
        .arg("-o")
        .arg(output)
        .args(["--", "-D__BINDGEN__", "-I"])
        .arg(tree.join("include/uapi"));
    let result = command
        .output()
        .map_err(|error| format!("cannot run `{program}` of the package `bindgen`: {error}"))?;
    if result.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&result.stderr);
    Err(format!("{command:?} failed: {words}").into())
}

/// Takes bindgen's own flags out of `Kbuild`: what stands between the source
/// and the output.
fn kbuild_flags(kbuild: &str) -> Result<Vec<String>> {
    let joined = kbuild.replace("\\\n", " ");
    let line = joined
        .lines()
        .find_map(|line| line.split_once("cmd_userdma_uapi = $(BINDGEN) $<"));
    let (_, flags) = line.ok_or("Kbuild has no line `cmd_userdma_uapi = $(BINDGEN) $<`")?;
    let (flags, _) = flags
        .split_once("-o $@ --")
        .ok_or("bindgen's flags in Kbuild do not end with `-o $@ --`")?;
    if flags.contains('$') {
        return Err(format!("cannot expand the variables in `{flags}`").into());
    }
    Ok(shlex::split(flags).ok_or("quotes in Kbuild do not match")?)
}

struct Field {
    name: String,
    array: bool,
}

/// What the header declares.
#[derive(Default)]
struct Items {
    constants: Vec<String>,
    structures: Vec<(String, Vec<Field>)>,
}

impl Items {
    fn parse(bindings: &str) -> Result<Self> {
        let mut items = Self::default();
        for item in syn::parse_file(bindings)?.items {
            match item {
                syn::Item::Const(constant) => items.constants.push(constant.ident.to_string()),
                syn::Item::Struct(structure) => {
                    let name = structure.ident.to_string();
                    let fields = structure.fields.iter().map(field);
                    let fields = fields.collect::<Result<_>>();
                    let fields = fields.map_err(|error| format!("{name}: {error}"))?;
                    items.structures.push((name, fields));
                }
                // Names of integers.
                syn::Item::Type(_) => {}
                _ => return Err("the ABI has constants and plain structures only".into()),
            }
        }
        if items.constants.is_empty() || items.structures.is_empty() {
            return Err("bindgen found nothing in the header".into());
        }
        Ok(items)
    }

    fn names(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "const CONSTANTS: &[&str] = &{:?};", self.constants);
        text += "const STRUCTURES: &[(&str, &[(&str, bool)])] = &[\n";
        for (name, fields) in &self.structures {
            let fields: Vec<_> = fields.iter().map(|f| (&f.name, f.array)).collect();
            let _ = writeln!(text, "    ({name:?}, &{fields:?}),");
        }
        text + "];\n"
    }

    fn layout(&self) -> String {
        let mut text = "pub(super) fn lines() -> Vec<String> {\n    vec![\n".to_owned();
        for name in &self.constants {
            // As the C compiler converts: -1 is all ones.
            let _ = writeln!(text, "        constant({name:?}, {name} as u64),");
        }
        for (name, fields) in &self.structures {
            let _ = writeln!(text, "        structure::<{name}>({name:?}),");
            for Field { name: field, .. } in fields {
                let _ = writeln!(
                    text,
                    "        field({name:?}, {field:?}, core::mem::offset_of!({name}, {field}), \
                     |whole: &{name}| &whole.{field}),"
                );
            }
        }
        text + "    ]\n}\n"
    }
}

fn field(field: &syn::Field) -> Result<Field> {
    let name = field.ident.as_ref().ok_or("a field without a name")?;
    let array = match &field.ty {
        syn::Type::Array(_) => true,
        syn::Type::Path(_) => false,
        _ => return Err(format!("{name} is neither an integer nor an array").into()),
    };
    Ok(Field {
        name: name.to_string(),
        array,
    })
}

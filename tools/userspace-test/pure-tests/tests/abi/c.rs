// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The C compiler's view, of 64 and of 32 bits.
//!
//! Nothing is linked and nothing is run: the numbers are made to appear in the
//! assembler's text, as the kernel does it for its `asm-offsets.h`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::view::{constant_line, field_line, structure_line, tree, Shape};

include!(concat!(env!("OUT_DIR"), "/names.rs"));

/// Runs a compiler on `source`; returns what it wrote, and its warnings and
/// errors.
pub(crate) fn compile(program: &str, args: &[&str], source: &str) -> (String, String) {
    let mut command = Command::new(program);
    command
        .args(args)
        .arg("-I")
        .arg(tree("include/uapi"))
        .arg("-");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn();
    let mut child = child.unwrap_or_else(|error| panic!("cannot run `{program}`: {error}"));
    let mut stdin = child.stdin.take().expect("it was just asked for");
    // A compiler reads all of its source before it writes anything.
    stdin
        .write_all(source.as_bytes())
        .expect("the compiler reads its source");
    drop(stdin);
    let output = child.wait_with_output().expect("the compiler ends");
    let text = |bytes| String::from_utf8(bytes).expect("compilers write UTF-8");
    let (written, mut words) = (text(output.stdout), text(output.stderr));
    if !output.status.success() {
        words += &format!("{command:?}: {}", output.status);
    }
    (written, words)
}

/// The C compiler that makes programs.
pub(crate) fn cc() -> String {
    std::env::var("CC").unwrap_or_else(|_| "gcc".to_owned())
}

/// A function whose assembler text has a line "-> KIND NAME NUMBERS" for each
/// name.
fn source() -> String {
    let mut text = r#"
        #include <linux/userdma.h>
        #define CONSTANT(name, wide) \
            __asm__ volatile("\n-> constant " name " %c0 %c1" \
                : : "i"((unsigned int)((wide) >> 32)), "i"((unsigned int)(wide)))
        #define STRUCT(s) \
            __asm__ volatile("\n-> struct " #s " %c0 %c1" \
                : : "i"(sizeof(struct s)), "i"(__alignof__(struct s)))
        #define FIELD(s, f, element) \
            __asm__ volatile("\n-> field " #s " " #f " %c0 %c1 %c2 %c3" \
                : : "i"(__builtin_offsetof(struct s, f)), "i"(sizeof(((struct s *)0)->f)), \
                "i"(sizeof(((struct s *)0)->element)), \
                "i"((__typeof__(((struct s *)0)->element))-1 < 0))
        void view(void);
        void view(void) {
    "#
    .to_owned();
    for name in CONSTANTS {
        text += &format!("CONSTANT(\"{name}\", (unsigned long long)({name}));\n");
    }
    for (name, fields) in STRUCTURES {
        text += &format!("STRUCT({name});\n");
        for (field, array) in *fields {
            let element = if *array { "[0]" } else { "" };
            text += &format!("FIELD({name}, {field}, {field}{element});\n");
        }
    }
    text + "}\n"
}

/// Gives the view of the C compiler with `bits`: "-m64" or "-m32".
pub(crate) fn view(bits: &str) -> Vec<String> {
    let args = [bits, "-x", "c", "-S", "-O1", "-Wall", "-Werror", "-o", "-"];
    let (assembler, words) = compile(&cc(), &args, &source());
    assert!(
        words.is_empty(),
        "{bits}: it must compile, without a warning: {words}"
    );
    let lines = assembler
        .lines()
        .filter_map(|line| line.strip_prefix("-> "));
    lines.map(line).collect()
}

/// Makes a view's line of what the compiler said.
fn line(said: &str) -> String {
    let mut words = said.split(' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("too short: {said}"));
    let kind = word();
    let name = word();
    let field = if kind == "field" { word() } else { "" };
    let numbers: Vec<i64> = words
        .map(|word| word.parse().unwrap_or_else(|_| panic!("no number: {said}")))
        .collect();
    let size = |value: i64| usize::try_from(value).expect("a size is not negative");
    match (kind, numbers[..].as_ref()) {
        // A half above 31 bits may be printed as a negative number.
        ("constant", &[high, low]) => {
            let half = |value: i64| (value & 0xffff_ffff).unsigned_abs();
            constant_line(name, (half(high) << 32) | half(low))
        }
        ("struct", &[bytes, align]) => structure_line(name, size(bytes), size(align)),
        ("field", &[offset, bytes, element, signed]) => {
            let elements = size(bytes) / size(element);
            let array = STRUCTURES
                .iter()
                .any(|(structure, fields)| *structure == name && fields.contains(&(field, true)));
            let shape = Shape {
                size: size(element),
                signed: signed != 0,
                elements: array.then_some(elements),
            };
            field_line(name, field, size(offset), shape)
        }
        _ => panic!("what is this: {said}"),
    }
}

#[test]
fn programs_of_32_bits_see_what_those_of_64_see() {
    crate::view::assert_same("- 64 bits, + 32 bits", &view("-m64"), &view("-m32"));
}

/// bindgen leaves out, silently, what it cannot evaluate.
#[test]
fn every_macro_is_seen_from_rust() {
    let source = "#include <linux/userdma.h>\n";
    let (macros, words) = compile(&cc(), &["-x", "c", "-E", "-dM"], source);
    assert!(words.is_empty(), "{words}");
    let names = macros
        .lines()
        .filter_map(|line| line.strip_prefix("#define "));
    let names = names.filter_map(|line| line.split([' ', '(']).next());
    let ours: Vec<&str> = names.filter(|name| name.starts_with("USERDMA_")).collect();
    assert!(ours.contains(&"USERDMA_ABI_VERSION"), "{ours:?}");
    for name in ours {
        assert!(
            CONSTANTS.contains(&name),
            "{name} is not in the Rust bindings"
        );
    }
}

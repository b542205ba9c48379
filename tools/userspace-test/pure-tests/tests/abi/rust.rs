// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The views of the library's and of the kernel's Rust types.

use core::mem::{align_of, size_of};

use crate::c;
use crate::view::{assert_same, constant_line, field_line, structure_line, Shape};

trait Integer {
    const SHAPE: Shape;
}

macro_rules! integers {
    ($($name:ident: $signed:literal,)*) => {
        $(impl Integer for $name {
            const SHAPE: Shape = Shape {
                size: size_of::<$name>(),
                signed: $signed,
                elements: None,
            };
        }

        impl<const N: usize> Integer for [$name; N] {
            const SHAPE: Shape = Shape {
                elements: Some(N),
                ..<$name as Integer>::SHAPE
            };
        })*
    };
}

integers! {
    u8: false, u16: false, u32: false, u64: false,
    i8: true, i16: true, i32: true, i64: true,
}

fn constant(name: &str, value: u64) -> String {
    constant_line(name, value)
}

fn structure<S>(name: &str) -> String {
    structure_line(name, size_of::<S>(), align_of::<S>())
}

/// `_get` only tells the compiler which type the field has.
fn field<S, F: Integer>(structure: &str, name: &str, offset: usize, _get: fn(&S) -> &F) -> String {
    field_line(structure, name, offset, F::SHAPE)
}

#[allow(clippy::unnecessary_cast)]
mod library {
    use super::{constant, field, structure};
    use userdma::sys::*;

    include!(concat!(env!("OUT_DIR"), "/layout.rs"));
}

#[allow(
    dead_code,
    non_camel_case_types,
    unreachable_pub,
    clippy::all,
    clippy::pedantic
)]
mod module {
    use super::{constant, field, structure};

    /// What the bindings need of the kernel's own crate.
    mod kernel {
        pub(super) mod ffi {
            pub(crate) use core::ffi::{c_int, c_uint, c_ulonglong, c_ushort};
            pub(crate) type c_char = u8;
        }
    }

    include!(concat!(env!("OUT_DIR"), "/kernel.rs"));
    include!(concat!(env!("OUT_DIR"), "/layout.rs"));
}

#[test]
fn the_library_sees_what_c_sees() {
    assert_same("- C, + the library", &c::view("-m64"), &library::lines());
}

#[test]
fn the_kernel_module_sees_what_c_sees() {
    assert_same("- C, + the module", &c::view("-m64"), &module::lines());
}

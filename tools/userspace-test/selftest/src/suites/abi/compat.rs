// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The ABI as 32-bit programs see it: through the 32-bit system call gate,
//! which 64-bit code can use too (`int 0x80`), with memory below 4 GiB.

use std::arch::asm;
use std::os::fd::{AsFd as _, AsRawFd as _};

use nix::errno::Errno;

use super::call::{Access, Command};
use super::scene::{outputs, Scene};
use crate::child::{spawn, Exit};
use crate::memory::{Mapping, PAGE, RW};
use crate::outcome::{Context as _, Outcome};
use crate::raw::{wide, Sys};
use crate::registry::Context;

/// Numbers of the 32-bit table.
const GETPID: u32 = 20;
const IOCTL: u32 = 54;
const MMAP2: u32 = 192;
const MUNMAP: u32 = 91;

/// A system call through the 32-bit gate.
///
/// # Safety
///
/// As for the call itself.
unsafe fn call32(number: u32, arguments: [u32; 6]) -> Sys<u32> {
    let [a, b, c, d, e, f] = arguments.map(u64::from);
    let result: u64;
    // SAFETY: the caller answers for the call. rbx and rbp belong to the compiler and are put
    // back; the gate zeroes or keeps r8 to r11.
    unsafe {
        asm!(
            "xchg {b}, rbx",
            "push rbp",
            "mov rbp, {f}",
            "int 0x80",
            "pop rbp",
            "xchg {b}, rbx",
            b = inout(reg) a => _,
            f = in(reg) f,
            inlateout("rax") u64::from(number) => result,
            in("rcx") b,
            in("rdx") c,
            in("rsi") d,
            in("rdi") e,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    // The result is 32 bits, sign-extended or not.
    let bytes = result.to_le_bytes();
    let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
    match i32::from_le_bytes(bytes) {
        error @ -4095..=-1 => Err(Errno::from_raw(-error)),
        _ => Ok(u32::from_le_bytes(bytes)),
    }
}

/// Whether this kernel lets 32-bit code run.
fn has_gate() -> Outcome<bool> {
    // Without IA32 emulation the interrupt is a SIGSEGV.
    let exit = spawn(|| {
        // SAFETY: getpid touches no memory.
        let pid = unsafe { call32(GETPID, [0; 6]) }?;
        check_eq!(pid, std::process::id());
        Ok(())
    })?
    .wait()?;
    Ok(exit == Exit::Code(0))
}

/// Every command gives the same bytes and the same errors as in 64 bits.
pub(super) fn all_commands(context: &mut Context) -> Outcome {
    if !has_gate()? {
        skip!("needs a kernel with IA32_EMULATION");
    }
    let scene = Scene::new(context.card(), Access::ReadWrite)?;
    let memory = Mapping::anonymous_with(2 * PAGE, libc::MAP_32BIT)?;
    let array = Mapping::anonymous_with(PAGE, libc::MAP_32BIT)?;
    let address = u32::try_from(memory.address())?;
    let fd = u32::try_from(scene.device.as_fd().as_raw_fd())?;
    let ioctl = |number: u32, address: u32| {
        // SAFETY: `memory` and `array` are the kernel's to write to.
        unsafe { call32(IOCTL, [fd, number, address, 0, 0, 0]) }
    };
    for command in Command::ALL {
        let what = || format!("{} from 32-bit code", command.name());
        let mut call = scene.valid(command)?;
        array.write(0, &call.array);
        if let Some(offset) = command.entries() {
            call.set_u64(offset, wide(array.address()));
        }
        memory.write(0, &call.bytes);
        check_eq!(ioctl(command.number(), address), Ok(0), "{}", what());
        let bytes = memory.read(0, command.size());
        scene.undo(&call, &bytes).context(what)?;
        if matches!(command, Command::Info | Command::BufInfo) {
            let same = scene.valid(command)?.make(&scene.device)?;
            check_eq!(bytes, same.bytes, "{}", what());
        }
        let silent = [Command::BufFree, Command::BufSync, Command::Eventfd].contains(&command);
        check_eq!(outputs(command).is_empty(), silent);
        memory.write(0, &call.bytes);
        memory.write(0, &3_u32.to_ne_bytes());
        check_err!(
            ioctl(command.number(), address),
            EINVAL,
            "{}: size 3",
            what()
        );
        check_err!(ioctl(command.number(), 0), EFAULT, "{}: NULL", what());
        let odd = command.number() | (3 << 30);
        check_err!(ioctl(odd, address), ENOTTY, "{}: direction bits", what());
    }
    map(&scene, fd)
}

/// A 32-bit program passes a cookie in pages and maps the same memory.
fn map(scene: &Scene, fd: u32) -> Outcome {
    let info = scene.device.buffer_info(scene.buffer)?;
    let wide_map = Mapping::of(&scene.device, info.out_mmap_offset, PAGE, RW)?;
    wide_map.fill(0..PAGE, 0x5e);
    let length = u32::try_from(PAGE)?;
    let pages = u32::try_from(info.out_mmap_offset / wide(PAGE))?;
    let (protection, flags) = (u32::try_from(RW)?, u32::try_from(libc::MAP_SHARED)?);
    // SAFETY: no MAP_FIXED.
    let address = unsafe { call32(MMAP2, [0, length, protection, flags, fd, pages]) }?;
    let pointer: *const u8 = std::ptr::with_exposed_provenance(crate::raw::size(address.into()));
    // SAFETY: the kernel has just mapped it.
    let byte = unsafe { pointer.read_volatile() };
    // SAFETY: nothing refers to it any more.
    unsafe { call32(MUNMAP, [address, length, 0, 0, 0, 0]) }?;
    check_eq!(byte, 0x5e);
    Ok(())
}

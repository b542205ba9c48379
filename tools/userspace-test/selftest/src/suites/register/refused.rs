// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Memory that cannot be registered, or not for everything.

use std::fs::OpenOptions;
use std::os::fd::{FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use userdma::sys;

use super::{register, set_card};
use crate::account::Account;
use crate::device::{from_card, to_card};
use crate::disk;
use crate::memory::{Mapping, PAGE, RO, RW};
use crate::outcome::{same_bytes, Context as _, Outcome};
use crate::raw;
use crate::registry::Context;
use crate::requests::contents;

const SOURCE: u32 = sys::USERDMA_REGISTER_SOURCE;

/// CVE-2021-28664: a card that writes to memory which the program may only read.
pub(super) fn source(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = Account::now()?;
    let bytes = context.bytes(2 * PAGE);
    let protected = Mapping::anonymous(2 * PAGE)?;
    protected.write(0, &bytes);
    protected.protect(0..2 * PAGE, RO)?;
    // A file that is open to be read only, and one that may be written but is not here.
    let fd = crate::kinds::memfd(false, 2 * PAGE)?;
    Mapping::of(&fd, 0, 2 * PAGE, RW)?.write(0, &bytes);
    let shared = Mapping::of(&fd, 0, 2 * PAGE, RO)?;
    let private = Mapping::with(&fd, 0, 2 * PAGE, RO, libc::MAP_PRIVATE)?;
    let zero = Mapping::anonymous(2 * PAGE)?;
    zero.protect(0..2 * PAGE, RO)?;
    for (what, memory, want) in [
        ("PROT_READ", &protected, &bytes),
        ("shared, read-only", &shared, &bytes),
        ("private, read-only", &private, &bytes),
        ("never written", &zero, &vec![0; 2 * PAGE]),
    ] {
        let what = || what.to_owned();
        let result = register(&device, memory, 100, 5000, 0);
        check_err!(result, EFAULT, "{} without the flag", what());
        before.settle().context(what)?;
        let registered = register(&device, memory, 100, 5000, SOURCE)?;
        let state = device.buffer_info(registered.handle)?.out_state;
        check!(state & sys::USERDMA_BUF_SOURCE != 0, "{}", what());
        set_card(context, &device)?;
        check_err!(
            device.submit(&[from_card(registered.handle, 0, 100, 0)]),
            EACCES,
            "{}",
            what()
        );
        device.run_well(&[to_card(registered.handle, 3900, 300, 7)])?;
        let there = contents(&device)?;
        same_bytes(&there[7..307], &want[4000..4300], "to the card").context(what)?;
        same_bytes(&memory.read(0, 2 * PAGE), want, "afterwards").context(what)?;
        device.free(registered.handle)?;
        before.settle().context(what)?;
    }
    // Writable memory as a source is a source too.
    let memory = Mapping::anonymous(PAGE)?;
    let registered = register(&device, &memory, 0, PAGE, SOURCE)?;
    check_err!(
        device.submit(&[from_card(registered.handle, 0, 1, 0)]),
        EACCES
    );
    // And stays one when the program may write again, or never could.
    check_err!(
        device.sync(registered.handle, 0, 1, sys::USERDMA_SYNC_FOR_CPU),
        EACCES
    );
    device.free(registered.handle)?;
    // Write-only memory is for both ways on this machine.
    let memory = Mapping::anonymous(PAGE)?;
    memory.protect(0..PAGE, libc::PROT_NONE)?;
    for flags in [0, SOURCE] {
        check_err!(
            register(&device, &memory, 0, PAGE, flags),
            EFAULT,
            "PROT_NONE"
        );
    }
    before.settle()
}

/// Whatever was pinned before the hole is let go.
pub(super) fn hole(context: &mut Context) -> Outcome {
    const LENGTH: usize = 1200 * PAGE;
    let device = context.open()?;
    let before = Account::now()?;
    // At the beginning, in the middle, behind the first thousand, and at the end.
    for hole in [0, 1, 600, 1100, 1199] {
        let memory = Mapping::anonymous(LENGTH)?;
        memory.fill(0..LENGTH, 1);
        memory.unmap(hole * PAGE..(hole + 1) * PAGE)?;
        let result = register(&device, &memory, 8, LENGTH - 16, 0);
        check_err!(result, EFAULT, "a hole at page {hole}");
        before.check()?;
        // The same where it may only not be written.
        let memory = Mapping::anonymous(LENGTH)?;
        memory.protect(hole * PAGE..(hole + 1) * PAGE, RO)?;
        let result = register(&device, &memory, 8, LENGTH - 16, 0);
        check_err!(result, EFAULT, "a read-only page {hole}");
        before.check()?;
        let registered = register(&device, &memory, 8, LENGTH - 16, SOURCE)?;
        device.free(registered.handle)?;
        before.check()?;
    }
    Ok(())
}

/// A file system keeps track of who writes to its pages; a card does not tell.
pub(super) fn shared_file(context: &mut Context) -> Outcome {
    let mounted = disk::mount_files("shared")?;
    let path = mounted.path().join("shared");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)?;
    let bytes = context.bytes(4 * PAGE);
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0)?;
    let device = context.open()?;
    let before = Account::now()?;
    let shared = Mapping::of(&file, 0, 4 * PAGE, RW)?;
    check_err!(
        register(&device, &shared, 0, PAGE, 0),
        EFAULT,
        "not touched"
    );
    // Also when it is there and dirty.
    shared.write(0, &bytes);
    check_err!(
        register(&device, &shared, 0, 4 * PAGE, 0),
        EFAULT,
        "touched"
    );
    before.check()?;
    // The card may read it: that changes nothing.
    let registered = register(&device, &shared, 10, 3 * PAGE, SOURCE)?;
    device.run_well(&[to_card(registered.handle, 0, 500, 0)])?;
    same_bytes(&contents(&device)?[..500], &bytes[10..510], "out of a file")?;
    device.free(registered.handle)?;
    // A private mapping is the program's own memory as soon as it is written to.
    let private = Mapping::with(&file, 0, 4 * PAGE, RW, libc::MAP_PRIVATE)?;
    let registered = register(&device, &private, 10, 3 * PAGE, 0)?;
    let there = set_card(context, &device)?;
    device.run_well(&[from_card(registered.handle, 90, 500, 0)])?;
    same_bytes(&private.read(100, 500), &there[..500], "private")?;
    same_bytes(&shared.read(0, 4 * PAGE), &bytes, "the file itself")?;
    device.free(registered.handle)?;
    before.settle()
}

/// The registers of some card of the machine that no driver has taken.
fn registers() -> Outcome<Mapping> {
    for path in glob::glob("/sys/bus/pci/devices/*/resource[0-5]")?.flatten() {
        let file = OpenOptions::new().read(true).write(true).open(&path);
        // Those of ports cannot be mapped, nor those of a card that is in use.
        if let Ok(Ok(registers)) = file.map(|file| Mapping::of(&file, 0, PAGE, RW)) {
            println!("{}", path.display());
            return Ok(registers);
        }
    }
    skip!("needs a PCI device whose registers can be mapped")
}

/// Registers of a card are not memory (VM_IO).
pub(super) fn regions(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = Account::now()?;
    let registers = registers()?;
    for flags in [0, SOURCE] {
        check_err!(register(&device, &registers, 0, PAGE, flags), EFAULT);
    }
    before.check()
}

/// memfd_secret(): not even the kernel looks at it.
pub(super) fn secret(context: &mut Context) -> Outcome {
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let fd = match Errno::result(fd) {
        Ok(fd) => i32::try_from(fd)?,
        Err(Errno::ENOSYS) => skip!("needs a kernel with memfd_secret"),
        Err(error) => return Err(error.into()),
    };
    // SAFETY: it was just opened, and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::fs::ftruncate(&fd, raw::wide(2 * PAGE))?;
    let memory = Mapping::of(&fd, 0, 2 * PAGE, RW)?;
    memory.fill(0..2 * PAGE, 0x5e);
    let device = context.open()?;
    let before = Account::now()?;
    for flags in [0, SOURCE] {
        check_err!(register(&device, &memory, 0, 2 * PAGE, flags), EFAULT);
        check_err!(device.register_memfd(&fd, 0, PAGE, flags), EINVAL);
    }
    before.check()
}

pub(super) fn no_bounce(context: &mut Context) -> Outcome {
    const NO_BOUNCE: u32 = sys::USERDMA_REGISTER_NO_BOUNCE;
    let device = context.open()?;
    let before = Account::now()?;
    let memory = Mapping::anonymous(2 * PAGE)?;
    check_err!(
        register(&device, &memory, 0, PAGE, NO_BOUNCE),
        EADDRNOTAVAIL
    );
    before.check()?;
    let registered = register(&device, &memory, 0, PAGE, 0)?;
    check_eq!(registered.segments, 0);
    let state = device.buffer_info(registered.handle)?.out_state;
    check!(state & sys::USERDMA_BUF_BOUNCED != 0);
    device.free(registered.handle)?;
    before.check()
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! read and write of any kind: the card's memory at the file position.

mod ends;
mod sleep;

use nix::errno::Errno;

use crate::device::Device;
use crate::memory::{Mapping, PAGE, RO};
use crate::outcome::{all_bytes, same_bytes, Context as _, Outcome};
use crate::raw::{self, size};
use crate::registry::{Context, Need, Test};
use crate::requests::{contents, pread, pwrite, set_contents, vector, vectored};

pub(super) const TESTS: &[Test] = &[
    Test::new(
        "rw.round_trip",
        "written and read back, whole and in parts",
        round_trip,
    ),
    Test::new(
        "rw.position",
        "the file position of read, write and their p forms",
        ends::position,
    ),
    Test::new("rw.ends", "at, before and past the end", ends::ends),
    Test::new("rw.seek", "lseek of every kind, to everywhere", ends::seek),
    Test::new(
        "rw.offsets",
        "offsets that are negative or wrap",
        ends::offsets,
    ),
    Test::new(
        "rw.misaligned",
        "any offset, length and address; nothing beside it changes",
        misaligned,
    ),
    Test::new(
        "rw.vectors",
        "readv and writev: many, empty, too many, bad",
        vectors,
    ),
    Test::new(
        "rw.bad_pointers",
        "memory that cannot be read or written",
        bad_pointers,
    ),
    Test::new(
        "rw.access",
        "O_RDONLY does not write, O_WRONLY does not read",
        access,
    ),
    Test::new(
        "rw.nonblock",
        "O_NONBLOCK transfers as a block device does",
        sleep::nonblock,
    ),
    Test::new(
        "rw.signal",
        "a signal ends a read that waits, and the card goes on",
        sleep::signal,
    )
    .needs(&[Need::Slow]),
    Test::new(
        "rw.signal_write",
        "a signal ends a write that waits",
        sleep::signal_write,
    )
    .needs(&[Need::Slow]),
    Test::new(
        "rw.threads",
        "two threads read one file at once",
        sleep::threads,
    ),
    Test::new(
        "rw.no_records",
        "read and write leave no record and wake no poll",
        sleep::no_records,
    ),
    Test::new(
        "rw.files_share",
        "files on one card see one memory",
        files_share,
    ),
];

fn round_trip(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let length = size(device.info()?.out_card_size);
    for _ in 0..context.times(2) {
        let bytes = context.bytes(length);
        set_contents(&device, &bytes)?;
        same_bytes(&contents(&device)?, &bytes, "the whole memory")?;
    }
    Ok(())
}

/// Random places and lengths, with the device's and the program's bytes around
/// them watched.
fn misaligned(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let end = size(device.info()?.out_card_size);
    let mut card = context.bytes(end);
    set_contents(&device, &card)?;
    let memory = Mapping::anonymous(end + 2 * PAGE)?;
    let shapes = [
        (1, 1),
        (1, 7),
        (3, 61),
        (0, 1),
        (511, 513),
        (1000, 2049),
        (4001, 95),
    ];
    for round in 0..context.times(12) {
        let (place, length) = match shapes.get(size(round.into())) {
            Some(shape) => *shape,
            None => {
                let length = context.between(1, end / 4);
                (context.between(0, end - length), length)
            }
        };
        let (address, offset) = (context.between(0, PAGE), i64::try_from(place)?);
        let what = || format!("{length} bytes at {place}, memory at {address}");
        let bytes = context.bytes(length);
        memory.fill(0..memory.length(), 0xf1);
        memory.write(address, &bytes);
        let got = pwrite(&device, memory.address() + address, length, offset);
        check_eq!(got, Ok(length), "{}", what());
        card[place..place + length].copy_from_slice(&bytes);
        memory.fill(0..memory.length(), 0xf2);
        // A little more than was written, where there is more.
        let begin = place.saturating_sub(5);
        let more = (place + length + 5).min(end) - begin;
        let got = pread(
            &device,
            memory.address() + address,
            more,
            i64::try_from(begin)?,
        );
        check_eq!(got, Ok(more), "{}", what());
        same_bytes(
            &memory.read(address, more),
            &card[begin..begin + more],
            "what was read",
        )
        .context(what)?;
        all_bytes(&memory.read(0, address), 0xf2, "memory before").context(what)?;
        let rest = memory.length() - address - more;
        all_bytes(&memory.read(address + more, rest), 0xf2, "memory behind").context(what)?;
    }
    same_bytes(&contents(&device)?, &card, "the card in the end")
}

fn vectors(context: &mut Context) -> Outcome {
    const READ: i64 = libc::SYS_preadv;
    const WRITE: i64 = libc::SYS_pwritev;
    let device = context.open()?;
    let memory = Mapping::anonymous(4 * PAGE)?;
    let bytes = context.bytes(300);
    memory.write(0, &bytes);
    // In pieces of every kind, empty ones among them.
    let pieces = [
        vector(&memory, 0, 1),
        vector(&memory, 1, 0),
        vector(&memory, 1, 199),
    ];
    let last = [vector(&memory, 200, 0), vector(&memory, 200, 100)];
    check_eq!(
        vectored(WRITE, &device, &[&pieces[..], &last].concat(), 100),
        Ok(300)
    );
    let there = [
        vector(&memory, 2 * PAGE - 7, 7),
        vector(&memory, 3 * PAGE, 0),
        vector(&memory, 3 * PAGE + 1, 293),
    ];
    check_eq!(vectored(READ, &device, &there, 100), Ok(300));
    same_bytes(
        &memory.read(2 * PAGE - 7, 7),
        &bytes[..7],
        "the first piece",
    )?;
    same_bytes(
        &memory.read(3 * PAGE + 1, 293),
        &bytes[7..],
        "the last piece",
    )?;
    check_eq!(memory.byte(2 * PAGE), 0);
    check_eq!(memory.byte(3 * PAGE), 0);

    // Nothing at all.
    check_eq!(vectored(READ, &device, &[], 0), Ok(0));
    check_eq!(vectored(WRITE, &device, &[vector(&memory, 0, 0)], 0), Ok(0));

    // As many as there may be, and one more.
    let many = vec![vector(&memory, 0, 1); 1025];
    check_eq!(vectored(WRITE, &device, &many[..1024], 0), Ok(1024));
    check_err!(vectored(WRITE, &device, &many, 0), EINVAL, "1025 pieces");
    check_err!(vectored(READ, &device, &many, 0), EINVAL, "1025 pieces");

    // A bad second piece: what was before it counts.
    let none = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 50,
    };
    let bad = [vector(&memory, 0, 100), none];
    memory.fill(0..PAGE, 0x19);
    check_eq!(vectored(WRITE, &device, &bad, 0), Ok(100), "write");
    memory.fill(0..PAGE, 0x91);
    let result = vectored(READ, &device, &bad, 0);
    check_eq!(result, Ok(100), "read");
    all_bytes(&memory.read(0, 100), 0x19, "the good piece")?;
    check_err!(
        vectored(READ, &device, &[none], 0),
        EFAULT,
        "only a bad piece"
    );
    check_err!(
        vectored(WRITE, &device, &[none, vector(&memory, 0, 8)], 0),
        EFAULT,
        "bad first"
    );
    // A length that no memory has.
    let negative = libc::iovec {
        iov_len: usize::MAX,
        ..vector(&memory, 0, 0)
    };
    check_err!(
        vectored(READ, &device, &[negative], 0),
        EINVAL,
        "a negative length"
    );
    Ok(())
}

fn bad_pointers(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let before = context.bytes(size(device.info()?.out_card_size));
    set_contents(&device, &before)?;
    let memory = Mapping::anonymous(3 * PAGE)?;
    memory.unmap(PAGE..2 * PAGE)?;
    let base = memory.address();
    for (address, what) in [
        (0, "NULL"),
        (base + PAGE, "unmapped"),
        (0xffff_8880_0010_0000, "kernel address"),
    ] {
        check_err!(pread(&device, address, 64, 0), EFAULT, "read, {what}");
        check_err!(pwrite(&device, address, 64, 0), EFAULT, "write, {what}");
    }
    memory.protect(2 * PAGE..3 * PAGE, RO)?;
    check_err!(
        pread(&device, base + 2 * PAGE, 64, 0),
        EFAULT,
        "read into read-only memory"
    );
    memory.protect(2 * PAGE..3 * PAGE, libc::PROT_NONE)?;
    check_err!(
        pwrite(&device, base + 2 * PAGE, 64, 0),
        EFAULT,
        "write from PROT_NONE"
    );
    same_bytes(
        &contents(&device)?,
        &before,
        "the card after all that failed",
    )?;

    // Into the hole: what fits counts, or the call fails as a whole; never more than fits.
    memory.fill(PAGE - 10..PAGE, 0x0f);
    match pwrite(&device, base + PAGE - 10, 20, 0) {
        Ok(done @ 1..=10) => {
            let now = contents(&device)?;
            all_bytes(&now[..done], 0x0f, "what was written")?;
            same_bytes(&now[done..], &before[done..], "what was not")?;
        }
        Err(Errno::EFAULT) => same_bytes(&contents(&device)?, &before, "the card")?,
        other => fail!("write into a hole: {other:?}"),
    }
    match pread(&device, base + PAGE - 10, 20, 100) {
        Ok(done @ 1..=10) => {
            same_bytes(
                &memory.read(PAGE - 10, done),
                &before[100..100 + done],
                "what was read",
            )?;
        }
        Err(Errno::EFAULT) => {}
        other => fail!("read into a hole: {other:?}"),
    }
    Ok(())
}

fn access(context: &mut Context) -> Outcome {
    let path = context.card().path.clone();
    let memory = Mapping::anonymous(PAGE)?;
    let address = memory.address();
    let reader = Device::open_with(&path, libc::O_RDONLY)?;
    check_err!(pwrite(&reader, address, 8, 0), EBADF);
    check_eq!(pread(&reader, address, 8, 0), Ok(8));
    let writer = Device::open_with(&path, libc::O_WRONLY)?;
    check_err!(pread(&writer, address, 8, 0), EBADF);
    memory.fill(0..8, 0x31);
    check_eq!(pwrite(&writer, address, 8, 0), Ok(8));
    memory.fill(0..8, 0);
    check_eq!(pread(&reader, address, 8, 0), Ok(8));
    all_bytes(&memory.read(0, 8), 0x31, "what the other wrote")
}

fn files_share(context: &mut Context) -> Outcome {
    let (a, b) = (context.open()?, context.open()?);
    let bytes = context.bytes(size(a.info()?.out_card_size));
    set_contents(&a, &bytes)?;
    same_bytes(&contents(&b)?, &bytes, "through another file")?;
    // Each has its own position.
    check_eq!(raw::lseek(&a, 10, libc::SEEK_SET), Ok(10));
    check_eq!(raw::lseek(&b, 0, libc::SEEK_CUR), Ok(0));
    Ok(())
}

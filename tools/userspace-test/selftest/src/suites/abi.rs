// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The ABI itself: sizes, flags, reserved fields, pointers, errors, for every
//! command, generated from one table.

mod arrays;
mod call;
mod compat;
mod race;
mod scene;
mod table;

use nix::errno::Errno;
use userdma::sys;

use crate::device::Device;
use crate::guest::Card;
use crate::memory::{Mapping, PAGE};
use crate::outcome::{all_bytes, same_bytes, Context as _, Outcome};
use crate::raw;
use crate::registry::{Context, Test};
use call::{Access, Call, Command};
use scene::Scene;
use table::{rows, Row, Stage, Want};

pub(super) use table::rest as errno_table;

pub(super) const TESTS: &[Test] = &[
    Test::new("abi.info", "table of errors for INFO", |c| {
        command(c, Command::Info)
    }),
    Test::new("abi.buf_alloc", "table of errors for BUF_ALLOC", |c| {
        command(c, Command::BufAlloc)
    }),
    Test::new("abi.buf_info", "table of errors for BUF_INFO", |c| {
        command(c, Command::BufInfo)
    }),
    Test::new("abi.buf_free", "table of errors for BUF_FREE", |c| {
        command(c, Command::BufFree)
    }),
    Test::new("abi.submit", "table of errors for SUBMIT", |c| {
        command(c, Command::Submit)
    }),
    Test::new("abi.wait", "table of errors for WAIT", |c| {
        command(c, Command::Wait)
    }),
    Test::new("abi.cancel", "table of errors for CANCEL", |c| {
        command(c, Command::Cancel)
    }),
    Test::new(
        "abi.buf_register",
        "table of errors for BUF_REGISTER",
        |c| command(c, Command::BufRegister),
    ),
    Test::new("abi.buf_sync", "table of errors for BUF_SYNC", |c| {
        command(c, Command::BufSync)
    }),
    Test::new("abi.eventfd", "table of errors for EVENTFD", |c| {
        command(c, Command::Eventfd)
    }),
    Test::new(
        "abi.order",
        "two faults at once: the one that is checked first",
        order,
    ),
    Test::new("abi.flags", "every single unknown flag", flags),
    Test::new(
        "abi.numbers",
        "every unknown and reserved command number",
        numbers,
    ),
    Test::new(
        "abi.page_edge",
        "every argument against an unmapped page, byte by byte",
        page_edge,
    ),
    Test::new(
        "abi.batch_prefix",
        "SUBMIT accepts the entries before a bad one",
        arrays::prefix,
    ),
    Test::new(
        "abi.batch_pointer",
        "entries that run into an unmapped page",
        arrays::pointer,
    ),
    Test::new(
        "abi.batch_count",
        "counts whose bytes wrap 32 and 64 bits",
        arrays::count,
    ),
    Test::new(
        "abi.records",
        "records of WAIT: entry_size, tails, bad memory, none lost",
        arrays::records,
    ),
    Test::new(
        "abi.wait_over_submit",
        "WAIT writes over the array of SUBMIT",
        arrays::overlap,
    ),
    Test::new(
        "abi.compat32",
        "every command from 32-bit code",
        compat::all_commands,
    ),
    Test::new(
        "abi.double_fetch",
        "a thread flips the argument during the call",
        race::double_fetch,
    ),
    Test::new(
        "abi.double_fetch_entries",
        "a thread flips an entry during SUBMIT",
        race::entries,
    )
    .seconds(120),
];

/// Every row for one command.
fn command(context: &mut Context, command: Command) -> Outcome {
    for access in [Access::ReadWrite, Access::ReadOnly, Access::WriteOnly] {
        let scene = Scene::new(context.card(), access)?;
        for row in rows() {
            if row.access != access || !row.on.contains(&command) {
                continue;
            }
            let mut call = scene.valid(command)?;
            (row.apply)(&mut call);
            one(&scene, &call, row.want)
                .context(|| format!("{}: {}", command.name(), row.cause))?;
        }
    }
    Ok(())
}

/// Every call of the table, made ready to be done later.
pub(super) struct Calls {
    calls: Vec<(Call, usize, String)>,
    scenes: Vec<Scene>,
}

impl Calls {
    /// Each call, the files that it belongs to, and what it is.
    pub(super) fn calls(&self) -> impl Iterator<Item = (&Call, &Scene, &str)> {
        let scene = |number: usize| &self.scenes[number];
        self.calls
            .iter()
            .map(move |(call, number, what)| (call, scene(*number), what.as_str()))
    }
}

/// Makes every call of the table ready, for a card that will be gone.
pub(super) fn all_calls(card: &Card) -> Outcome<Calls> {
    let (mut calls, mut scenes) = (Vec::new(), Vec::new());
    let all = [Access::ReadWrite, Access::ReadOnly, Access::WriteOnly];
    for (number, access) in all.into_iter().enumerate() {
        let scene = Scene::new(card, access)?;
        for row in rows().into_iter().filter(|row| row.access == access) {
            for command in row.on {
                let mut call = scene.valid(*command)?;
                (row.apply)(&mut call);
                let what = format!("{}: {}", command.name(), row.cause);
                calls.push((call, number, what));
            }
        }
        scenes.push(scene);
    }
    Ok(Calls { calls, scenes })
}

/// Makes a call and looks at everything that it may and may not have done.
fn one(scene: &Scene, call: &Call, want: Want) -> Outcome {
    let held = scene.held()?;
    let done = call.make(&scene.device)?;
    match want {
        Want::Error(errno) => {
            check_eq!(done.result, Err(errno));
            check!(
                done.bytes.is_empty() || done.bytes == call.bytes,
                "output was written"
            );
            check!(
                done.array.is_empty() || done.array == call.array,
                "the array was written"
            );
            check_eq!(
                scene.held()?,
                held,
                "bytes of buffers: something was left behind"
            );
            scene.device.check_idle()?;
            if let Some(victim) = call.victim {
                check_eq!(
                    scene.device.buffer_info(victim).map(drop),
                    Ok(()),
                    "it was freed"
                );
                scene.device.free(victim)?;
            }
        }
        Want::Ok => {
            check_eq!(done.result, Ok(0));
            let (size, given) = (call.command.size(), call.given());
            if !done.bytes.is_empty() {
                all_bytes(
                    &done.bytes[size..],
                    0,
                    "the tail that the kernel does not know",
                )?;
                let behind = given.min(done.bytes.len());
                same_bytes(
                    &done.bytes[behind..],
                    &call.bytes[behind..],
                    "what the caller does not know",
                )?;
            }
            scene.undo(call, &done.bytes)?;
            // A victim's room was counted before it was freed.
            let freed = if call.victim.is_some() {
                raw::wide(PAGE)
            } else {
                0
            };
            check_eq!(scene.held()? + freed, held);
        }
    }
    Ok(())
}

/// Every pair of rows whose faults can be in one call: the earlier check wins.
fn order(context: &mut Context) -> Outcome {
    let rows = rows();
    let mut pairs = 0;
    for access in [Access::ReadWrite, Access::ReadOnly, Access::WriteOnly] {
        let scene = Scene::new(context.card(), access)?;
        for command in Command::ALL {
            let usable = |row: &&Row| {
                row.stage != Stage::None
                    && row.on.contains(&command)
                    && (row.access == access || row.access == Access::ReadWrite)
            };
            for first in rows.iter().filter(usable) {
                for second in rows.iter().filter(usable) {
                    let special = access == Access::ReadWrite
                        || first.access == access
                        || second.access == access;
                    if !special || first.stage >= second.stage || first.part == second.part {
                        continue;
                    }
                    let mut call = scene.valid(command)?;
                    (second.apply)(&mut call);
                    (first.apply)(&mut call);
                    one(&scene, &call, first.want).context(|| {
                        format!("{}: {} and {}", command.name(), first.cause, second.cause)
                    })?;
                    pairs += 1;
                }
            }
        }
    }
    println!("{pairs} pairs");
    check!(pairs > 100, "{pairs} pairs");
    Ok(())
}

/// Flags are refused one by one, also together with good ones.
fn flags(context: &mut Context) -> Outcome {
    let scene = Scene::new(context.card(), Access::ReadWrite)?;
    for command in Command::ALL {
        let known = match command {
            Command::BufAlloc => {
                sys::USERDMA_ALLOC_NODE | sys::USERDMA_ALLOC_FALLBACK | sys::USERDMA_ALLOC_NO_BOUNCE
            }
            Command::BufRegister => {
                sys::USERDMA_REGISTER_SOURCE
                    | sys::USERDMA_REGISTER_MEMFD
                    | sys::USERDMA_REGISTER_NO_BOUNCE
            }
            Command::BufSync => sys::USERDMA_SYNC_FOR_DEVICE | sys::USERDMA_SYNC_FOR_CPU,
            Command::Cancel => sys::USERDMA_CANCEL_ALL,
            Command::Eventfd => sys::USERDMA_EVENTFD_VECTOR,
            _ => 0,
        };
        for bit in (0..32).map(|bit| 1 << bit).filter(|bit| bit & known == 0) {
            let mut call = scene.valid(command)?;
            call.set_u32(4, bit);
            one(&scene, &call, Want::Error(Errno::EOPNOTSUPP))
                .context(|| format!("{} with flag {bit:#x}", command.name()))?;
        }
    }
    for bit in (0..32).map(|bit| 1 << bit) {
        if bit == sys::USERDMA_TRANSFER_BARRIER {
            continue;
        }
        let mut call = scene.valid(Command::Submit)?;
        call.edit(|transfer| transfer.flags = bit);
        one(&scene, &call, Want::Error(Errno::EOPNOTSUPP))
            .context(|| format!("a transfer with flag {bit:#x}"))?;
    }
    Ok(())
}

/// Numbers that no command has yet, each with a plausible argument.
fn numbers(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let memory = Mapping::anonymous(2 * PAGE)?;
    let known = Command::ALL.map(Command::number);
    let first = sys::USERDMA_IOCTL_INFO;
    for number in (first..=first | 0xff).filter(|number| !known.contains(number)) {
        memory.fill(0..PAGE, 0);
        memory.write(0, &64_u32.to_ne_bytes());
        // SAFETY: the memory is the kernel's to write to, a page and one more.
        let result = unsafe { raw::ioctl(&device, number, memory.address()) };
        check_err!(result, ENOTTY, "command {number:#x}");
        all_bytes(
            &memory.read(4, PAGE - 4),
            0,
            "the argument of an unknown command",
        )?;
    }
    Ok(())
}

/// With 0 to size-1 bytes before an unmapped page every call is EFAULT, with
/// all of them it succeeds.
fn page_edge(context: &mut Context) -> Outcome {
    let scene = Scene::new(context.card(), Access::ReadWrite)?;
    for command in [
        Command::Info,
        Command::BufAlloc,
        Command::BufInfo,
        Command::BufFree,
        Command::Cancel,
        Command::BufRegister,
        Command::BufSync,
        Command::Eventfd,
    ] {
        let size = command.size();
        let memory = Mapping::anonymous(2 * PAGE)?;
        memory.unmap(PAGE..2 * PAGE)?;
        let call = scene.valid(command)?;
        for mapped in 0..size {
            memory.write(PAGE - mapped, &call.bytes[..mapped]);
            check_err!(
                at(&scene.device, command, memory.address() + PAGE - mapped),
                EFAULT,
                "{} with {mapped} of {size} bytes mapped",
                command.name()
            );
        }
        memory.write(PAGE - size, &call.bytes);
        check_eq!(
            at(&scene.device, command, memory.address() + PAGE - size),
            Ok(0)
        );
        let bytes = memory.read(PAGE - size, size);
        scene.undo(&call, &bytes)?;
    }
    Ok(())
}

fn at(device: &Device, command: Command, address: usize) -> raw::Sys<usize> {
    // SAFETY: what is mapped there was made for this call.
    unsafe { raw::ioctl(device, command.number(), address) }
}

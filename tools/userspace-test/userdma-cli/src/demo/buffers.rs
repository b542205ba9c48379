// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The memory of the demo: what the driver allocates, and what this program
//! registers.

use std::time::Duration;
use std::time::Instant;

use userdma::Buffer;
use userdma::BufferBuilder;
use userdma::Bytes;
use userdma::Device;
use userdma::ErrorKind;
use userdma::Kind;
use userdma::Pages;

use super::print::plural;
use super::print::Printer;
use crate::memory;
use crate::memory::Memory;
use crate::touch;
use crate::trip::HUGE_PAGE;

/// Gets a buffer of `length` bytes, or explains why not and gets what it can.
pub(super) fn allocate(
    device: &Device,
    kind: Kind,
    length: u64,
    printer: &mut Printer,
) -> anyhow::Result<Option<Memory>> {
    let able = device.info().capabilities;
    let builder = |length| -> BufferBuilder<'_> {
        match kind {
            Kind::Huge => device.huge(length),
            _ => device.coherent(length),
        }
    };
    let begin = Instant::now();
    let error = match builder(length).allocate() {
        Ok(buffer) => return use_whole(buffer, begin.elapsed(), printer).map(Some),
        Err(error) => error,
    };
    let name = kind.to_string();
    printer.failure(&name, &error.report());
    if error.kind() == ErrorKind::Gone {
        return Err(error.into());
    }
    if (kind == Kind::Huge && !able.huge) || (kind == Kind::Coherent && !able.coherent) {
        return Ok(None);
    }
    // Of a huge buffer first all of it in smaller pages, then less.
    let sizes = [length, 4 << 20, 1 << 20, 64 << 10];
    for size in sizes
        .into_iter()
        .filter(|size| *size < length || kind == Kind::Huge)
    {
        let begin = Instant::now();
        if let Ok(buffer) = builder(size).fallback(kind == Kind::Huge).allocate() {
            printer.note("going on with what can be had:");
            return use_whole(buffer, begin.elapsed(), printer).map(Some);
        }
    }
    Ok(None)
}

/// Touches all of a buffer, tells what it is, and what using it cost.
fn use_whole(buffer: Buffer, allocated: Duration, printer: &mut Printer) -> anyhow::Result<Memory> {
    let info = buffer.info()?;
    let name = buffer.kind().to_string();
    let begin = Instant::now();
    let (mapping, faults) = touch::all(&buffer)?;
    let touched = begin.elapsed();
    let pages = Bytes(info.page_size);
    let mut text = format!("{}, pages of {pages}", Bytes(info.length));
    if info.fell_back {
        text.push_str(" (fell back)");
    }
    text.push_str(", ");
    text.push_str(&match info.segments {
        0 => "copied by the driver".to_owned(),
        // There may be many thousands, and the line is narrow.
        count if info.fell_back => plural(count.into(), "segment"),
        count => plural(count.into(), "DMA segment"),
    });
    printer.row(&name, &text, Some(allocated));
    printer.row(
        "",
        &format!(
            "{} to touch all of it",
            plural(u64::try_from(faults)?, "page fault")
        ),
        Some(touched),
    );
    if buffer.kind() == Kind::Huge && !info.fell_back {
        let pages = info.length / HUGE_PAGE;
        if u64::try_from(faults)? > pages {
            printer.failure(
                &name,
                &format!("{faults} page faults are more than its {pages} pages"),
            );
        }
        if u64::from(info.segments) > pages {
            printer.failure(
                &name,
                &format!("{} segments are more than its {pages} pages", info.segments),
            );
        }
    }
    Ok(Memory::Allocated(buffer, mapping))
}

/// Registers memory of this program's, or explains why not; nothing if the card
/// cannot.
pub(super) fn register(
    device: &Device,
    length: u64,
    printer: &mut Printer,
) -> anyhow::Result<Option<Memory>> {
    const NAME: &str = "registered";
    if !device.info().capabilities.register {
        return Ok(None);
    }
    // What every machine has.
    let memory = userdma::Memory::anonymous(length)
        .pages(Pages::Transparent)
        .allocate();
    let memory = memory.or_else(|_| userdma::Memory::anonymous(length).allocate())?;
    let before = memory::locked().unwrap_or(0);
    let begin = Instant::now();
    let registered = match device.register(memory).pin() {
        Ok(registered) => registered,
        Err(error) => {
            printer.failure(NAME, &error.report());
            if error.kind() == ErrorKind::Gone {
                return Err(error.into());
            }
            return Ok(None);
        }
    };
    let took = begin.elapsed();
    let segments = match registered.segments() {
        0 => "copied by the driver".to_owned(),
        count => plural(count.into(), "DMA segment"),
    };
    let text = format!(
        "{}, pages of {}, {segments}",
        Bytes(registered.length()),
        Bytes(registered.page_size())
    );
    printer.row(NAME, &text, Some(took));
    let locked = memory::locked().unwrap_or(0).saturating_sub(before);
    let pinned = registered.pinned();
    if locked == pinned {
        printer.row(
            "",
            &format!(
                "{} of this program pinned, and locked as VmLck says",
                Bytes(pinned)
            ),
            None,
        );
    } else {
        printer.failure(
            NAME,
            &format!(
                "{} pinned, but {} more locked",
                Bytes(pinned),
                Bytes(locked)
            ),
        );
    }
    Ok(Some(Memory::Registered(registered)))
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! BUF_SYNC.

use userdma::sys;

use super::register;
use crate::device::{Device, COHERENT, HUGE};
use crate::kinds::Kind;
use crate::memory::{Window, HUGE as HUGE_PAGE, PAGE};
use crate::outcome::{all_bytes, Context as _, Outcome};
use crate::registry::Context;

const FOR_DEVICE: u32 = sys::USERDMA_SYNC_FOR_DEVICE;
const FOR_CPU: u32 = sys::USERDMA_SYNC_FOR_CPU;

/// Whether the kernel copies all that cards see.
fn copies() -> Outcome<bool> {
    let line = std::fs::read_to_string("/proc/cmdline")?;
    Ok(line.split_whitespace().any(|word| word == "swiotlb=force"))
}

/// The copy that the card sees, if there is one, gets the bytes that are named
/// and gives back the bytes that are named.
fn exactly(device: &Device, handle: u32, memory: &Window, copied: bool) -> Outcome {
    let length = memory.length();
    let (begin, end) = (PAGE - 33, 2 * PAGE + 7);
    memory.fill(0..length, 0x0a);
    device.sync(handle, 0, length, FOR_DEVICE)?;
    memory.fill(0..length, 0x0b);
    device.sync(handle, begin, end - begin, FOR_CPU)?;
    all_bytes(&memory.read(0, begin), 0x0b, "before")?;
    all_bytes(&memory.read(end, length - end), 0x0b, "behind")?;
    // Where there is no copy nothing changes; else it is as it was for the card.
    let inside = if copied { 0x0a } else { 0x0b };
    all_bytes(&memory.read(begin, end - begin), inside, "what was named")?;
    // The other way: only what is named reaches the copy.
    memory.fill(0..length, 0x0c);
    device.sync(handle, begin, end - begin, FOR_DEVICE)?;
    memory.fill(0..length, 0x0d);
    device.sync(handle, 0, length, FOR_CPU)?;
    let (inside, outside) = if copied { (0x0c, 0x0a) } else { (0x0d, 0x0d) };
    all_bytes(&memory.read(begin, end - begin), inside, "what was named")?;
    all_bytes(&memory.read(0, begin), outside, "what was not")?;
    all_bytes(&memory.read(end, length - end), outside, "what was not")?;
    // Both at once, one byte, and the last one.
    device.sync(handle, 0, 1, FOR_DEVICE | FOR_CPU)?;
    device
        .sync(handle, length - 1, 1, FOR_DEVICE | FOR_CPU)
        .map_err(Into::into)
}

pub(super) fn sync(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let copies = copies()?;
    let memory = Kind::Anonymous.make(4 * PAGE)?;
    let registered = register(&device, &memory, 0, 4 * PAGE, 0)?;
    // A bounced buffer is not mapped for the card at all.
    let copied = copies && registered.segments > 0;
    exactly(&device, registered.handle, &memory, copied).context(|| "registered".to_owned())?;
    device.free(registered.handle)?;
    let info = device.info()?;
    if info.out_capabilities & u64::from(sys::USERDMA_CAP_HUGE) != 0 {
        let buffer = device.alloc(HUGE, HUGE_PAGE)?;
        let map = device.map(&buffer)?;
        let copied = copies && buffer.segments > 0;
        exactly(&device, buffer.handle, &map, copied).context(|| "huge".to_owned())?;
        device.free(buffer.handle)?;
    }
    // Coherent memory is never copied.
    let buffer = device.alloc(COHERENT, 4 * PAGE)?;
    let map = device.map(&buffer)?;
    exactly(&device, buffer.handle, &map, false).context(|| "coherent".to_owned())
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `userdma copy`: between the card's memory, files and pipes, without a copy in
//! between.
//!
//! `place` reads what the command line says, `slots` is the memory that the data
//! goes through, `flow` keeps several transfers in flight on all channels.

mod flow;
mod place;
mod slots;

use std::fs::File;
use std::path::Path;

use anyhow::bail;
use anyhow::Context as _;
use userdma::Access;
use userdma::Bytes;
use userdma::Device;

use self::flow::Copied;
use self::flow::Flow;
use self::flow::Route;
pub(crate) use self::place::Part;
pub(crate) use self::place::Place;
use crate::cli;
use crate::number;
use crate::select;
use crate::stream;

/// Transfers in flight on each channel: while the card works on one, the next is
/// there already.
const EACH: u64 = 2;

pub(crate) fn run(device: Option<&str>, options: &cli::Copy) -> anyhow::Result<()> {
    let access = match options.source {
        // A file may be made into a card's memory only through a mapping that can be written.
        Place::File(_) => Access::ReadWrite,
        Place::Card(_) if matches!(options.destination, Place::Card(_)) => Access::ReadWrite,
        Place::Card(_) => Access::ReadOnly,
    };
    if let (Place::File(from), Place::File(to)) = (&options.source, &options.destination) {
        bail!(
            "neither {} nor {} is the card\n  try: cp, which copies files; the card is card:OFFSET",
            stream::input_name(from),
            stream::output_name(to)
        );
    }
    let device = select::open(device, access)?;
    let (from, to, copied) = match (&options.source, &options.destination) {
        (Place::File(input), Place::Card(part)) => {
            let copied = to_card(&device, input, *part, options)?;
            (stream::input_name(input), part.name(), copied)
        }
        (Place::Card(part), Place::File(output)) => {
            let copied = from_card(&device, *part, output, options)?;
            (part.name(), stream::output_name(output), copied)
        }
        (Place::Card(from), Place::Card(to)) => {
            let copied = within_card(&device, *from, *to, options)?;
            (from.name(), to.name(), copied)
        }
        (Place::File(_), Place::File(_)) => return Ok(()),
    };
    let Copied { bytes, time } = copied;
    let verified = if options.verify { ", verified" } else { "" };
    eprintln!(
        "{} copied from {from} to {to}{verified} in {:.1} ms, {}",
        Bytes(bytes),
        time.as_secs_f64() * 1e3,
        number::rate(bytes, time)
    );
    Ok(())
}

fn to_card(device: &Device, input: &Path, to: Part, options: &cli::Copy) -> anyhow::Result<Copied> {
    let name = stream::input_name(input);
    let left = room(device, to, None)?;
    let known = stream::known_length(input, to.length)?;
    if let Some(length) = known.filter(|length| *length > left) {
        bail!(
            "{name} ({}) does not fit from {:#x} of the card's memory on: {}\n  try: copy less of \
             it, with card:{:#x}+{left}",
            Bytes(length),
            to.offset,
            stream::room(to.offset, device.info().card_size),
            to.offset
        );
    }
    let mut input = stream::input(input)?;
    let bar = stream::progress(known);
    let mut flow = Flow::new(device, options, known.unwrap_or(left), &bar)?;
    let copied = flow.run(Route::In(&mut input, to.offset), known.unwrap_or(left))?;
    let done = copied.bytes;
    bar.finish_and_clear();
    if let Some(length) = to.length.filter(|length| *length > done) {
        bail!(
            "{name} has only {} of the {} to be copied",
            Bytes(done),
            Bytes(length)
        );
    }
    let more = known.is_none()
        && done == left
        && stream::fill(&mut input, &mut [0]).with_context(|| format!("cannot read {name}"))? > 0;
    if more {
        bail!(
            "{name} has more than fits: {} were copied from {:#x} of the card's memory on\n  limit: {}",
            Bytes(done),
            to.offset,
            stream::room(to.offset, device.info().card_size)
        );
    }
    Ok(copied)
}

fn from_card(
    device: &Device,
    from: Part,
    output: &Path,
    options: &cli::Copy,
) -> anyhow::Result<Copied> {
    let length = room(device, from, from.length)?;
    // The file is made before the card is asked: a bad name costs nothing.
    let mut sink = stream::output(output)?;
    let mut written = match options.verify {
        false => None,
        true if !stream::is_standard(output) && output.is_file() => {
            let name = stream::output_name(output);
            Some(File::open(output).with_context(|| format!("cannot read {name} back"))?)
        }
        true => bail!(
            "{} cannot be read back to be verified\n  try: leave out --verify, or copy into a file",
            stream::output_name(output)
        ),
    };
    let bar = stream::progress(Some(length));
    let mut flow = Flow::new(device, options, length, &bar)?;
    let route = Route::Out(from.offset, &mut sink, written.as_mut());
    let done = flow.run(route, length)?;
    bar.finish_and_clear();
    sink.flush()
        .with_context(|| format!("cannot write to {}", stream::output_name(output)))?;
    Ok(done)
}

fn within_card(
    device: &Device,
    from: Part,
    to: Part,
    options: &cli::Copy,
) -> anyhow::Result<Copied> {
    if let (Some(first), Some(second)) = (from.length, to.length) {
        if first != second {
            bail!("the source has {first} bytes, the destination {second}\n  try: say the length once");
        }
    }
    let wanted = from.length.or(to.length);
    let length = room(device, from, wanted)?;
    let left = room(device, to, wanted)?;
    // Without a length what fits is meant; with one, both were asked for it.
    let length = length.min(left);
    let apart = from.offset.abs_diff(to.offset);
    if apart < length {
        bail!(
            "{} and {} overlap: they are {} apart, and {} are to be copied\n  try: copy into a file, \
             and from there",
            from.name(),
            to.name(),
            Bytes(apart),
            Bytes(length)
        );
    }
    let bar = stream::progress(Some(length));
    let mut flow = Flow::new(device, options, length, &bar)?;
    let done = flow.run(Route::Within(from.offset, to.offset), length)?;
    bar.finish_and_clear();
    Ok(done)
}

/// Gives how many bytes a part has: those that are wanted, or all to the card's end.
pub(crate) fn room(device: &Device, part: Part, wanted: Option<u64>) -> anyhow::Result<u64> {
    let size = device.info().card_size;
    let left = size.saturating_sub(part.offset);
    let length = wanted.unwrap_or(left);
    if part.offset > size || length > left {
        bail!(
            "{} are not in the card's memory from {:#x} on: {}",
            Bytes(length),
            part.offset,
            stream::room(part.offset, size)
        );
    }
    Ok(length)
}

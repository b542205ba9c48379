// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `userdma read` and `userdma write`: the card's own memory.

use std::io::Write;
use std::path::Path;

use anyhow::bail;
use anyhow::Context as _;
use indicatif::ProgressBar;
use pretty_hex::HexConfig;
use userdma::Access;
use userdma::Bytes;
use userdma::Device;

use crate::cli;
use crate::select;
use crate::stream;

pub(crate) fn read(device: Option<&str>, options: &cli::Read) -> anyhow::Result<()> {
    let device = select::open(device, Access::ReadOnly)?;
    let size = device.info().card_size;
    let left = size.saturating_sub(options.offset);
    let length = options.length.unwrap_or(left);
    if length > left || options.offset > size {
        bail!(
            "cannot read {} from {:#x} of the card's memory on: {}",
            Bytes(length),
            options.offset,
            stream::room(options.offset, size)
        );
    }
    // The file is made before the card is asked: a bad name costs nothing.
    let mut sink = Sink::new(options.output.as_deref())?;
    let mut piece = vec![0; piece(&device)?];
    let bar = stream::progress(Some(length));
    let mut done = 0;
    while done < length {
        let position = options.offset + done;
        let count =
            usize::try_from(length - done).map_or(piece.len(), |left| left.min(piece.len()));
        device.read_exact_at(&mut piece[..count], position)?;
        sink.put(&piece[..count], position, &bar)?;
        done += u64::try_from(count)?;
        bar.set_position(done);
    }
    bar.finish_and_clear();
    sink.finish()
}

pub(crate) fn write(device: Option<&str>, options: &cli::Write) -> anyhow::Result<()> {
    let device = select::open(device, Access::WriteOnly)?;
    let size = device.info().card_size;
    let left = size.saturating_sub(options.offset);
    let name = stream::input_name(&options.input);
    let mut input = stream::input(&options.input)?;
    let known = stream::known_length(&options.input, options.length)?;
    if options.offset > size {
        bail!(
            "there is no {:#x} in the card's memory: {}",
            options.offset,
            stream::room(options.offset, size)
        );
    }
    if let Some(length) = known.filter(|length| *length > left) {
        bail!(
            "{name} ({}) does not fit from {:#x} of the card's memory on: {}",
            Bytes(length),
            options.offset,
            stream::room(options.offset, size)
        );
    }
    let mut piece = vec![0; piece(&device)?];
    let bar = stream::progress(known);
    let mut done = 0;
    loop {
        let wanted = options.length.map_or(u64::MAX, |length| length - done);
        let room = usize::try_from(wanted).map_or(piece.len(), |wanted| wanted.min(piece.len()));
        // As much as there is: each transfer costs the card the same time.
        let count = stream::fill(&mut input, &mut piece[..room])
            .with_context(|| format!("cannot read {name}"))?;
        if count == 0 {
            break;
        }
        device
            .write_all_at(&piece[..count], options.offset + done)
            .with_context(|| format!("of {name} {} could be written, then no more", Bytes(done)))?;
        done += u64::try_from(count)?;
        bar.set_position(done);
    }
    bar.finish_and_clear();
    if let Some(length) = options.length.filter(|length| *length > done) {
        bail!(
            "{name} has only {} of the {} to be written",
            Bytes(done),
            Bytes(length)
        );
    }
    eprintln!("{} written at {:#x}", Bytes(done), options.offset);
    Ok(())
}

/// Gives how many bytes to move at once: what the card does in one go, so that
/// the bar moves.
fn piece(device: &Device) -> anyhow::Result<usize> {
    Ok(usize::try_from(
        device.info().max_descriptor.clamp(1, 1 << 20),
    )?)
}

/// Where what was read goes.
enum Sink {
    HexDump,
    Raw(Box<dyn Write>, String),
}

impl Sink {
    fn new(output: Option<&Path>) -> anyhow::Result<Self> {
        match output {
            None => Ok(Self::HexDump),
            Some(path) => Ok(Self::Raw(stream::output(path)?, stream::output_name(path))),
        }
    }

    fn put(&mut self, bytes: &[u8], position: u64, bar: &ProgressBar) -> anyhow::Result<()> {
        match self {
            Self::HexDump => {
                let config = HexConfig {
                    title: false,
                    display_offset: usize::try_from(position)?,
                    ..HexConfig::default()
                };
                // The bar and the dump may be on the same terminal.
                bar.suspend(|| println!("{}", pretty_hex::config_hex(&bytes, config)));
                Ok(())
            }
            Self::Raw(to, name) => to
                .write_all(bytes)
                .with_context(|| format!("cannot write to {name}")),
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::HexDump => Ok(()),
            Self::Raw(mut to, name) => to
                .flush()
                .with_context(|| format!("cannot write to {name}")),
        }
    }
}

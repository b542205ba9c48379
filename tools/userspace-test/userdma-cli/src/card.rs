// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `userdma read` and `userdma write`: the card's own memory.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context as _;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use pretty_hex::HexConfig;
use userdma::Access;
use userdma::Bytes;
use userdma::Device;

use crate::cli;
use crate::select;

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
            room(options.offset, size)
        );
    }
    // The file is made before the card is asked: a bad name costs nothing.
    let mut sink = Sink::new(options.output.as_deref())?;
    let mut piece = vec![0; piece(&device)?];
    let bar = progress(Some(length));
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
    let name = name(&options.input);
    let mut input: Box<dyn Read> = if is_standard(&options.input) {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(&options.input).with_context(|| format!("cannot open {name}"))?)
    };
    let known = known_length(&options.input, options.length)?;
    if options.offset > size {
        bail!(
            "there is no {:#x} in the card's memory: {}",
            options.offset,
            room(options.offset, size)
        );
    }
    if let Some(length) = known.filter(|length| *length > left) {
        bail!(
            "{name} ({}) does not fit from {:#x} of the card's memory on: {}",
            Bytes(length),
            options.offset,
            room(options.offset, size)
        );
    }
    let mut piece = vec![0; piece(&device)?];
    let bar = progress(known);
    let mut done = 0;
    loop {
        let wanted = options.length.map_or(u64::MAX, |length| length - done);
        let room = usize::try_from(wanted).map_or(piece.len(), |wanted| wanted.min(piece.len()));
        // As much as there is: each transfer costs the card the same time.
        let count =
            fill(&mut input, &mut piece[..room]).with_context(|| format!("cannot read {name}"))?;
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

/// Gives how much will be written, if that can be known before.
fn known_length(input: &Path, wanted: Option<u64>) -> anyhow::Result<Option<u64>> {
    if wanted.is_some() || is_standard(input) {
        return Ok(wanted);
    }
    let metadata = input
        .metadata()
        .with_context(|| format!("cannot look at {}", input.display()))?;
    Ok(metadata.is_file().then_some(metadata.len()))
}

/// Reads until `to` is full or the input ends.
fn fill(input: &mut dyn Read, to: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < to.len() {
        match input.read(&mut to[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Gives how many bytes to move at once: what the card does in one go, so that
/// the bar moves.
fn piece(device: &Device) -> anyhow::Result<usize> {
    Ok(usize::try_from(
        device.info().max_descriptor.clamp(1, 1 << 20),
    )?)
}

/// Says how much there is behind a position.
fn room(offset: u64, size: u64) -> String {
    match size.checked_sub(offset) {
        Some(left) => format!(
            "it has {} ({size:#x}), {} from there on",
            Bytes(size),
            Bytes(left)
        ),
        None => format!("it has {} ({size:#x})", Bytes(size)),
    }
}

fn name(input: &Path) -> String {
    if is_standard(input) {
        return "standard input".to_owned();
    }
    input.display().to_string()
}

fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

/// A bar on standard error, if that is a terminal.
fn progress(length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (
            ProgressBar::new(length),
            "{bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {binary_bytes}, {binary_bytes_per_sec}",
        ),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
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
            Some(path) if is_standard(path) => Ok(Self::Raw(
                Box::new(io::stdout().lock()),
                "standard output".to_owned(),
            )),
            Some(path) => {
                let name = path.display().to_string();
                let file = File::create(path).with_context(|| format!("cannot create {name}"))?;
                Ok(Self::Raw(Box::new(file), name))
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives three bytes at a time, as a pipe may.
    struct Drops(usize);

    impl Read for Drops {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let count = self.0.min(3).min(to.len());
            self.0 -= count;
            Ok(count)
        }
    }

    #[test]
    fn short_reads_are_collected() -> io::Result<()> {
        let mut drops = Drops(10);
        assert_eq!(fill(&mut drops, &mut [0; 8])?, 8);
        assert_eq!(fill(&mut drops, &mut [0; 8])?, 2);
        assert_eq!(fill(&mut drops, &mut [0; 8])?, 0);
        Ok(())
    }

    #[test]
    fn the_length_of_a_device_is_unknown() -> anyhow::Result<()> {
        assert_eq!(known_length(Path::new("/dev/zero"), None)?, None);
        assert_eq!(known_length(Path::new("-"), None)?, None);
        assert_eq!(known_length(Path::new("-"), Some(3))?, Some(3));
        let own = std::env::current_exe()?;
        assert_eq!(known_length(&own, None)?, Some(own.metadata()?.len()));
        assert!(known_length(Path::new("/nonexistent"), None).is_err());
        Ok(())
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Files and pipes as the command line names them, and how far along they are.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use userdma::Bytes;

/// What an input is called in messages.
pub(crate) fn input_name(path: &Path) -> String {
    match is_standard(path) {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    }
}

/// What an output is called in messages.
pub(crate) fn output_name(path: &Path) -> String {
    match is_standard(path) {
        true => "standard output".to_owned(),
        false => path.display().to_string(),
    }
}

pub(crate) fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

/// Opens an input; - is standard input.
pub(crate) fn input(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    if is_standard(path) {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Box::new(file))
}

/// Makes an output; - is standard output.
pub(crate) fn output(path: &Path) -> anyhow::Result<Box<dyn Write>> {
    if is_standard(path) {
        return Ok(Box::new(io::stdout().lock()));
    }
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(Box::new(file))
}

/// Gives how much will be read, if that can be known before.
pub(crate) fn known_length(input: &Path, wanted: Option<u64>) -> anyhow::Result<Option<u64>> {
    if wanted.is_some() || is_standard(input) {
        return Ok(wanted);
    }
    let metadata = input
        .metadata()
        .with_context(|| format!("cannot look at {}", input.display()))?;
    Ok(metadata.is_file().then_some(metadata.len()))
}

/// Reads until `to` is full or the input ends.
pub(crate) fn fill(input: &mut dyn Read, to: &mut [u8]) -> io::Result<usize> {
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

/// Says how much there is of the card's memory behind a position.
pub(crate) fn room(offset: u64, size: u64) -> String {
    match size.checked_sub(offset) {
        Some(left) => format!(
            "it has {} ({size:#x}), {} from there on",
            Bytes(size),
            Bytes(left)
        ),
        None => format!("it has {} ({size:#x})", Bytes(size)),
    }
}

/// A bar on standard error, if that is a terminal.
pub(crate) fn progress(length: Option<u64>) -> ProgressBar {
    let template = match length {
        Some(_) => {
            "{bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left"
        }
        None => "{spinner} {binary_bytes}, {binary_bytes_per_sec}",
    };
    bar(length, template)
}

/// The same of something else than bytes.
pub(crate) fn bar(length: Option<u64>, template: &str) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
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

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Message-signalled interrupts: an eventfd of the client's for each vector.

use std::fs::File;
use std::io;
use std::io::Write;
use std::sync::Mutex;

use vfio_bindings::bindings::vfio::VFIO_IRQ_SET_ACTION_TRIGGER;
use vfio_bindings::bindings::vfio::VFIO_IRQ_SET_DATA_EVENTFD;
use vfio_bindings::bindings::vfio::VFIO_IRQ_SET_DATA_NONE;

use crate::lock;

/// The vectors that the client has enabled.
#[derive(Debug)]
pub(crate) struct Interrupts {
    vectors: Mutex<Vec<Option<File>>>,
}

impl Interrupts {
    /// `offered` vectors, none enabled.
    pub(crate) fn new(offered: u8) -> Self {
        let vectors = (0..offered).map(|_| None).collect();
        Self {
            vectors: Mutex::new(vectors),
        }
    }

    /// What the client asks for in a SET_IRQS for these interrupts.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for vectors that are not offered or a combination that has no
    /// meaning.
    pub(crate) fn set(
        &self,
        flags: u32,
        start: u32,
        count: u32,
        files: Vec<File>,
    ) -> io::Result<()> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let mut vectors = lock(&self.vectors);
        let (start, count) = (start as usize, count as usize);
        let end = start.checked_add(count).ok_or_else(invalid)?;
        let range = vectors.get_mut(start..end).ok_or_else(invalid)?;
        let trigger = flags & VFIO_IRQ_SET_ACTION_TRIGGER != 0;
        if trigger && flags & VFIO_IRQ_SET_DATA_EVENTFD != 0 {
            // No files for some vectors: these are disabled.
            if files.len() > count || !files.is_empty() && files.len() < count {
                return Err(invalid());
            }
            let mut files = files.into_iter();
            range.fill_with(|| files.next());
        } else if trigger && flags & VFIO_IRQ_SET_DATA_NONE != 0 {
            match count {
                0 => vectors.fill_with(|| None),
                _ => range.iter().for_each(signal),
            }
        }
        // Masks: MSI of a card like this has none.
        Ok(())
    }

    /// How many are enabled, counted up to the highest.
    pub(crate) fn enabled(&self) -> u32 {
        let vectors = lock(&self.vectors);
        let highest = vectors.iter().rposition(Option::is_some);
        highest.map_or(0, |highest| highest as u32 + 1)
    }

    /// Raises one, if it is enabled.
    pub(crate) fn raise(&self, vector: u32) {
        if let Some(vector) = lock(&self.vectors).get(vector as usize) {
            signal(vector);
        }
    }

    /// Disables all.
    pub(crate) fn disable(&self) {
        lock(&self.vectors).fill_with(|| None);
    }
}

fn signal(vector: &Option<File>) {
    if let Some(mut file) = vector.as_ref() {
        // It fails only when 2^64 - 2 are not yet fetched; then one more is no news.
        let _ = file.write_all(&1_u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rustix::event::eventfd;
    use rustix::event::EventfdFlags;

    use super::*;

    const EVENTFD: u32 = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    const NONE: u32 = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;

    fn event() -> io::Result<(File, File)> {
        let file = File::from(eventfd(0, EventfdFlags::NONBLOCK)?);
        Ok((file.try_clone()?, file))
    }

    fn count(mut file: &File) -> u64 {
        let mut bytes = [0; 8];
        match file.read_exact(&mut bytes) {
            Ok(()) => u64::from_ne_bytes(bytes),
            Err(_) => 0,
        }
    }

    #[test]
    fn vectors_come_and_go() -> io::Result<()> {
        let interrupts = Interrupts::new(8);
        assert_eq!(interrupts.enabled(), 0);
        interrupts.raise(0);
        let (mine, theirs) = event()?;
        interrupts.set(EVENTFD, 2, 1, vec![theirs])?;
        assert_eq!(interrupts.enabled(), 3);
        interrupts.raise(2);
        interrupts.raise(2);
        interrupts.raise(1);
        interrupts.raise(8);
        assert_eq!(count(&mine), 2);
        // By hand, as the client may.
        interrupts.set(NONE, 0, 8, Vec::new())?;
        assert_eq!(count(&mine), 1);
        // No file: this one is off.
        interrupts.set(EVENTFD, 2, 1, Vec::new())?;
        interrupts.raise(2);
        assert_eq!((count(&mine), interrupts.enabled()), (0, 0));
        Ok(())
    }

    #[test]
    fn a_count_of_zero_ends_all() -> io::Result<()> {
        let interrupts = Interrupts::new(2);
        let files = vec![event()?.1, event()?.1];
        interrupts.set(EVENTFD, 0, 2, files)?;
        assert_eq!(interrupts.enabled(), 2);
        interrupts.set(NONE, 0, 0, Vec::new())?;
        assert_eq!(interrupts.enabled(), 0);
        Ok(())
    }

    #[test]
    fn what_has_no_meaning_is_refused() -> io::Result<()> {
        let interrupts = Interrupts::new(2);
        assert!(interrupts.set(EVENTFD, 1, 2, Vec::new()).is_err());
        assert!(interrupts
            .set(EVENTFD, u32::MAX, u32::MAX, Vec::new())
            .is_err());
        let files = vec![event()?.1];
        assert!(interrupts.set(EVENTFD, 0, 2, files).is_err());
        assert_eq!(interrupts.enabled(), 0);
        Ok(())
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Finding and opening devices.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::fs::OFlags;

use crate::explain;
use crate::Device;
use crate::Error;
use crate::Result;

/// What a program may do with a device that it opens.
///
/// # Examples
///
/// ```no_run
/// use userdma::{Access, Device};
///
/// // Receives only: a transfer to the card is refused.
/// let card = Device::options().access(Access::ReadOnly).open("/dev/userdma0")?;
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Receive from the card, and map buffers read-only.
    ReadOnly,
    /// Send to the card. Buffers cannot be mapped.
    WriteOnly,
    /// All.
    #[default]
    ReadWrite,
}

/// How to open a device.
///
/// # Examples
///
/// ```no_run
/// let card = userdma::Device::options().nonblocking(true).open("/dev/userdma0")?;
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions {
    access: Access,
    nonblocking: bool,
    cloexec: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenOptions {
    /// Begins with the defaults: reading and writing, blocking, closed on exec.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let card = userdma::OpenOptions::new().open("/dev/userdma0")?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self {
            access: Access::default(),
            nonblocking: false,
            cloexec: true,
        }
    }

    /// Sets what the program may do.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::{Access, OpenOptions};
    /// let card = OpenOptions::new().access(Access::ReadOnly).open_index(0)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Lets calls fail with [`ErrorKind::WouldBlock`](crate::ErrorKind::WouldBlock) where they would wait.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::OpenOptions;
    /// let card = OpenOptions::new().nonblocking(true).open_index(0)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn nonblocking(mut self, yes: bool) -> Self {
        self.nonblocking = yes;
        self
    }

    /// Sets whether the file is closed when the program executes another; it
    /// is unless told otherwise.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::OpenOptions;
    /// let inherited = OpenOptions::new().cloexec(false).open_index(0)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn cloexec(mut self, yes: bool) -> Self {
        self.cloexec = yes;
        self
    }

    /// Opens the node at `path`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`](crate::ErrorKind)s `NoDevice`, `Permission`, and
    /// `InvalidInput` for something that is not a userdma node.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let card = userdma::OpenOptions::new().open("/dev/userdma0")?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Device> {
        let path = path.as_ref();
        let mut flags = match self.access {
            Access::ReadOnly => OFlags::RDONLY,
            Access::WriteOnly => OFlags::WRONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        flags.set(OFlags::NONBLOCK, self.nonblocking);
        flags.set(OFlags::CLOEXEC, self.cloexec);
        let fd =
            rustix::fs::open(path, flags | OFlags::NOCTTY, Mode::empty()).map_err(|errno| {
                Error::Open {
                    path: path.to_owned(),
                    errno,
                    explanation: Box::new(explain::open(path, errno)),
                }
            })?;
        Device::from_fd(fd, path.to_owned(), self.access)
    }

    /// Opens `/dev/userdma<index>`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let card = userdma::OpenOptions::new().open_index(0)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn open_index(&self, index: u32) -> Result<Device> {
        self.open(format!("/dev/userdma{index}"))
    }

    /// Opens the node with the lowest number.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let card = userdma::OpenOptions::new().open_first()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn open_first(&self) -> Result<Device> {
        match enumerate().first() {
            Some(path) => self.open(path),
            None => Err(Error::NoDevice {
                explanation: Box::new(explain::no_device()),
            }),
        }
    }
}

/// Lists the nodes `/dev/userdma*`, by number.
///
/// # Examples
///
/// ```
/// for path in userdma::enumerate() {
///     println!("{}", path.display());
/// }
/// ```
#[must_use]
pub fn enumerate() -> Vec<PathBuf> {
    // A /dev that cannot be read has no devices for us.
    numbered(
        fs::read_dir("/dev")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path()),
    )
}

/// Picks `userdma<number>` from paths and sorts by number, as 10 comes behind 9.
fn numbered(paths: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut nodes: Vec<(u32, PathBuf)> = paths
        .filter_map(|path| {
            let number = path
                .file_name()?
                .to_str()?
                .strip_prefix("userdma")?
                .parse()
                .ok()?;
            Some((number, path))
        })
        .collect();
    nodes.sort();
    nodes.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn nodes_are_sorted_by_number() {
        let paths = [
            "userdma10",
            "userdma",
            "null",
            "userdma9",
            "userdma-x",
            "userdma0",
        ];
        let nodes = numbered(paths.iter().map(PathBuf::from));
        assert_eq!(
            nodes,
            ["userdma0", "userdma9", "userdma10"].map(PathBuf::from)
        );
    }

    #[test]
    fn what_is_not_a_node_is_refused() {
        for path in ["/dev/null", "/proc/self/status"] {
            let error = OpenOptions::new().access(Access::ReadOnly).open(path).err();
            assert_eq!(
                error.map(|error| error.kind()),
                Some(ErrorKind::InvalidInput),
                "{path}"
            );
        }
    }

    #[test]
    fn a_missing_node_is_told() {
        let error = OpenOptions::new().open("/dev/userdma4294967295").err();
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::NoDevice));
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! An open device.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::explain;
use crate::ioctl;
use crate::Access;
use crate::BufferBuilder;
use crate::Error;
use crate::Info;
use crate::Kind;
use crate::OpenOptions;
use crate::Result;

/// An open device.
///
/// A clone is the same open file: handles, completions and limits are shared.
/// All methods take `&self` and may be called by several threads at once.
/// Buffers keep the file open.
///
/// # Examples
///
/// ```no_run
/// use userdma::Device;
///
/// let card = Device::first()?;
/// println!("{} on {}", card.info().backend, card.info().bus_name);
/// # Ok::<(), userdma::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Device {
    file: Arc<File>,
}

/// What clones and buffers share.
#[derive(Debug)]
struct File {
    fd: OwnedFd,
    path: PathBuf,
    access: Access,
    info: Info,
}

impl Device {
    /// Opens the node at `path` for reading and writing.
    ///
    /// # Errors
    ///
    /// As [`OpenOptions::open`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let card = userdma::Device::open("/dev/userdma0")?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::options().open(path)
    }

    /// Opens `/dev/userdma<index>` for reading and writing.
    ///
    /// # Errors
    ///
    /// As [`OpenOptions::open`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let card = userdma::Device::open_index(0)?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn open_index(index: u32) -> Result<Self> {
        Self::options().open_index(index)
    }

    /// Opens the device with the lowest number for reading and writing.
    ///
    /// # Errors
    ///
    /// As [`OpenOptions::open`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let card = userdma::Device::first()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn first() -> Result<Self> {
        Self::options().open_first()
    }

    /// Begins to say how to open a device.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let card = userdma::Device::options().nonblocking(true).open_first()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Asks an open file what it is.
    pub(crate) fn from_fd(fd: OwnedFd, path: PathBuf, access: Access) -> Result<Self> {
        let info = query(fd.as_fd(), &path)?;
        Ok(Self {
            file: Arc::new(File {
                fd,
                path,
                access,
                info,
            }),
        })
    }

    /// Gives the path that was opened.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// println!("{}", card.path().display());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Gives what the device may be used for.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// assert_eq!(card.access(), userdma::Access::ReadWrite);
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn access(&self) -> Access {
        self.file.access
    }

    /// Gives what the device is, as it was when it was opened: all but
    /// [`Info::used`] stays so.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// println!("{} DMA address bits", card.info().dma_mask_bits());
    /// # Ok::<(), userdma::Error>(())
    /// ```
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.file.info
    }

    /// Asks the device again what it is; [`Info::used`] is then of now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Gone`](crate::ErrorKind::Gone).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// println!("{} in use", userdma::Bytes(card.query()?.used.total));
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn query(&self) -> Result<Info> {
        query(self.as_fd(), &self.file.path)
    }

    /// Begins to allocate a coherent buffer of at least `length` bytes:
    /// memory that card and program see alike at all times.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let buffer = card.coherent(32 << 20).allocate()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn coherent(&self, length: u64) -> BufferBuilder<'_> {
        BufferBuilder::new(self, Kind::Coherent, length)
    }

    /// Begins to allocate a huge buffer of at least `length` bytes: pages of
    /// 2 MiB, ordinary memory to the program, few segments to the card.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// let buffer = card.huge(64 << 20).allocate()?;
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn huge(&self, length: u64) -> BufferBuilder<'_> {
        BufferBuilder::new(self, Kind::Huge, length)
    }

    /// Gives the driver's counters of this open file: the lines `userdma-*` of
    /// its `/proc/self/fdinfo`, without the prefix.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if `/proc` cannot be read.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let card = userdma::Device::first()?;
    /// for (name, value) in card.counters()? {
    ///     println!("{name}: {value}");
    /// }
    /// # Ok::<(), userdma::Error>(())
    /// ```
    pub fn counters(&self) -> Result<BTreeMap<String, String>> {
        let name = format!("/proc/self/fdinfo/{}", self.as_raw_fd());
        let text = fs::read_to_string(name).map_err(|error| {
            Error::system(
                "read the file's counters",
                Errno::from_io_error(&error).unwrap_or(Errno::IO),
            )
        })?;
        Ok(counters(&text))
    }
}

/// Takes an open file that came another way: over a socket, or inherited.
///
/// # Errors
///
/// [`ErrorKind`](crate::ErrorKind)s `InvalidInput` if it is not a device,
/// `Gone`.
///
/// # Examples
///
/// ```
/// use std::os::fd::OwnedFd;
/// use userdma::{Device, ErrorKind};
///
/// let null = OwnedFd::from(std::fs::File::open("/dev/null")?);
/// let error = Device::try_from(null).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidInput);
/// # Ok::<(), std::io::Error>(())
/// ```
impl TryFrom<OwnedFd> for Device {
    type Error = Error;

    fn try_from(fd: OwnedFd) -> Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&fd)
            .map_err(|errno| Error::system("ask how the file was opened", errno))?;
        let access = match flags & OFlags::ACCMODE {
            OFlags::RDONLY => Access::ReadOnly,
            OFlags::WRONLY => Access::WriteOnly,
            _ => Access::ReadWrite,
        };
        let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let path = fs::read_link(&name).unwrap_or_else(|_| name.into());
        Self::from_fd(fd, path, access)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.fd.as_fd()
    }
}

impl AsRawFd for Device {
    fn as_raw_fd(&self) -> RawFd {
        self.file.fd.as_raw_fd()
    }
}

fn query(fd: BorrowedFd<'_>, path: &Path) -> Result<Info> {
    let mut raw = ioctl::zeroed();
    match ioctl::info(fd, &mut raw) {
        Ok(()) => Ok(Info::from(&raw)),
        Err(errno) => {
            let explanation = match errno {
                // The answer of every file that is not ours.
                Errno::NOTTY => explain::not_a_node(path),
                _ => explain::general(errno),
            };
            Err(Error::Info {
                path: path.to_owned(),
                errno,
                explanation: Box::new(explanation),
            })
        }
    }
}

fn counters(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("userdma-")?.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read() {
        let text = "pos:\t0\nflags:\t02\nuserdma-interrupts:\t12\nuserdma-bytes-to-card:\t4096\n";
        let read = counters(text);
        assert_eq!(read.len(), 2);
        assert_eq!(read["interrupts"], "12");
        assert_eq!(read["bytes-to-card"], "4096");
    }

    #[test]
    fn a_device_goes_to_other_threads() {
        fn needs<T: Send + Sync>() {}
        needs::<Device>();
    }
}

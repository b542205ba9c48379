// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Which device is meant.

use std::path::PathBuf;

use userdma::Access;
use userdma::Device;
use userdma::Result;

/// Opens the device that the user named: by number, by path, or the first.
pub(crate) fn open(name: Option<&str>, access: Access) -> Result<Device> {
    let options = Device::options().access(access);
    match name {
        None => options.open_first(),
        Some(name) => options.open(path(name)),
    }
}

/// Opens the device that the user named, or without a name all there are.
pub(crate) fn all(name: Option<&str>, access: Access) -> Result<Vec<Device>> {
    let options = Device::options().access(access);
    let paths = userdma::enumerate();
    if name.is_some() || paths.is_empty() {
        // Without a device for the error, which says why there is none.
        return open(name, access).map(|device| vec![device]);
    }
    paths.iter().map(|path| options.open(path)).collect()
}

/// Gives the node that a name means.
fn path(name: &str) -> PathBuf {
    match name.parse::<u32>() {
        Ok(number) => PathBuf::from(format!("/dev/userdma{number}")),
        Err(_) => PathBuf::from(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_paths() {
        assert_eq!(path("3"), PathBuf::from("/dev/userdma3"));
        assert_eq!(path("/dev/userdma3"), PathBuf::from("/dev/userdma3"));
        assert_eq!(path("./3"), PathBuf::from("./3"));
    }
}

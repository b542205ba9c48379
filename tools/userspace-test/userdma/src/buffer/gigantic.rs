// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Huge buffers in pages of 1 GiB: a memfd of the kernel's pool of huge pages,
//! registered. The driver itself has no such pages.

use crate::memory::huge_file;
use crate::Buffer;
use crate::Device;
use crate::Kind;
use crate::Pages;
use crate::Result;

impl Buffer {
    /// Allocates at least `length` bytes in pages of 1 GiB.
    pub(super) fn gigantic(device: &Device, length: u64, no_bounce: bool) -> Result<Self> {
        let file = huge_file(length, Pages::Huge1G)?;
        let length = length.next_multiple_of(Pages::Huge1G.size());
        let registered = device
            .register_memfd(&file, 0, length)
            .no_bounce(no_bounce)
            .pin()?;
        let mut buffer = registered.into_buffer();
        buffer.kind = Kind::Huge;
        buffer.file = Some(file);
        Ok(buffer)
    }
}

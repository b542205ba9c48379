// SPDX-License-Identifier: GPL-2.0

//! `mmap()` of buffers.

use kernel::{
    mm::virt::{
        flags,
        VmaNew, //
    },
    page::PAGE_SHIFT,
    prelude::*, //
};

use super::OpenFile;
use crate::{
    buffer::Buffer,
    ext::vm, //
};

impl OpenFile {
    /// Maps a buffer, or a part of it. Called with `mmap_lock` held.
    ///
    /// # Errors
    ///
    /// [`EINVAL`]: private, or not inside a buffer. [`EPERM`]: executable.
    pub(super) fn map(&self, vma: &VmaNew) -> Result {
        // VM_MAYSHARE, not VM_SHARED: the latter is clear for MAP_SHARED of a read-only file.
        if vma.flags() & flags::MAYSHARE == 0 {
            return Err(EINVAL);
        }
        vma.try_clear_mayexec().map_err(|_| EPERM)?;
        let start = vm::file_offset(vma);
        // CAST: Lengths fit in 64 bits.
        let end = start
            .checked_add((vma.end() - vma.start()) as u64)
            .ok_or(EINVAL)?;
        let (buffer, cookie) = self.buffer_at(start, end).ok_or(EINVAL)?;
        Buffer::map(&buffer, vma, cookie)
    }

    fn buffer_at(&self, start: u64, end: u64) -> Option<(crate::buffer::BufferRef, u64)> {
        let handles = self.handles.lock();
        let entry = handles.tree.values().find(|entry| {
            let mapped = entry.published && entry.cookie != 0;
            mapped && entry.cookie <= start && end <= entry.cookie + entry.buffer.length
        })?;
        Some((entry.buffer.clone(), entry.cookie))
    }
}

const _: () = assert!(PAGE_SHIFT <= 21, "cookies are multiples of 2 MiB");

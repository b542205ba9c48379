// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The system calls that make a mapping.

use std::os::fd::AsFd;
use std::ptr;
use std::ptr::NonNull;

use rustix::io::Errno;
use rustix::mm::Advice;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

use super::Mapping;
use crate::Pages;

impl Mapping {
    /// Maps `size` bytes of a file, in whole pages of `page` bytes.
    pub(crate) fn shared(
        file: impl AsFd,
        offset: u64,
        size: usize,
        page: u64,
        writable: bool,
    ) -> Result<Self, Errno> {
        let page = usize::try_from(page).map_err(|_| Errno::INVAL)?;
        let mapped = size.checked_next_multiple_of(page).ok_or(Errno::NOMEM)?;
        let mut protection = ProtFlags::READ;
        protection.set(ProtFlags::WRITE, writable);
        // SAFETY: the kernel chooses an address that nothing else uses.
        let address = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                size,
                protection,
                MapFlags::SHARED,
                file,
                offset,
            )
        }?;
        Ok(Self {
            address: NonNull::new(address.cast()).ok_or(Errno::NOMEM)?,
            size,
            mapped,
            writable,
        })
    }

    /// Maps `size` bytes of new memory, a multiple of the size of `pages`.
    pub(crate) fn anonymous(size: usize, pages: Pages) -> Result<Self, Errno> {
        let flags = match pages {
            Pages::Huge2M => MapFlags::HUGETLB | MapFlags::HUGE_2MB,
            Pages::Huge1G => MapFlags::HUGETLB | MapFlags::HUGE_1GB,
            Pages::Small | Pages::Transparent => MapFlags::empty(),
        };
        // A transparent huge page needs an aligned place.
        let spare = match pages {
            Pages::Transparent => usize::try_from(pages.size()).map_err(|_| Errno::NOMEM)?,
            _ => 0,
        };
        let whole = size.checked_add(spare).ok_or(Errno::NOMEM)?;
        // SAFETY: the kernel chooses an address that nothing else uses.
        let address = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                whole,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | flags,
            )
        }?;
        let mut memory = Self {
            address: NonNull::new(address.cast()).ok_or(Errno::NOMEM)?,
            size: whole,
            mapped: whole,
            writable: true,
        };
        if spare > 0 {
            memory.cut(size, spare);
        }
        memory.advise(pages)?;
        Ok(memory)
    }

    /// Keeps `size` bytes from the first multiple of `align` on, and gives the
    /// rest back; there are `align` more than `size`.
    fn cut(&mut self, size: usize, align: usize) {
        let start = self.address.as_ptr().align_offset(align);
        let end = start + size;
        for part in [0..start, end..self.mapped] {
            if part.is_empty() {
                continue;
            }
            let at = self.address.as_ptr().wrapping_add(part.start).cast();
            // SAFETY: the part is inside the mapping and nobody knows of it yet. It
            // cannot fail: the pages exist, and mappings become no more.
            let _ = unsafe { rustix::mm::munmap(at, part.len()) };
        }
        // SAFETY: `align_offset` gave less than `align`, hence it is inside.
        self.address = unsafe { self.address.add(start) };
        (self.size, self.mapped) = (size, size);
    }

    fn advise(&self, pages: Pages) -> Result<(), Errno> {
        let advice = match pages {
            Pages::Small => Advice::LinuxNoHugepage,
            Pages::Transparent => Advice::LinuxHugepage,
            Pages::Huge2M | Pages::Huge1G => return Ok(()),
        };
        // SAFETY: neither advice changes what is in the memory, which is ours.
        let result =
            unsafe { rustix::mm::madvise(self.address.as_ptr().cast(), self.mapped, advice) };
        match result {
            // A kernel that has no transparent huge pages makes none.
            Err(Errno::INVAL) if pages == Pages::Small => Ok(()),
            result => result,
        }
    }
}

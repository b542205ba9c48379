// SPDX-License-Identifier: GPL-2.0

//! The commands that make, describe and free buffers.

use kernel::{
    dma::DataDirection,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};

use super::{
    ioctl::{
        check_flags,
        node_or_none,
        require, //
    },
    transfer::range_error,
    Bound,
    OpenFile, //
};
use crate::{
    buffer::{
        alloc_coherent,
        alloc_huge,
        register,
        HugeRequest,
        User,
        HUGE_PAGE, //
    },
    ext::{
        chardev::Device,
        dma,
        errno::eaddrnotavail,
        lent::Lent,
        locked::{
            self,
            Locked, //
        },
        pin::{
            Memfd,
            Pinned, //
        },
        system, //
    },
    limits::{
        Charge,
        Registered, //
    },
    pure::{
        range,
        split, //
    },
    uapi::{
        self,
        Argument, //
    }, //
};

/// The most that is synchronised in one go, in bytes.
const SYNC_STEP: u64 = 32 << 20;

impl OpenFile {
    pub(super) fn buf_alloc(&self, dev: &Device<Self>, arg: usize) -> Result {
        let (argument, mut request) = Argument::read::<uapi::userdma_buf_alloc>(arg)?;
        let huge = match request.kind {
            uapi::USERDMA_BUF_COHERENT => false,
            uapi::USERDMA_BUF_HUGE => true,
            _ => return Err(EOPNOTSUPP),
        };
        // The DMA API chooses by itself where coherent memory lies, and in which pages.
        let known =
            uapi::USERDMA_ALLOC_NODE | uapi::USERDMA_ALLOC_FALLBACK | uapi::USERDMA_ALLOC_NO_BOUNCE;
        check_flags(request.flags, if huge { known } else { 0 })?;
        let has = |flag| request.flags & flag != 0;
        let node = match has(uapi::USERDMA_ALLOC_NODE) {
            true if system::node_exists(request.numa_node) => Some(request.numa_node),
            false if request.numa_node == 0 => None,
            _ => return Err(EINVAL),
        };
        let page_size = if huge { HUGE_PAGE } else { PAGE_SIZE as u64 };
        require(request.page_size == 0 || (huge && request.page_size == HUGE_PAGE))?;
        if request.length == 0 {
            return Err(EINVAL);
        }
        // What wraps is more than any limit.
        let length = range::round_up(request.length, page_size).ok_or(EDQUOT)?;
        // Before anything is allocated: a bad pointer leaves nothing behind.
        argument.check_writable(&request)?;

        let charge = Charge::new(&self.account, length)?;
        let buffer = if huge {
            if has(uapi::USERDMA_ALLOC_NO_BOUNCE) {
                dev.with(refuse_bounce)?;
            }
            let memory = HugeRequest {
                length,
                fallback: has(uapi::USERDMA_ALLOC_FALLBACK),
                node,
            }
            .memory()?;
            dev.with(|bound| {
                let card = bound.card;
                alloc_huge(&card.buffers, card.reach(), memory, charge)
            })?
        } else {
            dev.with(|bound| {
                let card = bound.card;
                alloc_coherent(&card.buffers, card.pdev.as_ref(), length, charge)
            })?
        };
        request.out_segments = u32::try_from(buffer.segments().len())?;
        request.out_length = buffer.length;
        request.out_page_size = buffer.page_size;
        let (handle, cookie) = self.insert(buffer)?;
        request.out_handle = handle;
        request.out_mmap_offset = cookie;
        self.hand_out(handle, argument.write(&request))
    }

    /// Lets a new handle be used if the program was told of it, else takes it away.
    fn hand_out(&self, handle: u32, told: Result) -> Result {
        match told {
            Ok(()) => self.publish(handle),
            Err(_) => {
                let _ = self.remove(handle, true);
            }
        }
        told
    }

    pub(super) fn buf_register(&self, dev: &Device<Self>, arg: usize) -> Result {
        let (argument, mut request) = Argument::read::<uapi::userdma_buf_register>(arg)?;
        let known = uapi::USERDMA_REGISTER_SOURCE
            | uapi::USERDMA_REGISTER_MEMFD
            | uapi::USERDMA_REGISTER_NO_BOUNCE;
        check_flags(request.flags, known)?;
        let has = |flag| request.flags & flag != 0;
        let memfd = has(uapi::USERDMA_REGISTER_MEMFD);
        let source_only = has(uapi::USERDMA_REGISTER_SOURCE);
        require(request.reserved == 0 && request.length != 0)?;
        require(memfd || request.fd == 0)?;
        let (address, length) = (request.address, request.length);
        require(address & (self.alignment - 1) == 0)?;
        let write = !source_only;
        let memfd = match memfd {
            true => Some(Memfd::new(request.fd, address, length, write)?),
            false => None,
        };
        let pages = Pinned::pages(address, length)?;
        // Before anything is pinned: a bad pointer leaves nothing behind.
        argument.check_writable(&request)?;

        // Without the guard: this is what takes long, and touches the program's memory.
        if has(uapi::USERDMA_REGISTER_NO_BOUNCE) {
            dev.with(refuse_bounce)?;
        }
        let limit = locked::limit();
        let registered = Registered::new(&self.account, pages, limit)?;
        let locked = Locked::charge(pages, limit)?;
        let pinned = match &memfd {
            Some(memfd) => Pinned::memfd(memfd)?,
            None => Pinned::user(address, length, write)?,
        };
        let mut user = Some(User {
            lent: Lent::new(pinned, Some(locked), Some(registered))?,
            source_only,
        });
        let buffer = dev.with(|bound| {
            let card = bound.card;
            register(&card.buffers, card.reach(), &mut user)
        })?;
        request.out_segments = u32::try_from(buffer.segments().len())?;
        request.out_page_size = buffer.page_size;
        request.out_pinned = (pages as u64) << PAGE_SHIFT;
        let (handle, _) = self.insert(buffer)?;
        request.out_handle = handle;
        self.hand_out(handle, argument.write(&request))
    }

    pub(super) fn buf_info(&self, arg: usize) -> Result {
        let (argument, mut info) = Argument::read::<uapi::userdma_buf_info>(arg)?;
        check_flags(info.flags, 0)?;
        self.with_buffer(info.handle, |buffer, cookie| {
            info.out_kind = buffer.kind;
            info.out_state = buffer.state;
            // CAST: Fewer than pages of a buffer that fits in memory; checked when it was made.
            info.out_segments = buffer.segments().len() as u32;
            info.out_length = buffer.length;
            info.out_page_size = buffer.page_size;
            info.out_mmap_offset = cookie;
            info.out_numa_node = node_or_none(buffer.node);
            info.out_mappings = buffer.mappings();
        })?;
        argument.write(&info)
    }

    pub(super) fn buf_free(&self, arg: usize) -> Result {
        let (_, free) = Argument::read::<uapi::userdma_buf_free>(arg)?;
        check_flags(free.flags, 0)?;
        require(free.reserved == 0)?;
        self.remove(free.handle, false)
    }

    pub(super) fn buf_sync(&self, dev: &Device<Self>, arg: usize) -> Result {
        let (_, sync) = Argument::read::<uapi::userdma_buf_sync>(arg)?;
        let known = uapi::USERDMA_SYNC_FOR_DEVICE | uapi::USERDMA_SYNC_FOR_CPU;
        check_flags(sync.flags, known)?;
        require(sync.flags != 0 && sync.reserved == 0 && sync.length != 0)?;
        let buffer = self.with_buffer(sync.handle, |buffer, _| buffer.clone())?;
        let for_cpu = sync.flags & uapi::USERDMA_SYNC_FOR_CPU != 0;
        if for_cpu && buffer.source_only() {
            return Err(EACCES);
        }
        range::check(sync.offset, sync.length, buffer.length, 1).map_err(range_error)?;
        if buffer.memory().is_none() || buffer.bounced() {
            // Card and program see alike, or the card sees nothing.
            return Ok(());
        }
        let (mut offset, mut rest) = (sync.offset, sync.length);
        while rest > 0 {
            // The guard is taken for each: unbind does not wait for a large buffer.
            let length = dev.with(|bound| {
                let piece = split::first(buffer.segments(), offset, rest, SYNC_STEP, 0);
                let piece = piece.ok_or(EIO)?;
                let (dev, bus) = (bound.card.pdev.as_ref(), piece.bus);
                // CAST: At most `SYNC_STEP`.
                let bytes = piece.length as usize;
                if sync.flags & uapi::USERDMA_SYNC_FOR_DEVICE != 0 {
                    dma::sync_for_device(dev, bus, bytes, DataDirection::ToDevice);
                }
                if for_cpu {
                    dma::sync_for_cpu(dev, bus, bytes, DataDirection::FromDevice);
                }
                Ok(piece.length)
            })?;
            offset += length;
            rest -= length;
        }
        Ok(())
    }
}

/// EADDRNOTAVAIL if what the card moves would have to be copied.
fn refuse_bounce(bound: &Bound<'_>) -> Result {
    match bound.card.engine.bounce {
        true => Err(eaddrnotavail()),
        false => Ok(()),
    }
}

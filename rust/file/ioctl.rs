// SPDX-License-Identifier: GPL-2.0

//! The commands. Each copies in, checks, does its work under the guard, and copies out.
//!
//! The order of the checks, and the errno of each, are in the header.

use kernel::{
    fs::{
        file::flags::O_NONBLOCK,
        File, //
    },
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    pci::IrqType,
    prelude::*, //
};

use super::{
    Bound,
    OpenFile,
    MAX_BUFFERS, //
};
use crate::{
    buffer::{
        alloc_coherent,
        alloc_huge,
        BufferRef,
        HugeRequest,
        HUGE_PAGE, //
    },
    completion::{
        Patience,
        DEPTH, //
    },
    ext::{
        chardev::Device,
        errno::eaddrnotavail,
        system, //
    },
    hw::{
        Direction,
        Traits, //
    },
    limits::{
        limits,
        Charge, //
    },
    pure::range,
    queue::Work,
    service,
    uapi::{
        self,
        Argument,
        Array, //
    }, //
};

fn check_flags(flags: u32, known: u32) -> Result {
    match flags & !known {
        0 => Ok(()),
        _ => Err(EOPNOTSUPP),
    }
}

fn check_reserved(zero: bool) -> Result {
    match zero {
        true => Ok(()),
        false => Err(EINVAL),
    }
}

/// Copies `name` into a field of fixed size, which stays NUL-terminated.
fn copy_name(to: &mut [uapi::c_char], name: &CStr) {
    to.fill(0);
    let room = to.len().saturating_sub(1);
    for (to, from) in to.iter_mut().take(room).zip(name.to_bytes()) {
        // CAST: A character's sign is the compiler's affair.
        *to = *from as uapi::c_char;
    }
}

impl OpenFile {
    /// Runs a command.
    ///
    /// # Errors
    ///
    /// See the header.
    pub(super) fn dispatch(
        &self,
        dev: &Device<Self>,
        file: &File,
        cmd: u32,
        arg: usize,
    ) -> Result<isize> {
        // WAIT hands out what is left after the card has gone.
        if dev.gone() && (cmd != uapi::USERDMA_IOCTL_WAIT || self.port.idle()) {
            return Err(ENODEV);
        }
        let nonblock = file.flags() & O_NONBLOCK != 0;
        match cmd {
            uapi::USERDMA_IOCTL_INFO => self.info(dev, arg),
            uapi::USERDMA_IOCTL_BUF_ALLOC => self.buf_alloc(dev, arg),
            uapi::USERDMA_IOCTL_BUF_INFO => self.buf_info(arg),
            uapi::USERDMA_IOCTL_BUF_FREE => self.buf_free(arg),
            uapi::USERDMA_IOCTL_SUBMIT => self.submit(dev, arg, nonblock),
            uapi::USERDMA_IOCTL_WAIT => self.wait(arg, nonblock),
            _ => Err(ENOTTY),
        }
        .map(|()| 0)
    }

    fn info(&self, dev: &Device<Self>, arg: usize) -> Result {
        let (argument, mut info) = Argument::read::<uapi::userdma_info>(arg)?;
        check_flags(info.flags, 0)?;
        let (limits, used) = (limits(), self.account.used());
        info.out_limit_file = limits.file;
        info.out_limit_user = limits.user;
        info.out_limit_total = limits.total;
        info.out_used_file = used.file;
        info.out_used_user = used.user;
        info.out_used_total = used.total;
        dev.with(|bound| fill_info(bound, &mut info))?;
        argument.write(&info)
    }

    fn buf_alloc(&self, dev: &Device<Self>, arg: usize) -> Result {
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
        check_reserved(request.page_size == 0 || (huge && request.page_size == HUGE_PAGE))?;
        if request.length == 0 {
            return Err(EINVAL);
        }
        // What wraps is more than any limit.
        let length = range::round_up(request.length, page_size).ok_or(EDQUOT)?;
        // Before anything is allocated: a bad pointer leaves nothing behind.
        argument.check_writable(&request)?;

        let charge = Charge::new(&self.account, length)?;
        let buffer = if huge {
            let bounce = dev.with(|bound| Ok(bound.card.engine.bounce))?;
            if bounce && has(uapi::USERDMA_ALLOC_NO_BOUNCE) {
                return Err(eaddrnotavail());
            }
            let memory = HugeRequest {
                length,
                fallback: has(uapi::USERDMA_ALLOC_FALLBACK),
                node,
            }
            .memory()?;
            dev.with(|bound| {
                let card = bound.card;
                alloc_huge(&card.buffers, card.pdev.as_ref(), memory, bounce, charge)
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
        match argument.write(&request) {
            Ok(()) => {
                self.publish(handle);
                Ok(())
            }
            Err(error) => {
                let _ = self.remove(handle, true);
                Err(error)
            }
        }
    }

    fn buf_info(&self, arg: usize) -> Result {
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

    fn buf_free(&self, arg: usize) -> Result {
        let (_, free) = Argument::read::<uapi::userdma_buf_free>(arg)?;
        check_flags(free.flags, 0)?;
        check_reserved(free.reserved == 0)?;
        self.remove(free.handle, false)
    }

    fn submit(&self, dev: &Device<Self>, arg: usize, nonblock: bool) -> Result {
        let (argument, mut submit) = Argument::read::<uapi::userdma_submit>(arg)?;
        Array::check::<uapi::userdma_transfer>(submit.entry_size)?;
        check_flags(submit.flags, 0)?;
        check_reserved(submit.reserved == 0)?;
        let entries = Array::new(submit.entries, submit.entry_size, submit.count)?;
        // Before anything is accepted: nobody could be told how many were.
        argument.check_writable(&submit)?;

        let mut accepted = 0;
        while accepted < entries.count() {
            match self.submit_one(dev, &entries, accepted, nonblock || accepted > 0) {
                Ok(()) => accepted += 1,
                Err(error) if accepted == 0 => return Err(error),
                Err(_) => break,
            }
        }
        submit.out_count = accepted;
        argument.write(&submit)
    }

    /// Checks and queues entry `index`.
    fn submit_one(
        &self,
        dev: &Device<Self>,
        entries: &Array,
        index: u32,
        nonblock: bool,
    ) -> Result {
        let entry: uapi::userdma_transfer = entries.read(index)?;
        let lane = *self
            .lanes
            .get(usize::from(entry.channel))
            .ok_or(EINVAL)
            .or_else(|error| check_entry(&entry).and(Err(error)))?;
        let work = self.work(dev, &entry)?;
        // Sleeps, if at all, without the guard; what it waits for, unbind ends.
        let patience = Patience {
            deadline: service::NEVER,
            nonblock,
        };
        let mut transfer = self.port.reserve(patience)?;
        transfer.assign(entry.user_data, entry.channel, work);
        let mut transfer = Some(transfer);
        let result = dev.with(|bound| {
            let Some(ready) = transfer.take() else {
                return Err(EINVAL);
            };
            let submitted = bound.card.engine.submit(entry.channel, lane, ready);
            submitted.map_err(|(back, error)| {
                transfer = Some(back);
                error
            })
        });
        match (result, transfer) {
            (Ok(()), _) => {
                self.port.stats.submitted.add(1);
                Ok(())
            }
            (Err(error), Some(mut transfer)) => {
                transfer.work = None;
                self.port.cancel_reservation(transfer);
                Err(error)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Turns the names in `entry` into references, and checks its ranges.
    fn work(&self, dev: &Device<Self>, entry: &uapi::userdma_transfer) -> Result<Work> {
        check_entry(entry)?;
        let direction = match u32::from(entry.op) {
            uapi::USERDMA_OP_TO_CARD => Direction::ToCard,
            _ => Direction::FromCard,
        };
        let allowed = match direction {
            // The card reads what the program may write, and the other way round.
            Direction::ToCard => self.writable,
            Direction::FromCard => self.readable,
        };
        if !allowed {
            return Err(EBADF);
        }
        let traits: &'static Traits = dev.with(|bound| Ok(bound.card.engine.hw.traits()))?;
        let buffer = self.with_buffer(entry.buffer, |buffer, _| buffer.clone())?;
        check_ranges(&buffer, entry, traits)?;
        Ok(Work {
            direction,
            buffer,
            offset: entry.buffer_offset,
            length: entry.length,
            card_offset: entry.card_offset,
            timeout_ns: entry.timeout_ns,
        })
    }

    fn wait(&self, arg: usize, nonblock: bool) -> Result {
        let (argument, wait) = Argument::read::<uapi::userdma_wait>(arg)?;
        Array::check::<uapi::userdma_completion>(wait.entry_size)?;
        check_flags(wait.flags, 0)?;
        let records = Array::new(wait.entries, wait.entry_size, wait.max)?;
        if wait.min > wait.max {
            return Err(EINVAL);
        }
        argument.check_writable(&wait)?;
        let patience = Patience {
            deadline: wait.deadline_ns,
            nonblock,
        };
        // CAST: A small number.
        let min = wait.min.min(DEPTH as u32);
        let mut wait = wait;
        self.port.wait(records, min, patience, |count| {
            wait.out_count = count;
            argument.write(&wait)
        })
    }
}

/// Checks what can be checked of an entry by itself.
fn check_entry(entry: &uapi::userdma_transfer) -> Result {
    match u32::from(entry.op) {
        uapi::USERDMA_OP_TO_CARD | uapi::USERDMA_OP_FROM_CARD => {}
        // HOST_TO_HOST comes with a card that can do it.
        _ => return Err(EOPNOTSUPP),
    }
    // A file's transfers on one channel are in order anyway, and there is but one channel.
    check_flags(entry.flags, uapi::USERDMA_TRANSFER_BARRIER)?;
    check_reserved(entry.reserved == 0 && entry.buffer2 == 0)?;
    check_reserved(entry.length != 0)
}

fn check_ranges(buffer: &BufferRef, entry: &uapi::userdma_transfer, traits: &Traits) -> Result {
    let align = traits.alignment;
    range::check(entry.buffer_offset, entry.length, buffer.length, align)
        .and_then(|()| range::check(entry.card_offset, entry.length, traits.card_size, align))
        .map_err(|error| match error {
            range::Error::Wraps => EOVERFLOW,
            range::Error::Outside => ERANGE,
            range::Error::Empty | range::Error::Misaligned => EINVAL,
        })
}

fn node_or_none(node: Option<u32>) -> i32 {
    node.and_then(|node| i32::try_from(node).ok()).unwrap_or(-1)
}

fn fill_info(bound: &Bound<'_>, info: &mut uapi::userdma_info) -> Result {
    let card = bound.card;
    let traits = card.engine.hw.traits();
    info.out_abi_version = uapi::USERDMA_ABI_VERSION;
    info.out_node = bound.number;
    copy_name(&mut info.out_backend, traits.name);
    copy_name(&mut info.out_bus_name, card.name());
    info.out_capabilities = card.capabilities();
    info.out_dma_mask = card.dma_mask;
    info.out_card_size = traits.card_size;
    info.out_max_transfer = traits.card_size;
    info.out_max_descriptor = traits.max_descriptor;
    info.out_alignment = u32::try_from(traits.alignment)?;
    info.out_channels = u32::from(traits.channels);
    info.out_vectors = bound.vectors;
    info.out_interrupt = match bound.interrupt {
        IrqType::Intx => uapi::USERDMA_IRQ_INTX,
        IrqType::Msi => uapi::USERDMA_IRQ_MSI,
        IrqType::MsiX => uapi::USERDMA_IRQ_MSIX,
    };
    // CAST: A small number.
    info.out_depth = DEPTH as u32;
    info.out_regions = 0;
    info.out_numa_node = node_or_none(card.node());
    info.out_max_buffers = MAX_BUFFERS;
    // CAST: A small number.
    info.out_page_shift = PAGE_SHIFT as u32;
    info.out_reserved = 0;
    info.out_timeout_ns = card.timeout_ns();
    Ok(())
}

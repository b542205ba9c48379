// SPDX-License-Identifier: GPL-2.0

//! The commands. Each copies in, checks, does its work under the guard, and copies out.
//!
//! The order of the checks, and the errno of each, are in the header.

use kernel::{
    fs::{
        file::flags::O_NONBLOCK,
        File, //
    },
    page::PAGE_SHIFT,
    pci::IrqType,
    prelude::*, //
};

use super::{
    Bound,
    OpenFile,
    MAX_BUFFERS, //
};
use crate::{
    completion::DEPTH,
    ext::chardev::Device,
    limits::limits,
    uapi::{
        self,
        Argument, //
    }, //
};

pub(super) fn check_flags(flags: u32, known: u32) -> Result {
    match flags & !known {
        0 => Ok(()),
        _ => Err(EOPNOTSUPP),
    }
}

/// EINVAL unless `ok`.
pub(super) fn require(ok: bool) -> Result {
    match ok {
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
            uapi::USERDMA_IOCTL_CANCEL => self.cancel(dev, arg),
            uapi::USERDMA_IOCTL_BUF_REGISTER => self.buf_register(dev, arg),
            uapi::USERDMA_IOCTL_EVENTFD => self.eventfd(dev, arg),
            uapi::USERDMA_IOCTL_BUF_SYNC => self.buf_sync(dev, arg),
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
}

pub(super) fn node_or_none(node: Option<u32>) -> i32 {
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
    info.out_card_size = card.engine.hw.memory();
    info.out_max_transfer = card.engine.hw.memory();
    info.out_max_descriptor = traits.max_descriptor.min(card.engine.hw.memory());
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
    info.out_direct_min = card.direct_min();
    Ok(())
}

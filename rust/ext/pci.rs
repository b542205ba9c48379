// SPDX-License-Identifier: GPL-2.0

//! PCI functions that the `kernel` crate lacks.

use kernel::{
    bindings,
    device,
    pci,
    prelude::*, //
};

/// QEMU's vendor id, 0x1234, which has no constant in the `kernel` crate.
// SAFETY: `pci::Vendor` is a `repr(transparent)`-sized newtype of `u16` and any `u16` is a valid
// vendor id; the transmute fails to compile should its size ever differ.
pub(crate) const VENDOR_QEMU: pci::Vendor = unsafe { core::mem::transmute::<u16, _>(0x1234) };

fn raw(pdev: &pci::Device<device::Bound>) -> *mut bindings::pci_dev {
    // `pci::Device` is a transparent wrapper of `struct pci_dev`.
    core::ptr::from_ref(pdev).cast_mut().cast()
}

/// A bound device whose memory decoding is switched on; switched off again on drop.
pub(crate) struct Enabled<'bound>(&'bound pci::Device<device::Bound>);

impl<'bound> Enabled<'bound> {
    /// Switches memory decoding on, and bus mastering off.
    pub(crate) fn new(pdev: &'bound pci::Device<device::Core<'_>>) -> Result<Self> {
        pdev.enable_device_mem()?;
        let this = Self(pdev);
        // A firmware or an earlier driver may have left it on.
        clear_master(pdev);
        Ok(this)
    }
}

impl Drop for Enabled<'_> {
    fn drop(&mut self) {
        // Freeing message-signalled vectors has enabled the line again.
        disable_line(self.0);
        // SAFETY: The device is bound and was enabled in `new()`.
        unsafe { bindings::pci_disable_device(raw(self.0)) };
    }
}

/// Lets the device reach memory. May be called in any context.
pub(crate) fn set_master(pdev: &pci::Device<device::Bound>) {
    // SAFETY: The device is bound, hence its `struct pci_dev` is valid.
    unsafe { bindings::pci_set_master(raw(pdev)) };
}

/// Cuts the device off from memory. May be called in any context.
pub(crate) fn clear_master(pdev: &pci::Device<device::Bound>) {
    // SAFETY: The device is bound, hence its `struct pci_dev` is valid.
    unsafe { bindings::pci_clear_master(raw(pdev)) };
}

/// Keeps the device from raising its interrupt line.
pub(crate) fn disable_line(pdev: &pci::Device<device::Bound>) {
    // SAFETY: The device is bound, hence its `struct pci_dev` is valid.
    unsafe { bindings::pci_intx(raw(pdev), 0) };
}

/// Waits, for about two seconds at most, until the device has no request under way.
///
/// Returns whether that is so. True at once for a device that cannot tell. May sleep.
pub(crate) fn wait_for_pending(pdev: &pci::Device<device::Bound>) -> bool {
    // SAFETY: The device is bound, hence its `struct pci_dev` is valid.
    unsafe { bindings::pci_wait_for_pending_transaction(raw(pdev)) != 0 }
}

// SPDX-License-Identifier: GPL-2.0

//! Which CPU should take an interrupt.
//!
//! C header: [`include/linux/interrupt.h`](srctree/include/linux/interrupt.h)

use kernel::irq::IrqRequest;

use super::shim;

/// A hint to irqbalance and the like, and where the interrupt goes until they say otherwise. Taken back on
/// drop, which must be before the interrupt's handler is unregistered.
pub(crate) struct Hint(u32);

impl Hint {
    /// Sends an interrupt that has a handler to the `nth` CPU, counted from those close to NUMA node `node`.
    ///
    /// Where that cannot be, it stays where it is.
    pub(crate) fn new(request: &IrqRequest<'_>, nth: u32, node: Option<u32>) -> Self {
        let irq = request.irq();
        let node = node.and_then(|node| i32::try_from(node).ok()).unwrap_or(-1);
        // SAFETY: The interrupt is registered; the mask that it is given is the kernel's own, of one CPU.
        unsafe { shim::userdma_irq_spread(irq, nth, node) };
        Self(irq)
    }
}

impl Drop for Hint {
    fn drop(&mut self) {
        // SAFETY: The interrupt is still registered.
        unsafe { shim::userdma_irq_forget_hint(self.0) };
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The PCI driver: what is set up when a card is bound, and in which order it ends.

use kernel::{
    device,
    dma::{
        attrs::DMA_ATTR_NO_WARN,
        Coherent,
        Device as _,
        DmaMask, //
    },
    irq,
    page::PAGE_SIZE,
    pci,
    prelude::*,
    str::CString,
    sync::Arc, //
};

use crate::{
    card::Card,
    ext::{
        affinity::Hint,
        chardev,
        dma,
        pci as ext_pci,
        system::Number,
        thread::Thread, //
    },
    file::{
        Bound,
        OpenFile, //
    },
    hw,
    module_parameters,
    proof::Beyond,
    service::Service,
    stats, //
};

/// The driver. Its private data is [`Userdma`].
pub(crate) struct Driver;

/// Stops the card when it is dropped, if [`Driver::unbind`] has not done so: a probe that fails.
struct Stop<'bound>(&'bound Card<'bound>);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.engine.stop();
    }
}

struct Interrupt<'bound> {
    card: &'bound Card<'bound>,
    vector: u32,
}

impl irq::Handler for Interrupt<'_> {
    fn handle(&self) -> irq::IrqReturn {
        self.card.engine.interrupt(self.vector)
    }
}

/// A registered interrupt. The hint goes first.
struct Handler<'bound> {
    _hint: Option<Hint>,
    registration: Pin<KBox<irq::Registration<'bound, Interrupt<'bound>>>>,
}

/// Registers a handler for each vector.
fn handlers<'bound>(
    vectors: &'bound pci::IrqVectorRegistration<'bound>,
    card: &'bound Card<'bound>,
) -> Result<KVec<Handler<'bound>>> {
    let mut handlers = KVec::with_capacity(vectors.len(), GFP_KERNEL)?;
    for index in 0..vectors.len() {
        let vector = u32::try_from(index)?;
        // SAFETY: A `Userdma`, which owns it, is never forgotten.
        let handler = unsafe {
            irq::Registration::new(
                vectors.index(index)?.into(),
                irq::Flags::SHARED,
                c"userdma",
                Ok(Interrupt { card, vector }),
            )
        };
        let registration = KBox::pin_init(handler, GFP_KERNEL)?;
        // A shared line is the neighbours', too.
        let own = !matches!(vectors.irq_type(), pci::IrqType::Intx);
        let request = vectors.index(index)?.into();
        let handler = Handler {
            _hint: own.then(|| Hint::new(&request, vector, card.node())),
            registration,
        };
        handlers.push(handler, GFP_KERNEL)?;
    }
    Ok(handlers)
}

/// A bound card.
///
/// **This is the order of death.** In `unbind()`, while the driver core still holds the device, its
/// IOMMU domain and its power:
///
/// 1. the node: no new opens, every call ENODEV, all calls that hold the guard are over;
/// 2. the card is stopped, proven idle, and cut off from memory; no interrupt runs any more;
/// 3. transfers end with ENODEV and sleepers wake up;
/// 4. for each buffer faults are flushed, mappings zapped, the DMA mapping undone, and memory that
///    nobody else has freed.
///
/// Then the fields are dropped in the order of their declaration: the interrupts and their vectors, the
/// service thread, the registers, debugfs, and the device is disabled. A probe that fails has no
/// `unbind()`: there each field does its part of the above when it is dropped, in the same order.
#[pin_data]
pub(crate) struct Userdma<'bound> {
    node: chardev::Registration<'bound, OpenFile>,
    _stop: Stop<'bound>,
    interrupts: KVec<Handler<'bound>>,
    vectors: pci::IrqVectorRegistration<'bound>,
    _service: Thread<'bound, Service<'bound>>,
    card: Pin<KBox<Card<'bound>>>,
    _debugfs: Pin<KBox<stats::Files>>,
    number: Number,
    _enabled: ext_pci::Enabled<'bound>,
}

/// Lets `'bound` data refer to what the same [`Userdma`] owns.
///
/// # Safety
///
/// `data` must be owned by a [`Userdma`], at an address that does not change, by a field behind the
/// one that gets the reference.
unsafe fn extend<'bound, T>(data: &T) -> &'bound T {
    // SAFETY: The driver core drops a `Userdma` at unbind and nobody forgets it; its fields are
    // dropped in the order of declaration, hence `data` outlives the reference.
    unsafe { &*core::ptr::from_ref(data) }
}

/// Sets the DMA mask, and proves it if it is wider than the backend's. Returns it.
fn set_mask<'bound>(
    pdev: &'bound pci::Device<device::Core<'_>>,
    hw: &hw::Card<'bound>,
) -> Result<u64> {
    let own_bits = hw.traits().dma_bits;
    let own = DmaMask::try_new(own_bits)?;
    // SAFETY: Nobody allocates or maps yet: we are in probe.
    unsafe { pdev.dma_set_mask_and_coherent(own)? };
    // SAFETY: As above. Segments may be as long as they are: transfers are split by the engine.
    unsafe { pdev.dma_set_max_seg_size(u32::MAX) };
    dma::set_boundary(pdev.as_ref(), hw.traits().boundary);
    let bits = *module_parameters::dma_mask_bits.value_ref();
    if bits == 0 || bits == own_bits {
        return Ok(own.value());
    }
    let mask = DmaMask::try_new(bits).inspect_err(|_| {
        dev_err!(pdev, "dma_mask_bits={bits} is not a number of bits\n");
    })?;
    if bits < own_bits {
        // SAFETY: As above.
        unsafe { pdev.dma_set_mask_and_coherent(mask)? };
        return Ok(mask.value());
    }
    // SAFETY: As above.
    unsafe { pdev.dma_set_mask_and_coherent(mask)? };
    let beyond = Beyond::find(pdev, own.value()).inspect_err(|_| {
        dev_err!(
            pdev,
            "dma_mask_bits={bits} refused: no memory beyond bit {own_bits} to prove it with\n"
        );
    })?;
    let Some(beyond) = beyond else {
        return Ok(mask.value());
    };
    // SAFETY: As above; a mapping that exists is not affected.
    unsafe { pdev.dma_set_mask_and_coherent(own)? };
    let low: Coherent<[u8]> = Coherent::<u8>::zeroed_slice_with_attrs(
        pdev.as_ref(),
        PAGE_SIZE,
        GFP_KERNEL,
        DMA_ATTR_NO_WARN,
    )?;
    // SAFETY: As above; `low` was allocated before and is not affected.
    unsafe { pdev.dma_set_mask_and_coherent(mask)? };
    ext_pci::set_master(pdev);
    let result = beyond.prove(hw, low);
    ext_pci::clear_master(pdev);
    result.inspect_err(|_| {
        dev_err!(
            pdev,
            "dma_mask_bits={bits} refused: data beyond bit {own_bits} did not arrive\n"
        );
    })?;
    Ok(mask.value())
}

impl pci::Driver for Driver {
    type IdInfo = hw::Kind;
    type Data<'bound> = Userdma<'bound>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = hw::IDS;

    fn unbind<'bound>(_pdev: &'bound pci::Device<device::Core<'_>>, this: Pin<&Userdma<'bound>>) {
        this.node.close();
        this.card.engine.stop();
        for interrupt in &this.interrupts {
            interrupt.registration.synchronize();
        }
        this.card.close();
    }

    fn probe<'bound>(
        pdev: &'bound pci::Device<device::Core<'_>>,
        kind: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let kind = *kind.ok_or(ENODEV)?;
            let enabled = ext_pci::Enabled::new(pdev)?;
            let hw = hw::Card::new(kind, pdev)?;
            let dma_mask = set_mask(pdev, &hw)?;

            let number = Number::take()?;
            let stats = Arc::new(stats::Card::new(), GFP_KERNEL)?;
            let debugfs = stats::Files::new(pdev.as_ref(), stats.clone())?;
            let card = Card::new(pdev, hw, dma_mask, stats)?;
            let name = CString::try_from_fmt(fmt!("userdma{}", number.get()))?;
            let channels = u32::from(card.engine.hw.traits().channels);
            let wanted = card.engine.hw.traits().vectors;

            // Initialised in the opposite order of declaration, entry points last.
            Ok(try_pin_init!(Userdma {
                _enabled: enabled,
                number,
                _debugfs: debugfs,
                card: KBox::pin(card, GFP_KERNEL)?,
                _service: {
                    // SAFETY: `card` is boxed and declared behind `_service`.
                    let card: &'bound Card<'bound> = unsafe { extend(&**card) };
                    // SAFETY: A `Userdma` is never forgotten.
                    unsafe { Thread::new(c"userdma", number.get(), Ok(Service::new(card)))? }
                },
                // MSI-X, MSI or, failing both, the shared line.
                vectors: pdev.alloc_irq_vectors(1, wanted, pci::IrqTypes::all())?,
                interrupts: {
                    // SAFETY: `vectors` is pinned in place and declared behind `interrupts`.
                    let vectors: &'bound pci::IrqVectorRegistration<'bound> =
                        unsafe { extend(&*vectors) };
                    // SAFETY: As for `_service`.
                    handlers(vectors, unsafe { extend(&**card) })?
                },
                _stop: {
                    // The card is stopped and whoever it may interrupt is there.
                    ext_pci::set_master(pdev);
                    // SAFETY: As for `_service`.
                    let stop = Stop(unsafe { extend(&**card) });
                    stop.0.engine.start(u32::try_from(vectors.len())?);
                    stop
                },
                node: {
                    let bound = Bound {
                        // SAFETY: As for `_service`.
                        card: unsafe { extend(&**card) },
                        number: number.get(),
                        vectors: u32::try_from(vectors.len())?,
                        interrupt: vectors.irq_type(),
                    };
                    // SAFETY: A `Userdma` is never forgotten.
                    let node =
                        unsafe { chardev::Registration::new(pdev.as_ref(), name, Ok(bound))? };
                    dev_info!(
                        pdev,
                        "userdma{}: {channels} channel(s), {dma_mask:#x} DMA mask\n",
                        number.get()
                    );
                    node
                },
            }))
        })
    }
}

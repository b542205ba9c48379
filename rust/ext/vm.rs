// SPDX-License-Identifier: GPL-2.0

//! Mappings of driver objects into processes, by faults, revocable.
//!
//! Each object has a file of its own on a private anonymous inode, and every mapping of the object
//! is moved to that file: so one call finds them all, whichever node they were made through.

use core::marker::PhantomData;

use kernel::{
    bindings,
    error::from_err_ptr,
    fs::File,
    mm::virt::{
        flags as vm_flags,
        VmaNew, //
    },
    module::this_module,
    page::PAGE_SHIFT,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow, //
    }, //
};

use super::{
    dma::Frames,
    folio::Memory,
    shim, //
};

/// An object that can be mapped.
#[vtable]
pub(crate) trait Mappable: Send + Sync + 'static {
    /// Returns what backs the object, or an error if mappings of it were revoked.
    ///
    /// For [`Backing::Frames`] whatever this returns is kept until the frames are inserted; the
    /// frames must stay valid for as long, and mappings be zapped after that.
    fn backing(&self) -> Result<Backing<'_, impl Sized>>;

    /// Returns whether mappings were revoked. Asked with the folio locked.
    fn revoked(&self) -> bool;

    /// Called for each mapping that comes to be. Must not sleep for long: `mmap_lock` is held.
    fn opened(&self);

    /// Called for each mapping that ends. Must not sleep for long: `mmap_lock` is held.
    fn closed(&self);
}

/// What backs an object.
pub(crate) enum Backing<'a, K> {
    /// Ordinary memory, mapped with huge page-table entries where its folios are large.
    Memory(&'a Memory),
    /// Bare page frames, which nobody may pin. `K` keeps them.
    Frames(Frames, K),
}

/// Returns the file offset in bytes at which `vma` begins.
pub(crate) fn file_offset(vma: &VmaNew) -> u64 {
    // SAFETY: The VMA is being set up by the caller.
    let pgoff = unsafe { (*vma.as_ptr()).vm_pgoff };
    // `mmap()` refuses offsets that wrap.
    (pgoff as u64) << PAGE_SHIFT
}

/// The file that mappings of an object are moved to.
pub(crate) struct MapFile<T>(ARef<File>, PhantomData<T>);

impl<T: Mappable> MapFile<T> {
    const FOPS: bindings::file_operations = bindings::file_operations {
        // A mapping keeps the module in memory.
        owner: this_module::<T::OwnerModule>().as_ptr(),
        ..pin_init::zeroed()
    };

    /// Makes the file of an object of `length` bytes.
    ///
    /// The inode must have the object's size: page faults beyond it are not served with huge
    /// entries.
    pub(crate) fn new(name: &'static CStr, length: u64) -> Result<Self> {
        let length = bindings::loff_t::try_from(length)?;
        // SAFETY: `name` is NUL-terminated and `FOPS` is static.
        let file = unsafe { shim::userdma_anon_file(name.as_char_ptr(), &Self::FOPS) };
        let file = from_err_ptr(file)?;
        // SAFETY: The file was just made, nobody else knows it.
        unsafe { shim::userdma_set_file_size(file, length) };
        // SAFETY: We own the reference that came with the file; `File` is transparent.
        let file = unsafe { ARef::from_raw(core::ptr::NonNull::new_unchecked(file.cast())) };
        Ok(Self(file, PhantomData))
    }

    /// Removes all page-table entries of all mappings of the object. May sleep.
    pub(crate) fn zap(&self) {
        // SAFETY: The file is live and has a mapping; 0, 0 means all of it.
        unsafe { bindings::unmap_mapping_range((*self.0.as_ptr()).f_mapping, 0, 0, 1) };
    }

    /// Makes `vma` a mapping of `object`, whose byte 0 is at file offset `start`.
    ///
    /// The caller has checked that the VMA lies inside the object, and is in its `mmap` callback.
    pub(crate) fn attach(&self, vma: &VmaNew, object: Arc<T>, start: u64, frames: bool) {
        let raw = vma.as_ptr();
        let mut set = vm_flags::DONTEXPAND | vm_flags::DONTDUMP;
        if frames {
            // Frames have no reference count that get_user_pages() could use.
            set |= vm_flags::PFNMAP | vm_flags::IO;
        }
        // SAFETY: The VMA is being set up by this callback, hence not shared yet.
        unsafe {
            shim::userdma_vm_flags_mod(raw, set, 0);
            // CAST: A page offset, which user space passed as one.
            (*raw).vm_pgoff -= (start >> PAGE_SHIFT) as c_ulong;
            bindings::vma_set_file(raw, self.0.as_ptr());
            (*raw).vm_ops = &Operations::<T>::TABLE;
        }
        object.opened();
        // SAFETY: As above. The reference is given back by `close_callback()`.
        unsafe { (*raw).vm_private_data = Arc::into_raw(object).cast_mut().cast() };
    }
}

struct Operations<T>(PhantomData<T>);

impl<T: Mappable> Operations<T> {
    const TABLE: bindings::vm_operations_struct = bindings::vm_operations_struct {
        open: Some(Self::open_callback),
        close: Some(Self::close_callback),
        fault: Some(Self::fault_callback),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `vma` must have been through [`MapFile::attach`] and not yet been closed.
    unsafe fn object<'a>(vma: *mut bindings::vm_area_struct) -> ArcBorrow<'a, T> {
        // SAFETY: `attach()` stored an `Arc<T>`.
        unsafe { ArcBorrow::from_raw((*vma).vm_private_data.cast::<T>()) }
    }

    /// # Safety
    ///
    /// Only called by the memory manager: `vma` is a copy of one of ours.
    unsafe extern "C" fn open_callback(vma: *mut bindings::vm_area_struct) {
        // SAFETY: The copy has the private data of the original, which is still open.
        let object: Arc<T> = unsafe { Self::object(vma) }.into();
        object.opened();
        // The copy has a reference of its own; the pointer is the same.
        let _ = Arc::into_raw(object);
    }

    /// # Safety
    ///
    /// Only called by the memory manager.
    unsafe extern "C" fn close_callback(vma: *mut bindings::vm_area_struct) {
        // SAFETY: `attach()` or `open_callback()` gave this VMA a reference; it ends here.
        let object = unsafe { Arc::from_raw((*vma).vm_private_data.cast::<T>()) };
        object.closed();
    }

    /// # Safety
    ///
    /// Only called by the memory manager.
    unsafe extern "C" fn fault_callback(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: `vmf` is valid for this call and its VMA is open.
        let object = unsafe { Self::object((*vmf).__bindgen_anon_1.vma) };
        let Ok(backing) = object.backing() else {
            return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
        };
        match backing {
            // SAFETY: `vmf` is valid.
            Backing::Memory(memory) => unsafe { Self::fault_memory(&object, memory, vmf) },
            Backing::Frames(frames, _keep) => {
                // SAFETY: `vmf` is valid; `_keep` holds the frames until this returns.
                unsafe { Self::fault_frames(frames, vmf) }
            }
        }
    }

    /// # Safety
    ///
    /// `vmf` must be valid.
    unsafe fn fault_memory(
        object: &T,
        memory: &Memory,
        vmf: *mut bindings::vm_fault,
    ) -> bindings::vm_fault_t {
        // SAFETY: `vmf` is valid.
        let pgoff = unsafe { (*vmf).__bindgen_anon_1.pgoff } as u64;
        let page = match pgoff.checked_mul(1 << PAGE_SHIFT) {
            Some(offset) => memory.lock_page(offset),
            None => None,
        };
        match page {
            // Asked with the folio locked: revoking sets its flag, then locks each folio once,
            // then zaps. Hence this fault either sees the flag or is over before the zap.
            Some(page) if !object.revoked() => {
                // SAFETY: `vmf` is valid.
                unsafe { (*vmf).page = page.into_raw() };
                bindings::vm_fault_reason_VM_FAULT_LOCKED
            }
            _ => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
        }
    }

    /// Inserts the frame that is missing and its neighbours: up to 2 MiB, aligned.
    ///
    /// # Safety
    ///
    /// `vmf` must be valid, and `frames` until the mapping is zapped.
    unsafe fn fault_frames(frames: Frames, vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        const WINDOW: usize = 512;

        // SAFETY: `vmf` is valid, and so is its VMA, which is locked.
        let (vma, pgoff, address) = unsafe {
            let vmf = &(*vmf).__bindgen_anon_1;
            (vmf.vma, vmf.pgoff, vmf.address)
        };
        // SAFETY: As above.
        let (vm_start, vm_end) = unsafe {
            let range = &(*vma).__bindgen_anon_1.__bindgen_anon_1;
            (range.vm_start, range.vm_end)
        };
        let Some(frame) = frames.get(pgoff << PAGE_SHIFT) else {
            return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
        };
        // SAFETY: The VMA is one of ours with VM_PFNMAP, `address` lies in it.
        let result = unsafe { bindings::vmf_insert_pfn(vma, address, frame) };
        if result != bindings::vm_fault_reason_VM_FAULT_NOPAGE {
            return result;
        }
        let page = address >> PAGE_SHIFT;
        let first = (page - page % WINDOW).max(vm_start >> PAGE_SHIFT);
        let last = (page - page % WINDOW + WINDOW).min(vm_end >> PAGE_SHIFT);
        for near in (first..last).filter(|&near| near != page) {
            // The VMA begins inside the object, hence this does not go below 0.
            let Some(frame) = frames.get((pgoff + near - page) << PAGE_SHIFT) else {
                break;
            };
            // SAFETY: As above, `near` lies in the VMA.
            let result = unsafe { bindings::vmf_insert_pfn(vma, near << PAGE_SHIFT, frame) };
            if result != bindings::vm_fault_reason_VM_FAULT_NOPAGE {
                // The page that was asked for is there; the rest can fault by itself.
                break;
            }
        }
        bindings::vm_fault_reason_VM_FAULT_NOPAGE
    }
}

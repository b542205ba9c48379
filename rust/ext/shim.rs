// SPDX-License-Identifier: GPL-2.0

//! Declarations of `shim.c` and `uring.c`: inlines of the kernel that `bindings` lacks.

use kernel::bindings;
use kernel::prelude::*;

/// What a command of io_uring's is.
#[repr(C)]
pub(super) struct UringLook {
    pub(super) file: *mut bindings::file,
    pub(super) op: u32,
    pub(super) nonblock: bool,
    pub(super) cancels: bool,
    pub(super) fixed: bool,
}

// The structures are bindgen's, which has zero-sized ones in them where a configuration leaves a
// member empty, as C does too.
#[allow(improper_ctypes)]
unsafe extern "C" {
    pub(super) fn userdma_folio_alloc(
        order: c_uint,
        nid: c_int,
        only_there: bool,
    ) -> *mut bindings::folio;
    pub(super) fn userdma_folio_get(folio: *mut bindings::folio);
    pub(super) fn userdma_folio_put(folio: *mut bindings::folio);
    pub(super) fn userdma_folio_lock(folio: *mut bindings::folio);
    pub(super) fn userdma_folio_unlock(folio: *mut bindings::folio);
    pub(super) fn userdma_folio_page(
        folio: *mut bindings::folio,
        n: c_ulong,
    ) -> *mut bindings::page;
    pub(super) fn userdma_folio_nid(folio: *mut bindings::folio) -> c_int;
    pub(super) fn userdma_folio_set_index(folio: *mut bindings::folio, index: c_ulong);
    pub(super) fn userdma_virt_to_pfn(addr: *const c_void) -> c_ulong;
    pub(super) fn userdma_set_file_size(file: *mut bindings::file, size: bindings::loff_t);
    pub(super) fn userdma_anon_file(
        name: *const c_char,
        fops: *const bindings::file_operations,
    ) -> *mut bindings::file;
    pub(super) fn userdma_vm_flags_mod(
        vma: *mut bindings::vm_area_struct,
        set: bindings::vm_flags_t,
        clear: bindings::vm_flags_t,
    );
    pub(super) fn userdma_use_dma_iommu(dev: *mut bindings::device) -> bool;
    pub(super) fn userdma_dev_is_coherent(dev: *mut bindings::device) -> bool;
    pub(super) fn userdma_dma_sync_for_device(
        dev: *mut bindings::device,
        addr: bindings::dma_addr_t,
        len: usize,
        dir: c_int,
    );
    pub(super) fn userdma_dma_sync_for_cpu(
        dev: *mut bindings::device,
        addr: bindings::dma_addr_t,
        len: usize,
        dir: c_int,
    );
    pub(super) fn userdma_dev_to_node(dev: *mut bindings::device) -> c_int;
    pub(super) fn userdma_total_pages() -> c_ulong;
    pub(super) fn userdma_fatal_signal_pending() -> bool;
    pub(super) fn userdma_file_uid(file: *mut bindings::file) -> c_uint;
    pub(super) fn userdma_page_folio(page: *mut bindings::page) -> *mut bindings::folio;
    pub(super) fn userdma_page_address(page: *mut bindings::page) -> *mut c_void;
    pub(super) fn userdma_page_phys(page: *mut bindings::page) -> bindings::phys_addr_t;
    pub(super) fn userdma_page_nid(page: *mut bindings::page) -> c_int;
    pub(super) fn userdma_page_hugetlb(page: *mut bindings::page) -> bool;
    pub(super) fn userdma_folio_at(page: *mut bindings::page, size: *mut usize) -> usize;
    pub(super) fn userdma_is_memfd(file: *mut bindings::file) -> bool;
    pub(super) fn userdma_memfd_write_allowed(file: *mut bindings::file) -> c_int;
    pub(super) fn userdma_file_size(file: *mut bindings::file) -> bindings::loff_t;
    pub(super) fn userdma_iter_user_backed(iter: *const bindings::iov_iter) -> bool;
    pub(super) fn userdma_mmap_write_lock(mm: *mut bindings::mm_struct);
    pub(super) fn userdma_mmap_write_lock_killable(mm: *mut bindings::mm_struct) -> c_int;
    pub(super) fn userdma_memlock_limit() -> c_ulong;
    pub(super) fn userdma_mmap_write_unlock(mm: *mut bindings::mm_struct);
    pub(super) fn userdma_set_seg_boundary(dev: *mut bindings::device, mask: c_ulong);
    pub(super) fn userdma_uring_look(
        cmd: *const bindings::io_uring_cmd,
        flags: c_uint,
        look: *mut UringLook,
    );
    pub(super) fn userdma_uring_payload(
        cmd: *const bindings::io_uring_cmd,
        flags: c_uint,
        to: *mut u64,
    ) -> bool;
    pub(super) fn userdma_uring_import(
        cmd: *mut bindings::io_uring_cmd,
        flags: c_uint,
        address: u64,
        len: usize,
        write: bool,
        iter: *mut bindings::iov_iter,
    ) -> c_int;
    pub(super) fn userdma_bvec_next(
        iter: *mut bindings::iov_iter,
        page: *mut *mut bindings::page,
        inside: *mut u32,
    ) -> isize;
    pub(super) fn userdma_uring_begin(
        cmd: *mut bindings::io_uring_cmd,
        flags: c_uint,
        kept: *mut c_void,
        release: unsafe extern "C" fn(*mut c_void),
    );
    pub(super) fn userdma_uring_put_off(
        cmd: *const bindings::io_uring_cmd,
        run: unsafe extern "C" fn(*mut bindings::file),
    ) -> bool;
    pub(super) fn userdma_uring_complete(
        cmd: *mut bindings::io_uring_cmd,
        result: c_int,
        bytes: u64,
    );
    pub(super) fn userdma_irq_spread(irq: c_uint, nth: c_uint, node: c_int);
    pub(super) fn userdma_irq_forget_hint(irq: c_uint);
    pub(super) fn userdma_eventfd_get(fd: c_int) -> *mut c_void;
    pub(super) fn userdma_eventfd_put(ctx: *mut c_void);
    pub(super) fn userdma_eventfd_signal(ctx: *mut c_void);
    pub(super) fn userdma_read_words(to: *mut u64, from: *const u64, count: usize) -> bool;
    pub(super) fn userdma_write_words(to: *mut u64, from: *const u64, count: usize) -> bool;
    pub(super) fn userdma_write_u32(to: *mut u32, value: u32) -> bool;
}

/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * userdma: zero-copy access to the DMA buffers of a PCI device.
 *
 * This header is the single source of truth of the ABI. The kernel's and the
 * library's Rust types are generated from it; C programs include it.
 */
#ifndef _UAPI_LINUX_USERDMA_H
#define _UAPI_LINUX_USERDMA_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * DOC: General format
 *
 * Every command takes a pointer to a structure that begins with its size and a
 * word of flags. The caller sets @size to the size of the structure it was
 * compiled with. The kernel accepts any size from the first version's on:
 * bytes that it does not know must be zero (E2BIG), bytes that the caller does
 * not know are not written, and a tail that the kernel does not know is
 * zeroed. Structures have no padding and are the same in 32-bit and 64-bit
 * programs. Reserved fields must be zero. Outputs are named @out_*; on error no
 * output is written and no object is left behind.
 *
 * Elements of an array have no size of their own: the command's structure
 * carries @entry_size, to which the same rules apply.
 *
 * Command numbers carry neither a direction nor a size, so that a structure
 * can grow without becoming another command; a number with such bits is
 * unknown (ENOTTY).
 *
 * Checks are made in this order, and the first that fails gives the errno:
 *
 *  - ENODEV: the device is gone (wins over everything else)
 *  - ENOTTY: no such command
 *  - EFAULT: a bad pointer
 *  - EINVAL: @size below the first version's, or @entry_size likewise
 *  - E2BIG: @size or @entry_size above a page, or non-zero bytes that the
 *    kernel does not know
 *  - EOPNOTSUPP: an unknown flag or operation, or one that this card lacks
 *  - EINVAL: a reserved field that is not zero, or a bad value
 *  - EPERM, EBADF: privilege, or a file that is not open for it
 *  - ENOENT: no such handle in this file
 *  - EACCES: the buffer is a source only
 *  - EOVERFLOW: offset + length wraps; ERANGE: outside the buffer or the card
 *
 * and then, of the work itself: ENOMEM, EDQUOT (a limit of the driver),
 * EAGAIN, EINTR, ETIMEDOUT (the card did not answer in time), EIO (the card
 * reported an error), ECANCELED.
 */

#define USERDMA_IOCTL_TYPE 0xDA

/* The version of this header. It grows with every addition. */
#define USERDMA_ABI_VERSION 4

/*
 * An anonymous enum, not #define: bindgen does not evaluate macros that expand
 * to other function-like macros.
 */
enum {
	USERDMA_IOCTL_INFO = _IO(USERDMA_IOCTL_TYPE, 0x00),
	USERDMA_IOCTL_BUF_ALLOC = _IO(USERDMA_IOCTL_TYPE, 0x01),
	USERDMA_IOCTL_BUF_INFO = _IO(USERDMA_IOCTL_TYPE, 0x02),
	USERDMA_IOCTL_BUF_FREE = _IO(USERDMA_IOCTL_TYPE, 0x03),
	USERDMA_IOCTL_SUBMIT = _IO(USERDMA_IOCTL_TYPE, 0x04),
	USERDMA_IOCTL_WAIT = _IO(USERDMA_IOCTL_TYPE, 0x05),
	USERDMA_IOCTL_CANCEL = _IO(USERDMA_IOCTL_TYPE, 0x06),
	USERDMA_IOCTL_BUF_REGISTER = _IO(USERDMA_IOCTL_TYPE, 0x07),
	USERDMA_IOCTL_BUF_SYNC = _IO(USERDMA_IOCTL_TYPE, 0x08),
	USERDMA_IOCTL_EVENTFD = _IO(USERDMA_IOCTL_TYPE, 0x09),
	/*
	 * Reserved, ENOTTY until they exist: 0x0a REGION_INFO,
	 * 0x0b BUS_ADDRESSES, 0x0c STREAM_CREATE, 0x0d BUF_EXPORT,
	 * 0x0e BUF_IMPORT.
	 */
};

/*
 * mmap offsets are opaque: BUF_ALLOC and BUF_INFO return them. They are
 * multiples of 2 MiB and below 2^44, which a 32-bit program can still pass.
 * They have nothing to do with the positions of read() and write(). Offsets
 * below USERDMA_MMAP_BUFFERS are reserved for the card's regions.
 */
#define USERDMA_MMAP_BUFFERS (8ULL << 40)
#define USERDMA_MMAP_END (16ULL << 40)

/* Capabilities of a device, in userdma_info.out_capabilities. */
enum {
	/* BUF_ALLOC of each kind */
	USERDMA_CAP_COHERENT = 1 << 0,
	USERDMA_CAP_HUGE = 1 << 1,
	/* transfers between a buffer and the card's memory */
	USERDMA_CAP_TO_CARD = 1 << 2,
	USERDMA_CAP_FROM_CARD = 1 << 3,
	/* transfers from one buffer to another */
	USERDMA_CAP_HOST_TO_HOST = 1 << 4,
	/* an IOMMU translates what the card addresses */
	USERDMA_CAP_IOMMU = 1 << 5,
	/*
	 * the card reaches only part of the memory and no IOMMU helps: data in
	 * huge buffers and registered memory passes through a bounce buffer of
	 * the driver
	 */
	USERDMA_CAP_BOUNCE = 1 << 6,
	/* a transfer that has begun can be stopped */
	USERDMA_CAP_ABORT = 1 << 7,
	/* BUF_REGISTER */
	USERDMA_CAP_REGISTER = 1 << 8,
	/* IORING_OP_URING_CMD */
	USERDMA_CAP_URING = 1 << 9,
	/* the same, of memory that is registered with the ring */
	USERDMA_CAP_URING_FIXED = 1 << 10,
};

/* How the card interrupts, in userdma_info.out_interrupt. */
enum {
	USERDMA_IRQ_INTX = 1,
	USERDMA_IRQ_MSI = 2,
	USERDMA_IRQ_MSIX = 3,
};

/**
 * struct userdma_info - ioctl(USERDMA_IOCTL_INFO)
 * @size: sizeof(struct userdma_info)
 * @flags: must be 0
 * @out_abi_version: USERDMA_ABI_VERSION of the driver
 * @out_node: N of /dev/userdmaN
 * @out_backend: name of the card's backend, NUL-terminated
 * @out_bus_name: name of the device on its bus, NUL-terminated
 * @out_capabilities: USERDMA_CAP_*
 * @out_dma_mask: highest bus address the card can form
 * @out_card_size: bytes of the card's own memory; the end of file of read()
 * @out_max_transfer: most bytes one transfer may move to or from the card
 * @out_max_descriptor: most bytes the card moves in one go; longer transfers
 *	are split
 * @out_alignment: of buffer offset, card offset and length, in bytes; a power
 *	of two
 * @out_channels: transfers name a channel below this
 * @out_vectors: interrupt vectors in use
 * @out_interrupt: USERDMA_IRQ_*
 * @out_depth: transfers that one open file may have between SUBMIT and WAIT
 * @out_regions: register windows that can be mapped
 * @out_numa_node: of the device, or -1
 * @out_max_buffers: buffers that one open file may hold
 * @out_page_shift: of the system's pages
 * @out_limit_file: bytes of buffers one open file may hold
 * @out_limit_user: bytes of buffers one user may hold
 * @out_limit_total: bytes of buffers all may hold
 * @out_used_file: bytes of buffers this open file holds now
 * @out_used_user: bytes the user who opened it holds now
 * @out_used_total: bytes all hold now
 * @out_timeout_ns: longest the card may take for the descriptors of a transfer
 *	that it works on at once, 64 MiB at most
 * @out_reserved: 0
 * @out_direct_min: read() and write() of at least so many bytes at once move
 *	the program's own pages, smaller ones are copied; 0: all are copied
 *
 * Tells all that a program could otherwise only guess. Does not sleep for the
 * card.
 */
struct userdma_info {
	__u32 size;
	__u32 flags;
	__u32 out_abi_version;
	__u32 out_node;
	char out_backend[16];
	char out_bus_name[32];
	__aligned_u64 out_capabilities;
	__aligned_u64 out_dma_mask;
	__aligned_u64 out_card_size;
	__aligned_u64 out_max_transfer;
	__aligned_u64 out_max_descriptor;
	__u32 out_alignment;
	__u32 out_channels;
	__u32 out_vectors;
	__u32 out_interrupt;
	__u32 out_depth;
	__u32 out_regions;
	__s32 out_numa_node;
	__u32 out_max_buffers;
	__u32 out_page_shift;
	__u32 out_reserved;
	__aligned_u64 out_limit_file;
	__aligned_u64 out_limit_user;
	__aligned_u64 out_limit_total;
	__aligned_u64 out_used_file;
	__aligned_u64 out_used_user;
	__aligned_u64 out_used_total;
	__aligned_u64 out_timeout_ns;
	/* since version 2 */
	__aligned_u64 out_direct_min;
};

/* Kinds of buffers. */
enum {
	/* memory that card and program see alike at all times */
	USERDMA_BUF_COHERENT = 1,
	/* huge pages: ordinary memory to the program, few segments to the card */
	USERDMA_BUF_HUGE = 2,
	/* the program's own memory, pinned by BUF_REGISTER */
	USERDMA_BUF_USER = 3,
};

/*
 * Flags of BUF_ALLOC. All are for HUGE only: where coherent memory lies, and in
 * which pages, is the DMA API's affair (EOPNOTSUPP).
 */
enum {
	/* HUGE: allocate on @numa_node, and nowhere else */
	USERDMA_ALLOC_NODE = 1 << 0,
	/* HUGE: take smaller pages where there are no huge ones */
	USERDMA_ALLOC_FALLBACK = 1 << 1,
	/* HUGE: fail with EADDRNOTAVAIL instead of bouncing every transfer */
	USERDMA_ALLOC_NO_BOUNCE = 1 << 2,
};

/**
 * struct userdma_buf_alloc - ioctl(USERDMA_IOCTL_BUF_ALLOC)
 * @size: sizeof(struct userdma_buf_alloc)
 * @flags: USERDMA_ALLOC_*
 * @kind: USERDMA_BUF_*
 * @numa_node: with USERDMA_ALLOC_NODE, else 0
 * @length: bytes wanted, more than 0
 * @page_size: of a huge buffer: 0 or 2 MiB; of others 0
 * @out_handle: names the buffer in this open file; never 0
 * @out_segments: pieces the card sees, 0 if transfers are bounced
 * @out_length: @length rounded up to whole pages, of a huge buffer to whole
 *	2 MiB; the tail is zero and can be mapped
 * @out_page_size: the smallest page got
 * @out_mmap_offset: for mmap() of this open file
 *
 * Allocates zeroed memory that the card can reach. May sleep, for as long as
 * zeroing takes; HUGE ends early with EINTR when a fatal signal comes.
 * ENOMEM: no such memory is free (for HUGE without USERDMA_ALLOC_FALLBACK: too
 * fragmented). EDQUOT: a limit of INFO.
 * EADDRNOTAVAIL: the card cannot reach it. ENOSPC: @out_max_buffers handles
 * are in use.
 */
struct userdma_buf_alloc {
	__u32 size;
	__u32 flags;
	__u32 kind;
	__u32 numa_node;
	__aligned_u64 length;
	__aligned_u64 page_size;
	__u32 out_handle;
	__u32 out_segments;
	__aligned_u64 out_length;
	__aligned_u64 out_page_size;
	__aligned_u64 out_mmap_offset;
};

/* What a buffer is, in userdma_buf_info.out_state. */
enum {
	/* the card cannot reach it: transfers are copied by the driver */
	USERDMA_BUF_BOUNCED = 1 << 0,
	/* it was got in smaller pages than asked for */
	USERDMA_BUF_FELL_BACK = 1 << 1,
	/* mappings of it can be pinned: O_DIRECT, io_uring, vmsplice */
	USERDMA_BUF_PINNABLE = 1 << 2,
	/* the card may read it, and not write to it */
	USERDMA_BUF_SOURCE = 1 << 3,
};

/**
 * struct userdma_buf_info - ioctl(USERDMA_IOCTL_BUF_INFO)
 * @size: sizeof(struct userdma_buf_info)
 * @flags: must be 0
 * @handle: of BUF_ALLOC or BUF_REGISTER
 * @out_kind: USERDMA_BUF_*
 * @out_state: USERDMA_BUF_BOUNCED and the like
 * @out_segments: pieces the card sees, 0 if bounced
 * @out_length: bytes
 * @out_page_size: the smallest page got
 * @out_mmap_offset: for mmap() of this open file; 0 if it cannot be mapped, as
 *	USERDMA_BUF_USER
 * @out_numa_node: where the first page lies, or -1 if unknown
 * @out_mappings: mappings that exist now
 */
struct userdma_buf_info {
	__u32 size;
	__u32 flags;
	__u32 handle;
	__u32 out_kind;
	__u32 out_state;
	__u32 out_segments;
	__aligned_u64 out_length;
	__aligned_u64 out_page_size;
	__aligned_u64 out_mmap_offset;
	__s32 out_numa_node;
	__u32 out_mappings;
};

/**
 * struct userdma_buf_free - ioctl(USERDMA_IOCTL_BUF_FREE)
 * @size: sizeof(struct userdma_buf_free)
 * @flags: must be 0
 * @handle: of BUF_ALLOC or BUF_REGISTER; invalid when this returns
 * @reserved: must be 0
 *
 * Returns at once. Memory that is still mapped or in flight stays until its
 * last user is gone; nobody else sees it before. Registered memory that is not
 * in flight is unpinned, and no longer accounted, when this returns to the
 * process that registered it; if another one frees it, soon.
 */
struct userdma_buf_free {
	__u32 size;
	__u32 flags;
	__u32 handle;
	__u32 reserved;
};

/* Flags of BUF_REGISTER. */
enum {
	/* only for the card to read; the memory may be read-only */
	USERDMA_REGISTER_SOURCE = 1 << 0,
	/* the memory of the memfd @fd, mapped or not; @address is an offset in it */
	USERDMA_REGISTER_MEMFD = 1 << 1,
	/* fail with EADDRNOTAVAIL instead of bouncing every transfer */
	USERDMA_REGISTER_NO_BOUNCE = 1 << 2,
};

/**
 * struct userdma_buf_register - ioctl(USERDMA_IOCTL_BUF_REGISTER)
 * @size: sizeof(struct userdma_buf_register)
 * @flags: USERDMA_REGISTER_*
 * @address: of the first byte; a multiple of userdma_info.out_alignment
 * @length: bytes, more than 0; need not be aligned
 * @fd: with USERDMA_REGISTER_MEMFD, else 0
 * @reserved: must be 0
 * @out_handle: names the buffer in this open file; never 0
 * @out_segments: pieces the card sees, 0 if transfers are bounced
 * @out_page_size: the smallest page that was found
 * @out_pinned: bytes of whole pages, charged to RLIMIT_MEMLOCK of the caller's
 *	process until the buffer is gone
 *
 * Pins the program's own memory, so that the card can reach it: anonymous
 * memory, shared memory, memfds, huge pages of both kinds. What the program
 * does with its mapping afterwards (munmap, mremap, fork) does not change which
 * pages the card reaches. May sleep, and holds nothing meanwhile that a page
 * fault or another file needs.
 *
 * EOVERFLOW: @address + @length wraps. EFAULT: not all of it is mapped, or not
 * writable (without USERDMA_REGISTER_SOURCE), or it is memory that must not be
 * pinned for long: a shared mapping of a file on disk (without
 * USERDMA_REGISTER_SOURCE), a mapping of registers or of coherent memory; or a
 * page could not be brought in. ENOMEM: RLIMIT_MEMLOCK, for the process and for
 * all that the open file has, or no memory for the tables. EINTR: a signal
 * came; nothing is pinned. While a page is read from a disk only a fatal one
 * counts. EADDRNOTAVAIL: the card cannot reach it. ENOSPC: as for BUF_ALLOC.
 * With USERDMA_REGISTER_MEMFD: EBADF: no such fd, or not open for reading and
 * (without USERDMA_REGISTER_SOURCE) writing; EINVAL: not a memfd, or no shared
 * memory; ERANGE: beyond its size; EPERM: sealed against writing or for
 * appending only, and not USERDMA_REGISTER_SOURCE.
 */
struct userdma_buf_register {
	__u32 size;
	__u32 flags;
	__aligned_u64 address;
	__aligned_u64 length;
	__s32 fd;
	__u32 reserved;
	__u32 out_handle;
	__u32 out_segments;
	__aligned_u64 out_page_size;
	__aligned_u64 out_pinned;
};

/* Flags of BUF_SYNC; at least one. */
enum {
	/* the program has written; the card may read now */
	USERDMA_SYNC_FOR_DEVICE = 1 << 0,
	/* the card has written; the program may read now */
	USERDMA_SYNC_FOR_CPU = 1 << 1,
};

/**
 * struct userdma_buf_sync - ioctl(USERDMA_IOCTL_BUF_SYNC)
 * @size: sizeof(struct userdma_buf_sync)
 * @flags: USERDMA_SYNC_*
 * @handle: of BUF_ALLOC or BUF_REGISTER
 * @reserved: must be 0
 * @offset: into the buffer, in bytes
 * @length: in bytes, more than 0
 *
 * Transfers do this by themselves, on exactly the bytes that they move. Only a
 * program that lets the card work on a buffer by other means needs it. Does
 * nothing where card and program see alike at all times: coherent buffers, and
 * all others on most machines; nor for a bounced buffer, of which the card
 * sees nothing. EOVERFLOW, ERANGE: outside the buffer. EACCES:
 * USERDMA_SYNC_FOR_CPU of a source.
 */
struct userdma_buf_sync {
	__u32 size;
	__u32 flags;
	__u32 handle;
	__u32 reserved;
	__aligned_u64 offset;
	__aligned_u64 length;
};

/* Operations of a transfer. */
enum {
	USERDMA_OP_TO_CARD = 1,
	USERDMA_OP_FROM_CARD = 2,
	USERDMA_OP_HOST_TO_HOST = 3,
};

/* Flags of a transfer. */
enum {
	/* begin only when all earlier transfers of this open file have ended */
	USERDMA_TRANSFER_BARRIER = 1 << 0,
};

/**
 * struct userdma_transfer - one entry of SUBMIT, 64 bytes
 * @user_data: returned in the completion
 * @op: USERDMA_OP_*
 * @channel: below userdma_info.out_channels
 * @flags: USERDMA_TRANSFER_*
 * @buffer: handle; the source of TO_CARD and HOST_TO_HOST, else the destination
 * @buffer2: handle of HOST_TO_HOST's destination, else 0
 * @buffer_offset: into @buffer, in bytes
 * @length: in bytes, more than 0
 * @card_offset: into the card's memory, in bytes; HOST_TO_HOST: into @buffer2
 * @timeout_ns: longest the transfer may take on the card; 0: only the
 *	driver's limit, out_timeout_ns
 * @reserved: must be 0
 *
 * Transfers of one open file on one channel run in the order of submission.
 */
struct userdma_transfer {
	__aligned_u64 user_data;
	__u16 op;
	__u16 channel;
	__u32 flags;
	__u32 buffer;
	__u32 buffer2;
	__aligned_u64 buffer_offset;
	__aligned_u64 length;
	__aligned_u64 card_offset;
	__aligned_u64 timeout_ns;
	__aligned_u64 reserved;
};

/**
 * struct userdma_submit - ioctl(USERDMA_IOCTL_SUBMIT)
 * @size: sizeof(struct userdma_submit)
 * @flags: must be 0
 * @entries: pointer to an array of struct userdma_transfer
 * @entry_size: sizeof(struct userdma_transfer)
 * @count: entries in the array, more than 0
 * @out_count: entries that were accepted
 * @reserved: must be 0
 *
 * Checks the entries in order and accepts a prefix. Succeeds if at least one
 * was accepted; else gives the error of the first. Each accepted entry gives
 * exactly one completion, whose place is reserved here: with no place free
 * (userdma_info.out_depth) the call sleeps, or gives EAGAIN with O_NONBLOCK.
 */
struct userdma_submit {
	__u32 size;
	__u32 flags;
	__aligned_u64 entries;
	__u32 entry_size;
	__u32 count;
	__u32 out_count;
	__u32 reserved;
};

/**
 * struct userdma_completion - one record of WAIT, 64 bytes
 * @user_data: of the transfer
 * @bytes: moved, also when @result is an error
 * @result: 0 or a negative errno: -EIO, -ETIMEDOUT, -ECANCELED, -ENODEV
 * @channel: of the transfer
 * @flags: 0
 * @reserved0: 0
 * @submit_ns: CLOCK_MONOTONIC when it was accepted
 * @start_ns: when the card began, or 0 if it never did
 * @end_ns: when it ended
 * @reserved: 0
 */
struct userdma_completion {
	__aligned_u64 user_data;
	__aligned_u64 bytes;
	__s32 result;
	__u32 channel;
	__u32 flags;
	__u32 reserved0;
	__aligned_u64 submit_ns;
	__aligned_u64 start_ns;
	__aligned_u64 end_ns;
	__aligned_u64 reserved;
};

/* Values of userdma_wait.deadline_ns. */
#define USERDMA_WAIT_POLL 0ULL
#define USERDMA_WAIT_FOREVER 0xffffffffffffffffULL

/**
 * struct userdma_wait - ioctl(USERDMA_IOCTL_WAIT)
 * @size: sizeof(struct userdma_wait)
 * @flags: must be 0
 * @entries: pointer to an array of struct userdma_completion
 * @entry_size: sizeof(struct userdma_completion)
 * @max: room in the array, more than 0
 * @min: records to wait for, at most @max; cut to what is outstanding
 * @out_count: records that were written
 * @deadline_ns: CLOCK_MONOTONIC; USERDMA_WAIT_POLL or USERDMA_WAIT_FOREVER
 *
 * Collects completions. With nothing outstanding it succeeds with 0 records.
 * Succeeds if at least one record was written, whatever else happened; else
 * EINTR, ETIMEDOUT (the deadline passed), EAGAIN (O_NONBLOCK, and it would
 * sleep). No error loses a record. Any thread may wait; each record goes to
 * one of them. After unbind it hands out what is left, then gives ENODEV.
 */
struct userdma_wait {
	__u32 size;
	__u32 flags;
	__aligned_u64 entries;
	__u32 entry_size;
	__u32 max;
	__u32 min;
	__u32 out_count;
	__aligned_u64 deadline_ns;
};

/* Flags of CANCEL. */
enum {
	/* whatever their user_data is */
	USERDMA_CANCEL_ALL = 1 << 0,
};

/**
 * struct userdma_cancel - ioctl(USERDMA_IOCTL_CANCEL)
 * @size: sizeof(struct userdma_cancel)
 * @flags: USERDMA_CANCEL_*
 * @user_data: of the transfers; with USERDMA_CANCEL_ALL 0
 * @channel: below userdma_info.out_channels
 * @out_count: transfers that were withdrawn
 * @reserved: must be 0
 *
 * Withdraws the transfers of this open file that the card was not given yet:
 * each completes with ECANCELED, with nothing moved. One that the card was given
 * runs on, and completes as if nobody had asked; if the card moves it in
 * several parts it ends with ECANCELED after the part that it has. Either way
 * each gives exactly one completion. Does not sleep. To withdraw nothing is no
 * error.
 */
struct userdma_cancel {
	__u32 size;
	__u32 flags;
	__aligned_u64 user_data;
	__u32 channel;
	__u32 out_count;
	__aligned_u64 reserved;
};

/* Flags of EVENTFD. */
enum {
	/* of the interrupts of @vector, not of completions */
	USERDMA_EVENTFD_VECTOR = 1 << 0,
};

/**
 * struct userdma_eventfd - ioctl(USERDMA_IOCTL_EVENTFD)
 * @size: sizeof(struct userdma_eventfd)
 * @flags: USERDMA_EVENTFD_*
 * @fd: an eventfd, or -1 to take the one before away
 * @vector: with USERDMA_EVENTFD_VECTOR, below userdma_info.out_vectors; else 0
 *
 * From now on 1 is added to the eventfd for each record that waits for WAIT, or
 * for each interrupt of the vector that the driver was told of. An open file has
 * one for its completions and one for each vector; a new one takes the place of
 * the one before. The eventfd may be closed; it is signalled until the open file
 * is closed, too. A record that is there already is not counted.
 * EBADF: no such fd. EINVAL: not an eventfd; @fd below -1; no such vector.
 */
struct userdma_eventfd {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__u32 vector;
};

/*
 * io_uring: IORING_OP_URING_CMD on a ring with 128-byte entries
 * (IORING_SETUP_SQE128), or IORING_OP_URING_CMD128. The structure named here is
 * at sqe->cmd; sqe->cmd_op says which it is. What of the entry is not used must
 * be 0.
 */
enum {
	/*
	 * struct userdma_transfer: a transfer, as of SUBMIT. It completes on
	 * its ring only, with the number of bytes moved, or a negative errno
	 * as in userdma_completion. With 32-byte completions (IORING_SETUP_CQE32)
	 * the bytes are in big_cqe[0], also with an errno. No place free: it waits
	 * in a thread of io_uring's, or completes with EAGAIN if the file has
	 * O_NONBLOCK.
	 *
	 * With IORING_URING_CMD_FIXED in sqe->uring_cmd_flags the memory is
	 * what sqe->buf_index names of the ring's registered buffers: buffer
	 * is 0, and buffer_offset the address in the program. Since 4.
	 */
	USERDMA_URING_TRANSFER = 1,
	/*
	 * struct userdma_cancel: as CANCEL; completes with what would be
	 * out_count. It and CANCEL withdraw transfers of either kind.
	 */
	USERDMA_URING_CANCEL = 2,
};

#endif /* _UAPI_LINUX_USERDMA_H */

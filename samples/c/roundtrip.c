/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The smallest useful C program for a userdma device: sends a few bytes from a
 * buffer to the card's memory and back to another place, and compares them.
 */
/* Offsets for mmap() do not fit 32 bits. */
#define _FILE_OFFSET_BITS 64
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/userdma.h>

static const char message[32] = "hello, card! is anybody in there";

/* Moves the message between the card and an offset of the buffer, and waits. */
static void move(int fd, __u16 op, __u32 buffer, __u64 offset)
{
	struct userdma_transfer transfer = {
		.op = op,
		.buffer = buffer,
		.buffer_offset = offset,
		.length = sizeof(message),
	};
	struct userdma_submit submit = {
		.size = sizeof(submit),
		.entries = (uintptr_t)&transfer,
		.entry_size = sizeof(transfer),
		.count = 1,
	};
	struct userdma_completion done;
	struct userdma_wait wait = {
		.size = sizeof(wait),
		.entries = (uintptr_t)&done,
		.entry_size = sizeof(done),
		.max = 1,
		.min = 1,
		.deadline_ns = USERDMA_WAIT_FOREVER,
	};

	if (ioctl(fd, USERDMA_IOCTL_SUBMIT, &submit))
		err(1, "submit");
	if (ioctl(fd, USERDMA_IOCTL_WAIT, &wait))
		err(1, "wait");
	if (done.result)
		errx(1, "transfer: %s", strerror(-done.result));
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "/dev/userdma0";
	struct userdma_info info = { .size = sizeof(info) };
	struct userdma_buf_alloc alloc = {
		.size = sizeof(alloc),
		.kind = USERDMA_BUF_COHERENT,
		.length = 1 << 20,
	};
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char *memory;

	if (fd < 0)
		err(1, "open %s", path);
	if (ioctl(fd, USERDMA_IOCTL_INFO, &info))
		err(1, "%s: info", path);
	printf("%s: %s on %s\n", path, info.out_backend, info.out_bus_name);

	if (ioctl(fd, USERDMA_IOCTL_BUF_ALLOC, &alloc))
		err(1, "allocate %" PRIu64 " bytes", (uint64_t)alloc.length);
	memory = mmap(NULL, alloc.out_length, PROT_READ | PROT_WRITE, MAP_SHARED,
		      fd, alloc.out_mmap_offset);
	if (memory == MAP_FAILED)
		err(1, "mmap");

	memcpy(memory, message, sizeof(message));
	move(fd, USERDMA_OP_TO_CARD, alloc.out_handle, 0);
	move(fd, USERDMA_OP_FROM_CARD, alloc.out_handle, 4096);
	if (memcmp(memory + 4096, message, sizeof(message)))
		errx(1, "what came back DIFFERS");
	puts("what came back is equal");
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Memory that the program already has: registers what malloc() gave, lets the
 * card read one half of it and write the other, and compares them. There is no
 * mmap() and no copy.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/userdma.h>

#define HALF (1 << 20)

/* Moves bytes between the card and an offset of the buffer, and waits. */
static void move(int fd, __u16 op, __u32 buffer, __u64 offset, __u64 length)
{
	struct userdma_transfer transfer = {
		.op = op,
		.buffer = buffer,
		.buffer_offset = offset,
		.length = length,
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
	struct userdma_buf_register reg = { .size = sizeof(reg) };
	struct userdma_buf_free unreg = { .size = sizeof(unreg) };
	/* Any address that suits out_alignment: malloc() gives multiples of 16. */
	char *memory = malloc(2 * HALF);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	__u64 length;

	if (!memory)
		err(1, "malloc");
	if (fd < 0)
		err(1, "open %s", path);
	if (ioctl(fd, USERDMA_IOCTL_INFO, &info))
		err(1, "%s: info", path);
	if (!(info.out_capabilities & USERDMA_CAP_REGISTER))
		errx(1, "%s: cannot register memory", path);

	reg.address = (uintptr_t)memory;
	reg.length = 2 * HALF;
	if (ioctl(fd, USERDMA_IOCTL_BUF_REGISTER, &reg)) {
		if (errno == ENOMEM)
			errx(1, "register %" PRIu64 " bytes: out of memory, or of what may be locked: see ulimit -l",
			     (uint64_t)reg.length);
		err(1, "register %" PRIu64 " bytes", (uint64_t)reg.length);
	}
	printf("%s: %" PRIu64 " bytes are pinned, in pages of %" PRIu64 ", %u segments\n", path,
	       (uint64_t)reg.out_pinned, (uint64_t)reg.out_page_size, reg.out_segments);

	/* Only now: what is written before or after makes no difference. */
	for (size_t i = 0; i < HALF; i++)
		memory[i] = i * 7;
	length = info.out_max_transfer < HALF ? info.out_max_transfer : HALF;
	move(fd, USERDMA_OP_TO_CARD, reg.out_handle, 0, length);
	move(fd, USERDMA_OP_FROM_CARD, reg.out_handle, HALF, length);
	if (memcmp(memory, memory + HALF, length))
		errx(1, "what came back DIFFERS");
	puts("what came back is equal");

	/* Before free(): the card must not reach what malloc() gives out next. */
	unreg.handle = reg.out_handle;
	if (ioctl(fd, USERDMA_IOCTL_BUF_FREE, &unreg))
		err(1, "free");
	close(fd);
	free(memory);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * An event loop: sleeps for transfers and for a timer at once, and takes back
 * what the card was not given yet when the timer comes first.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <linux/userdma.h>

#define TRANSFERS 10
#define LENGTH 4096

static unsigned int ended, withdrawn;

/* Takes all records that are there. */
static void collect(int card)
{
	struct userdma_completion done[4];
	struct userdma_wait wait = {
		.size = sizeof(wait),
		.entries = (uintptr_t)done,
		.entry_size = sizeof(done[0]),
		.max = 4,
		.deadline_ns = USERDMA_WAIT_POLL,
	};

	do {
		if (ioctl(card, USERDMA_IOCTL_WAIT, &wait))
			err(1, "wait");
		for (unsigned int i = 0; i < wait.out_count; i++) {
			if (done[i].result == -ECANCELED)
				withdrawn++;
			else if (done[i].result == 0)
				ended++;
			else
				errx(1, "transfer: %s", strerror(-done[i].result));
		}
	} while (wait.out_count == wait.max);
}

/* Wants to know when a file can be read. */
static void watch(int set, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event))
		err(1, "epoll_ctl");
}

/* Queues all of them. */
static void submit(int card, __u32 buffer)
{
	struct userdma_transfer transfers[TRANSFERS];
	struct userdma_submit submit = {
		.size = sizeof(submit),
		.entries = (uintptr_t)transfers,
		.entry_size = sizeof(transfers[0]),
		.count = TRANSFERS,
	};

	for (int i = 0; i < TRANSFERS; i++)
		transfers[i] = (struct userdma_transfer){
			.user_data = i,
			.op = USERDMA_OP_FROM_CARD,
			.buffer = buffer,
			.buffer_offset = i * LENGTH,
			.length = LENGTH,
		};
	if (ioctl(card, USERDMA_IOCTL_SUBMIT, &submit))
		err(1, "submit");
	if (submit.out_count != TRANSFERS)
		errx(1, "only %u were accepted", submit.out_count);
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "/dev/userdma0";
	struct userdma_buf_alloc alloc = {
		.size = sizeof(alloc),
		.kind = USERDMA_BUF_COHERENT,
		.length = TRANSFERS * LENGTH,
	};
	struct userdma_cancel cancel = {
		.size = sizeof(cancel),
		.flags = USERDMA_CANCEL_ALL,
	};
	struct userdma_eventfd told = { .size = sizeof(told) };
	struct itimerspec soon = { .it_value.tv_nsec = 350 * 1000 * 1000 };
	int card = open(path, O_RDWR | O_CLOEXEC);
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	int set = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event;
	uint64_t count;

	if (card < 0)
		err(1, "open %s", path);
	told.fd = eventfd(0, EFD_CLOEXEC);
	if (timer < 0 || set < 0 || told.fd < 0)
		err(1, "timerfd, epoll, eventfd");
	if (ioctl(card, USERDMA_IOCTL_EVENTFD, &told))
		err(1, "eventfd");
	watch(set, told.fd);
	watch(set, timer);

	if (ioctl(card, USERDMA_IOCTL_BUF_ALLOC, &alloc))
		err(1, "allocate");
	submit(card, alloc.out_handle);
	if (timerfd_settime(timer, 0, &soon, NULL))
		err(1, "timerfd_settime");

	while (ended + withdrawn < TRANSFERS) {
		if (epoll_wait(set, &event, 1, -1) != 1)
			err(1, "epoll_wait");
		/* Before looking at what it tells of: what comes later is told again. */
		if (read(event.data.fd, &count, sizeof(count)) != sizeof(count))
			err(1, "read");
		if (event.data.fd == told.fd)
			collect(card);
		else if (ioctl(card, USERDMA_IOCTL_CANCEL, &cancel))
			err(1, "cancel");
	}
	printf("%s: %u transfers ended, %u were withdrawn\n", path, ended, withdrawn);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * What a command of io_uring's is, and how it begins and ends: what bindgen does not
 * see. The Rust declarations are in shim.rs.
 */
#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/io_uring/cmd.h>
#include <linux/pagemap.h>
#include <linux/uio.h>

/* The same in shim.rs. */
struct userdma_uring_look {
	struct file *file;
	u32 op;
	bool nonblock;
	bool cancels;
	bool fixed;
};

/* Words of an entry of a ring that are a command's, if its entries are the larger kind. */
#define USERDMA_URING_WORDS 10

void userdma_uring_look(const struct io_uring_cmd *cmd, unsigned int flags,
			struct userdma_uring_look *look);
bool userdma_uring_payload(const struct io_uring_cmd *cmd, unsigned int flags, u64 *to);
int userdma_uring_import(struct io_uring_cmd *cmd, unsigned int flags, u64 address, size_t len,
			 bool write, struct iov_iter *iter);
ssize_t userdma_bvec_next(struct iov_iter *iter, struct page **page, u32 *inside);
bool userdma_uring_put_off(const struct io_uring_cmd *cmd, void (*run)(struct file *file));
void userdma_uring_begin(struct io_uring_cmd *cmd, unsigned int flags, void *kept,
			 void (*release)(void *kept));
void userdma_uring_complete(struct io_uring_cmd *cmd, s32 result, u64 bytes);
/* Of shim.c. */
size_t userdma_folio_at(struct page *page, size_t *size);

void userdma_uring_look(const struct io_uring_cmd *cmd, unsigned int flags,
			struct userdma_uring_look *look)
{
	look->file = cmd->file;
	look->op = cmd->cmd_op;
	look->nonblock = flags & IO_URING_F_NONBLOCK;
	look->cancels = flags & IO_URING_F_CANCEL;
	look->fixed = cmd->flags & IORING_URING_CMD_FIXED;
}

/* Copies, since the program can change its entry at any time. False if entries have no room for so much. */
bool userdma_uring_payload(const struct io_uring_cmd *cmd, unsigned int flags, u64 *to)
{
	if (!(flags & IO_URING_F_SQE128))
		return false;
	memcpy(to, cmd->sqe->cmd, USERDMA_URING_WORDS * sizeof(*to));
	return true;
}

/* Memory that is registered with the ring, which keeps it until the command completes. */
int userdma_uring_import(struct io_uring_cmd *cmd, unsigned int flags, u64 address, size_t len,
			 bool write, struct iov_iter *iter)
{
	return io_uring_cmd_import_fixed(address, len, write ? ITER_DEST : ITER_SOURCE, iter, cmd,
					 flags);
}

/*
 * The next part of @iter, which is over bio_vecs, that lies in one folio: how
 * many bytes, 0 at the end; with a reference to the folio, if it takes one.
 */
ssize_t userdma_bvec_next(struct iov_iter *iter, struct page **page, u32 *inside)
{
	const struct bio_vec *bvec = iter->bvec;
	size_t at, len;

	if (!iter->count)
		return 0;
	at = bvec->bv_offset + iter->iov_offset;
	*page = bvec->bv_page + (at >> PAGE_SHIFT);
	*inside = offset_in_page(at);
	len = min(bvec->bv_len - iter->iov_offset, iter->count);
	if (!len || !folio_try_get(page_folio(*page)))
		return -EINVAL;
	len = min(len, userdma_folio_at(*page, &(size_t){}) - *inside);
	iov_iter_advance(iter, len);
	return len;
}

/* What is done when the batch of requests has been submitted. */
struct userdma_plug {
	struct blk_plug_cb cb;
	void (*run)(struct file *file);
};

/* May be called by schedule(), if the task sleeps in the middle of its batch. */
static void userdma_unplug(struct blk_plug_cb *cb, bool from_schedule)
{
	struct userdma_plug *plug = container_of(cb, struct userdma_plug, cb);
	struct file *file = cb->data;

	plug->run(file);
	kfree(plug);
	/* Later, by the task: until then the file keeps this module. */
	fput(file);
}

/* Has @run called once, at the end of the batch that the command is a part of, if there is one. */
bool userdma_uring_put_off(const struct io_uring_cmd *cmd, void (*run)(struct file *file))
{
	struct blk_plug_cb *cb = blk_check_plugged(userdma_unplug, cmd->file,
						   sizeof(struct userdma_plug));
	struct userdma_plug *plug = container_of(cb, struct userdma_plug, cb);

	if (!cb)
		return false;
	if (!plug->run) {
		plug->run = run;
		get_file(cmd->file);
	}
	return true;
}

/* What a command keeps until it completes. */
struct userdma_uring {
	u64 bytes;
	void *kept;
	void (*release)(void *kept);
	s32 result;
	bool cqe32;
};

void userdma_uring_begin(struct io_uring_cmd *cmd, unsigned int flags, void *kept,
			 void (*release)(void *kept))
{
	struct userdma_uring *begun = io_uring_cmd_to_pdu(cmd, struct userdma_uring);

	begun->cqe32 = flags & IO_URING_F_CQE32;
	begun->kept = kept;
	begun->release = release;
	io_uring_cmd_mark_cancelable(cmd, flags);
}

static void userdma_uring_end(struct io_tw_req tw_req, io_tw_token_t tw)
{
	struct io_uring_cmd *cmd = io_uring_cmd_from_tw(tw_req);
	const struct userdma_uring *end = io_uring_cmd_to_pdu(cmd, struct userdma_uring);

	if (end->kept)
		end->release(end->kept);
	__io_uring_cmd_done(cmd, end->result, end->bytes, IO_URING_CMD_TASK_WORK_ISSUE_FLAGS,
			    end->cqe32);
}

void userdma_uring_complete(struct io_uring_cmd *cmd, s32 result, u64 bytes)
{
	struct userdma_uring *end = io_uring_cmd_to_pdu(cmd, struct userdma_uring);

	end->result = result;
	end->bytes = bytes;
	io_uring_cmd_complete_in_task(cmd, userdma_uring_end);
}

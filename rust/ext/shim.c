// SPDX-License-Identifier: GPL-2.0
/*
 * Inlines, macros and functions of the kernel that bindgen does not see, one call each
 * (a completion of io_uring's, whose callback takes types of its own, is two).
 * Their Rust declarations, with what each requires, are in shim.rs.
 */
#include <linux/anon_inodes.h>
#include <linux/blkdev.h>
#include <linux/cred.h>
#include <linux/device.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/eventfd.h>
#include <linux/fault-inject-usercopy.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/io_uring/cmd.h>
#include <linux/iommu-dma.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/cc_platform.h>

struct folio *userdma_folio_alloc(unsigned int order, int nid, bool only_there);
void userdma_folio_get(struct folio *folio);
void userdma_folio_put(struct folio *folio);
void userdma_folio_lock(struct folio *folio);
void userdma_folio_unlock(struct folio *folio);
struct page *userdma_folio_page(struct folio *folio, unsigned long n);
int userdma_folio_nid(struct folio *folio);
void userdma_folio_set_index(struct folio *folio, unsigned long index);
unsigned long userdma_virt_to_pfn(const void *addr);
void userdma_set_file_size(struct file *file, loff_t size);
struct file *userdma_anon_file(const char *name, const struct file_operations *fops);
void userdma_vm_flags_mod(struct vm_area_struct *vma, vm_flags_t set, vm_flags_t clear);
bool userdma_use_dma_iommu(struct device *dev);
bool userdma_dev_is_coherent(struct device *dev);
void userdma_dma_sync_for_device(struct device *dev, dma_addr_t addr, size_t len, int dir);
void userdma_dma_sync_for_cpu(struct device *dev, dma_addr_t addr, size_t len, int dir);
int userdma_dev_to_node(struct device *dev);
unsigned long userdma_total_pages(void);
unsigned int userdma_file_uid(struct file *file);
bool userdma_fatal_signal_pending(void);
struct folio *userdma_page_folio(struct page *page);
void *userdma_page_address(struct page *page);
phys_addr_t userdma_page_phys(struct page *page);
int userdma_page_nid(struct page *page);
bool userdma_page_hugetlb(struct page *page);
size_t userdma_folio_at(struct page *page, size_t *size);
bool userdma_is_memfd(struct file *file);
int userdma_memfd_write_allowed(struct file *file);
loff_t userdma_file_size(struct file *file);
bool userdma_iter_user_backed(const struct iov_iter *iter);
void userdma_mmap_write_lock(struct mm_struct *mm);
int userdma_mmap_write_lock_killable(struct mm_struct *mm);
unsigned long userdma_memlock_limit(void);
void userdma_mmap_write_unlock(struct mm_struct *mm);
void userdma_set_seg_boundary(struct device *dev, unsigned long mask);
struct file *userdma_uring_file(const struct io_uring_cmd *cmd);
bool userdma_uring_nonblock(unsigned int flags);
bool userdma_uring_cancels(unsigned int flags);
u32 userdma_uring_op(const struct io_uring_cmd *cmd);
bool userdma_uring_payload(const struct io_uring_cmd *cmd, unsigned int flags, void *to, size_t len);
bool userdma_uring_fixed(const struct io_uring_cmd *cmd);
int userdma_uring_import(struct io_uring_cmd *cmd, unsigned int flags, u64 address, size_t len,
			 bool write, struct iov_iter *iter);
ssize_t userdma_bvec_next(struct iov_iter *iter, struct page **page, u32 *inside);
void userdma_uring_begin(struct io_uring_cmd *cmd, unsigned int flags, void *kept,
			 void (*release)(void *kept));
bool userdma_uring_put_off(const struct io_uring_cmd *cmd, void (*run)(struct file *file));
void userdma_uring_complete(struct io_uring_cmd *cmd, s32 result, u64 bytes);
void userdma_irq_spread(unsigned int irq, unsigned int nth, int node);
void userdma_irq_forget_hint(unsigned int irq);
struct eventfd_ctx *userdma_eventfd_get(int fd);
void userdma_eventfd_put(struct eventfd_ctx *ctx);
void userdma_eventfd_signal(struct eventfd_ctx *ctx);
bool userdma_read_words(u64 *to, const u64 __user *from, size_t count);
bool userdma_write_words(u64 __user *to, const u64 *from, size_t count);
bool userdma_write_u32(u32 __user *to, u32 value);

/* Zeroed, charged to the caller's memory cgroup, quiet, and no OOM kill. */
struct folio *userdma_folio_alloc(unsigned int order, int nid, bool only_there)
{
	gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN | __GFP_RETRY_MAYFAIL;

	return __folio_alloc(gfp | (only_there ? __GFP_THISNODE : 0), order,
			     nid < 0 ? numa_mem_id() : nid, NULL);
}

void userdma_folio_get(struct folio *folio)
{
	folio_get(folio);
}

void userdma_folio_put(struct folio *folio)
{
	folio_put(folio);
}

void userdma_folio_lock(struct folio *folio)
{
	folio_lock(folio);
}

void userdma_folio_unlock(struct folio *folio)
{
	folio_unlock(folio);
}

struct page *userdma_folio_page(struct folio *folio, unsigned long n)
{
	return folio_page(folio, n);
}

int userdma_folio_nid(struct folio *folio)
{
	return folio_nid(folio);
}

void userdma_folio_set_index(struct folio *folio, unsigned long index)
{
	folio->index = index;
}

unsigned long userdma_virt_to_pfn(const void *addr)
{
	return PHYS_PFN(virt_to_phys((void *)addr));
}

void userdma_set_file_size(struct file *file, loff_t size)
{
	i_size_write(file_inode(file), size);
}

struct file *userdma_anon_file(const char *name, const struct file_operations *fops)
{
	return anon_inode_create_getfile(name, fops, NULL, O_RDWR, NULL);
}

void userdma_vm_flags_mod(struct vm_area_struct *vma, vm_flags_t set, vm_flags_t clear)
{
	vm_flags_mod(vma, set, clear);
}

bool userdma_use_dma_iommu(struct device *dev)
{
	return use_dma_iommu(dev);
}

bool userdma_dev_is_coherent(struct device *dev)
{
	return dev_is_dma_coherent(dev) && !cc_platform_has(CC_ATTR_MEM_ENCRYPT);
}

/*
 * Asked first, because DMA_API_DEBUG finds a mapping by its bus address: where
 * that is the address of the memory, two mappings of one page, which programs
 * may ask for, look like none to it.
 */
void userdma_dma_sync_for_device(struct device *dev, dma_addr_t addr, size_t len, int dir)
{
	if (dma_need_sync(dev, addr))
		dma_sync_single_for_device(dev, addr, len, dir);
}

void userdma_dma_sync_for_cpu(struct device *dev, dma_addr_t addr, size_t len, int dir)
{
	if (dma_need_sync(dev, addr))
		dma_sync_single_for_cpu(dev, addr, len, dir);
}

int userdma_dev_to_node(struct device *dev)
{
	return dev_to_node(dev);
}

unsigned long userdma_total_pages(void)
{
	return totalram_pages();
}

unsigned int userdma_file_uid(struct file *file)
{
	return from_kuid(&init_user_ns, file->f_cred->uid);
}

bool userdma_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

struct folio *userdma_page_folio(struct page *page)
{
	return page_folio(page);
}

void *userdma_page_address(struct page *page)
{
	return page_address(page);
}

phys_addr_t userdma_page_phys(struct page *page)
{
	return page_to_phys(page);
}

int userdma_page_nid(struct page *page)
{
	return page_to_nid(page);
}

bool userdma_page_hugetlb(struct page *page)
{
	return folio_test_hugetlb(page_folio(page));
}

/* Bytes from the start of @page to the end of its folio, whose size is @size. */
size_t userdma_folio_at(struct page *page, size_t *size)
{
	struct folio *folio = page_folio(page);

	*size = folio_size(folio);
	return *size - (folio_page_idx(folio, page) << PAGE_SHIFT);
}

bool userdma_is_memfd(struct file *file)
{
	return shmem_file(file) || is_file_hugepages(file);
}

/*
 * Whether pages of a memfd may be written to: 0, -EPERM or -EINTR.
 *
 * Asked again after pinning, this is final: F_ADD_SEALS has the inode's lock
 * from before it looks for pins until the seal is there, so it has either seen
 * ours or we see the seal.
 */
int userdma_memfd_write_allowed(struct file *file)
{
	struct inode *inode = file_inode(file);
	unsigned int seals = 0;

	if (down_read_killable(&inode->i_rwsem))
		return -EINTR;
	if (shmem_file(file))
		seals = SHMEM_I(inode)->seals;
#ifdef CONFIG_HUGETLBFS
	else if (is_file_hugepages(file))
		seals = HUGETLBFS_I(inode)->seals;
#endif
	up_read(&inode->i_rwsem);
	if (IS_APPEND(inode) || seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return -EPERM;
	return 0;
}

loff_t userdma_file_size(struct file *file)
{
	return i_size_read(file_inode(file));
}

bool userdma_iter_user_backed(const struct iov_iter *iter)
{
	return user_backed_iter(iter);
}

void userdma_mmap_write_lock(struct mm_struct *mm)
{
	mmap_write_lock(mm);
}

unsigned long userdma_memlock_limit(void)
{
	return rlimit(RLIMIT_MEMLOCK);
}

int userdma_mmap_write_lock_killable(struct mm_struct *mm)
{
	return mmap_write_lock_killable(mm);
}

void userdma_mmap_write_unlock(struct mm_struct *mm)
{
	mmap_write_unlock(mm);
}

void userdma_set_seg_boundary(struct device *dev, unsigned long mask)
{
	dma_set_seg_boundary(dev, mask);
}

struct eventfd_ctx *userdma_eventfd_get(int fd)
{
	return eventfd_ctx_fdget(fd);
}

void userdma_eventfd_put(struct eventfd_ctx *ctx)
{
	eventfd_ctx_put(ctx);
}

void userdma_eventfd_signal(struct eventfd_ctx *ctx)
{
	eventfd_signal(ctx);
}

void userdma_irq_spread(unsigned int irq, unsigned int nth, int node)
{
	irq_set_affinity_and_hint(irq, cpumask_of(cpumask_local_spread(nth, node)));
}

void userdma_irq_forget_hint(unsigned int irq)
{
	irq_update_affinity_hint(irq, NULL);
}

struct file *userdma_uring_file(const struct io_uring_cmd *cmd)
{
	return cmd->file;
}

bool userdma_uring_nonblock(unsigned int flags)
{
	return flags & IO_URING_F_NONBLOCK;
}

bool userdma_uring_cancels(unsigned int flags)
{
	return flags & IO_URING_F_CANCEL;
}

u32 userdma_uring_op(const struct io_uring_cmd *cmd)
{
	return READ_ONCE(cmd->cmd_op);
}

/* Copies, since the program can change its entry at any time. */
bool userdma_uring_payload(const struct io_uring_cmd *cmd, unsigned int flags, void *to, size_t len)
{
	if (!(flags & IO_URING_F_SQE128))
		return false;
	memcpy(to, cmd->sqe->cmd, len);
	return true;
}

bool userdma_uring_fixed(const struct io_uring_cmd *cmd)
{
	return cmd->flags & IORING_URING_CMD_FIXED;
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

/*
 * Small structures, word by word: copy_from_user() looks up each time what object
 * the kernel's side belongs to, which takes longer than to copy.
 */
bool userdma_read_words(u64 *to, const u64 __user *from, size_t count)
{
	size_t i;

	might_fault();
	if (should_fail_usercopy() || !user_read_access_begin(from, count * sizeof(*from)))
		return false;
	for (i = 0; i < count; i++)
		unsafe_get_user(to[i], from + i, fault);
	user_read_access_end();
	return true;
fault:
	user_read_access_end();
	return false;
}

bool userdma_write_words(u64 __user *to, const u64 *from, size_t count)
{
	size_t i;

	might_fault();
	if (should_fail_usercopy() || !user_write_access_begin(to, count * sizeof(*to)))
		return false;
	for (i = 0; i < count; i++)
		unsafe_put_user(from[i], to + i, fault);
	user_write_access_end();
	return true;
fault:
	user_write_access_end();
	return false;
}

bool userdma_write_u32(u32 __user *to, u32 value)
{
	return !should_fail_usercopy() && !put_user(value, to);
}

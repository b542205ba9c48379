// SPDX-License-Identifier: GPL-2.0
/*
 * Inlines, macros and functions of the kernel that bindgen does not see, one call each;
 * those of io_uring are in uring.c. Their Rust declarations, with what each requires, are in shim.rs.
 */
#include <linux/anon_inodes.h>
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
#include <linux/iommu-dma.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/unroll.h>
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
	unrolled_count(4)
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
	unrolled_count(4)
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

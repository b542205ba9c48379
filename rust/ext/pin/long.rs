// SPDX-License-Identifier: GPL-2.0

//! Pinning for long: what a program registers.

use kernel::{
    bindings,
    current,
    error::to_result,
    fs::{
        File,
        LocalFile, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::aref::ARef,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

use super::{
    super::{
        shim,
        system, //
    },
    array,
    Kind,
    Pinned,
    BATCH, //
};

/// How many bytes of a memfd are pinned between two looks at signals.
const STEP: u64 = 64 << 20;

/// Ends the call if a signal waits: what was pinned so far is let go.
fn interrupted() -> Result {
    match current!().signal_pending() {
        true => Err(ERESTARTSYS),
        false => Ok(()),
    }
}

/// Maps what the memory manager says to what we document.
fn refused(error: Error) -> Error {
    match error {
        error if error == ENOMEM || error == ERESTARTSYS => error,
        // It does not say whether the signal was for the program.
        error if error == EINTR => ERESTARTSYS,
        _ => EFAULT,
    }
}

/// Calls `attempt` again for a short while when there is no memory.
///
/// So says the memory manager also when a page lies where none may be pinned for long and cannot be moved from
/// there, because somebody holds it for a moment: another thread that pins the same page, for instance.
fn patiently(mut attempt: impl FnMut() -> c_long) -> c_long {
    // 79 ms in all.
    for pause in [1, 2, 4, 8, 16, 16, 16, 16] {
        let result = attempt();
        // CAST: An error fits.
        if result as i32 != ENOMEM.to_errno() || current!().signal_pending() {
            return result;
        }
        fsleep(Delta::from_millis(pause));
    }
    attempt()
}

/// Pins up to `want` pages at `address`, the start of a page, into `pages`; at least one.
///
/// May sleep, and holds no lock while it waits for a page.
fn pin_some(
    address: usize,
    want: usize,
    flags: c_uint,
    pages: &mut KVec<*mut bindings::page>,
) -> Result {
    let want = want.min(pages.capacity());
    // CAST: At most `BATCH`.
    // SAFETY: There is room for `want` pointers. Any address is fine.
    let fast = unsafe {
        bindings::pin_user_pages_fast(
            address,
            want as c_int,
            flags | bindings::FOLL_NOFAULT,
            pages.as_mut_ptr(),
        )
    };
    let count = if fast > 0 {
        fast as usize
    } else {
        // Something must be brought in first. Only this call can be interrupted meanwhile.
        // SAFETY: As above.
        let slow = patiently(|| unsafe {
            bindings::pin_user_pages_unlocked(
                address,
                want as c_ulong,
                pages.as_mut_ptr(),
                flags | bindings::FOLL_INTERRUPTIBLE,
            )
        });
        match slow {
            0 => return Err(EFAULT),
            error if error < 0 => return Err(refused(Error::from_errno(error as i32))),
            count => count as usize,
        }
    };
    // SAFETY: The kernel has filled in so many, at most `want`.
    unsafe { pages.inc_len(count) };
    Ok(())
}

/// Returns how many parts memory of `length` bytes has if it is in huge pages.
fn expected(length: u64) -> usize {
    const HUGE: u64 = 2 << 20;
    // CAST: At most 64.
    (length / HUGE + 1).min(64) as usize
}

/// A part of a memfd.
pub(crate) struct Memfd {
    file: ARef<File>,
    offset: u64,
    length: u64,
    write: bool,
}

impl Memfd {
    /// Looks at `length` bytes at `offset` of a memfd, which must be writable with `write`.
    ///
    /// # Errors
    ///
    /// [`EBADF`], [`EINVAL`], [`ERANGE`] and [`EPERM`] as the header says of BUF_REGISTER; [`EOVERFLOW`], [`EINTR`].
    pub(crate) fn new(fd: i32, offset: u64, length: u64, write: bool) -> Result<Self> {
        let file: ARef<LocalFile> =
            LocalFile::fget(u32::try_from(fd).map_err(|_| EBADF)?).map_err(|_| EBADF)?;
        // SAFETY: No `fdget_pos` is active: this is an ioctl, of another file.
        let file: ARef<File> = unsafe { LocalFile::assume_no_fdget_pos(file) };
        let (readable, writable) = system::access(&file);
        if !readable || (write && !writable) {
            return Err(EBADF);
        }
        let end = offset.checked_add(length).ok_or(EOVERFLOW)?;
        // SAFETY: The file is open.
        if !unsafe { shim::userdma_is_memfd(file.as_ptr()) } {
            return Err(EINVAL);
        }
        // SAFETY: As above.
        let size = unsafe { shim::userdma_file_size(file.as_ptr()) };
        if i64::try_from(end).map_or(true, |end| end > size) {
            return Err(ERANGE);
        }
        let this = Self {
            file,
            offset,
            length,
            write,
        };
        this.check_writable()?;
        Ok(this)
    }

    /// Says EPERM if it is to be written to and must not be.
    fn check_writable(&self) -> Result {
        match self.write {
            // SAFETY: The file is a memfd.
            true => to_result(unsafe { shim::userdma_memfd_write_allowed(self.file.as_ptr()) }),
            false => Ok(()),
        }
    }
}

impl Pinned {
    /// Pins `length` bytes at `address` of the caller's memory, for as long as it takes.
    ///
    /// With `write` the memory must be writable. May sleep, and can be interrupted by any signal.
    ///
    /// # Errors
    ///
    /// [`EFAULT`], [`ENOMEM`], [`EINTR`], [`EOVERFLOW`]; nothing is pinned then.
    pub(crate) fn user(address: u64, length: u64, write: bool) -> Result<Self> {
        let end = address.checked_add(length).ok_or(EOVERFLOW)?;
        let end = usize::try_from(end).map_err(|_| EFAULT)?;
        let address = usize::try_from(address).map_err(|_| EFAULT)?;
        let mut flags = bindings::FOLL_LONGTERM;
        if write {
            flags |= bindings::FOLL_WRITE;
        }
        let mut this = Self::new(expected(length), Kind::Pinned { written: write })?;
        let mut pages = array(1)?;
        let mut at = address;
        // One page tells whether it is hugetlbfs: a page of that is mapped whole or not at all, hence
        // one pin does for all of it.
        let mut alone = true;
        let mut expected_more = false;
        while at < end {
            interrupted()?;
            let page = at - at % PAGE_SIZE;
            let want = (end - page).div_ceil(PAGE_SIZE);
            let want = if alone { 1 } else { want };
            pin_some(page, want, flags, &mut pages)?;
            let first = *pages.first().ok_or(EFAULT)?;
            // SAFETY: We have pinned the page.
            let huge = unsafe { shim::userdma_page_hugetlb(first) };
            if alone && huge {
                pages.clear();
                at += this.push_folio(first, at % PAGE_SIZE, end - at)?;
            } else {
                at += this.push_pages(&mut pages, at % PAGE_SIZE, end - at, true)?;
                if !alone && !expected_more {
                    this.scatter.expect(length);
                    expected_more = true;
                }
            }
            if alone && !huge {
                pages = array(BATCH)?;
            }
            alone = huge;
        }
        Ok(this)
    }

    /// Pins a part of a memfd, mapped or not.
    ///
    /// # Errors
    ///
    /// As [`Memfd::new`], since the file may have changed, and [`Pinned::user`].
    pub(crate) fn memfd(memfd: &Memfd) -> Result<Self> {
        let Memfd {
            ref file,
            offset,
            length,
            write,
        } = *memfd;
        let end = offset.checked_add(length).ok_or(EOVERFLOW)?;
        let mut this = Self::new(expected(length), Kind::Pinned { written: write })?;
        // Enough for a step of huge pages.
        let mut folios = array::<bindings::folio>(expected(length.min(STEP)))?;
        let mut at = offset;
        while at < end {
            interrupted()?;
            let last = end.min(at.saturating_add(STEP)) - 1;
            let mut inside = 0;
            // SAFETY: The file is a memfd and there is room for so many pointers.
            let count = patiently(|| unsafe {
                bindings::memfd_pin_folios(
                    file.as_ptr(),
                    at as bindings::loff_t,
                    last as bindings::loff_t,
                    folios.as_mut_ptr(),
                    // CAST: At most `BATCH`.
                    folios.capacity().min(BATCH) as c_uint,
                    &mut inside,
                )
            });
            match count {
                0 => return Err(EFAULT),
                // It may have been cut off meanwhile.
                error if error < 0 && error as i32 == EINVAL.to_errno() => return Err(ERANGE),
                error if error < 0 => return Err(refused(Error::from_errno(error as i32))),
                // SAFETY: The kernel has filled in so many.
                count => unsafe { folios.inc_len(count as usize) },
            }
            at += this.push_folios(&mut folios, inside, end - at)?;
            if at <= last && folios.capacity() < BATCH {
                // Smaller pages: more of them at once.
                folios = array(BATCH)?;
            }
        }
        // Now that it is pinned, no seal against writing can be added any more.
        memfd.check_writable()?;
        Ok(this)
    }
}

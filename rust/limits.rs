// SPDX-License-Identifier: GPL-2.0

//! How much memory open files, users and all together may hold.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

use crate::{
    ext::system,
    module_parameters, //
};

/// Bytes held, in all and by each user that holds any.
struct Accounts {
    total: u64,
    users: KVec<(u32, u64)>,
}

kernel::sync::global_lock! {
    // SAFETY: `init()` is called when the module is loaded, before the driver is registered.
    unsafe(uninit) static ACCOUNTS: Mutex<Accounts> = Accounts {
        total: 0,
        users: KVec::new(),
    };
}

/// Prepares the accounts.
///
/// # Safety
///
/// Must be called exactly once, before anything else here.
pub(crate) unsafe fn init() {
    // SAFETY: As promised by the caller.
    unsafe { ACCOUNTS.init() };
}

/// The limits in force, in bytes.
pub(crate) struct Limits {
    pub(crate) file: u64,
    pub(crate) user: u64,
    pub(crate) total: u64,
}

/// Returns the limits: the module's parameters, or a quarter of the machine's memory.
pub(crate) fn limits() -> Limits {
    let or = |mib: u64, default: u64| match mib {
        0 => default,
        mib => mib.saturating_mul(1 << 20),
    };
    let total = or(
        *module_parameters::limit_total_mib.value_ref(),
        system::total_memory() / 4,
    );
    Limits {
        file: or(*module_parameters::limit_file_mib.value_ref(), total),
        user: or(*module_parameters::limit_user_mib.value_ref(), total),
        total,
    }
}

/// The account of one open file.
pub(crate) struct Account {
    uid: u32,
    bytes: Atomic<u64>,
    /// Pages that are registered, by whichever processes.
    registered: Atomic<usize>,
}

impl Account {
    /// Opens the account of a file that user `uid` has opened.
    pub(crate) fn new(uid: u32) -> Self {
        Self {
            uid,
            bytes: Atomic::new(0),
            registered: Atomic::new(0),
        }
    }

    /// Returns the bytes held by the file, by its opener, and by all.
    pub(crate) fn used(&self) -> Limits {
        let accounts = ACCOUNTS.lock();
        let user = accounts.users.iter().find(|(uid, _)| *uid == self.uid);
        Limits {
            file: self.bytes.load(Relaxed),
            user: user.map_or(0, |(_, bytes)| *bytes),
            total: accounts.total,
        }
    }
}

/// Pages that an open file has registered; given back on drop.
///
/// A process's own limit says nothing any more when it has ended, and a file may have more from the next.
pub(crate) struct Registered {
    account: Arc<Account>,
    pages: usize,
}

impl Registered {
    /// Counts `pages` more, up to `limit` in all, if there is one.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if the limit would be passed.
    pub(crate) fn new(account: &Arc<Account>, pages: usize, limit: Option<usize>) -> Result<Self> {
        let mut now = account.registered.load(Relaxed);
        loop {
            let sum = now.checked_add(pages).ok_or(ENOMEM)?;
            if limit.is_some_and(|limit| sum > limit) {
                return Err(ENOMEM);
            }
            match account.registered.cmpxchg(now, sum, Relaxed) {
                Ok(_) => break,
                Err(other) => now = other,
            }
        }
        Ok(Self {
            account: account.clone(),
            pages,
        })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.account.registered.fetch_sub(self.pages, Relaxed);
    }
}

/// Bytes that were charged to an account; given back on drop.
pub(crate) struct Charge {
    account: Arc<Account>,
    bytes: u64,
}

impl Charge {
    /// Charges `bytes`. May sleep.
    ///
    /// # Errors
    ///
    /// [`EDQUOT`] if a limit would be passed; [`ENOMEM`].
    pub(crate) fn new(account: &Arc<Account>, bytes: u64) -> Result<Self> {
        let limits = limits();
        let mut accounts = ACCOUNTS.lock();
        let within = |used: u64, limit: u64| match used.checked_add(bytes) {
            Some(sum) if sum <= limit => Ok(sum),
            _ => Err(EDQUOT),
        };
        // All changes to a file's account are made under the lock.
        let file = within(account.bytes.load(Relaxed), limits.file)?;
        let total = within(accounts.total, limits.total)?;
        match accounts
            .users
            .iter_mut()
            .find(|(uid, _)| *uid == account.uid)
        {
            Some((_, used)) => *used = within(*used, limits.user)?,
            None => {
                let used = within(0, limits.user)?;
                accounts.users.push((account.uid, used), GFP_KERNEL)?;
            }
        }
        accounts.total = total;
        account.bytes.store(file, Relaxed);
        Ok(Self {
            account: account.clone(),
            bytes,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut accounts = ACCOUNTS.lock();
        let account = &self.account;
        account
            .bytes
            .store(account.bytes.load(Relaxed) - self.bytes, Relaxed);
        accounts.total -= self.bytes;
        accounts.users.retain(|(uid, used)| {
            if *uid == account.uid {
                *used -= self.bytes;
            }
            *used > 0
        });
        if accounts.users.is_empty() {
            // A static is never dropped: leave nothing allocated behind.
            accounts.users = KVec::new();
        }
    }
}

#[kunit_tests(userdma_limits)]
mod tests {
    use super::*;

    /// A user id that nobody has.
    const NOBODY: u32 = u32::MAX - 7;

    #[test]
    fn what_is_charged_is_given_back() -> Result {
        let account = Arc::new(Account::new(NOBODY), GFP_KERNEL)?;
        let before = account.used().total;
        let one = Charge::new(&account, 4096)?;
        let two = Charge::new(&account, 8192)?;
        assert_eq!(account.used().file, 12288);
        assert_eq!(account.used().user, 12288);
        assert_eq!(account.used().total - before, 12288);
        drop(one);
        assert_eq!(account.used().file, 8192);
        drop(two);
        assert_eq!(account.used().file, 0);
        assert_eq!(account.used().user, 0);
        assert_eq!(account.used().total, before);
        Ok(())
    }

    #[test]
    fn a_limit_is_a_limit() -> Result {
        let account = Arc::new(Account::new(NOBODY), GFP_KERNEL)?;
        let most = limits().file;
        assert_eq!(Charge::new(&account, most + 1).err(), Some(EDQUOT));
        assert_eq!(Charge::new(&account, u64::MAX).err(), Some(EDQUOT));
        assert_eq!(account.used().file, 0);
        assert_eq!(account.used().user, 0);
        Ok(())
    }

    #[test]
    fn a_sum_that_wraps_is_over_the_limit() -> Result {
        let account = Arc::new(Account::new(NOBODY), GFP_KERNEL)?;
        let _one = Charge::new(&account, 1)?;
        assert_eq!(Charge::new(&account, u64::MAX).err(), Some(EDQUOT));
        assert_eq!(account.used().file, 1);
        Ok(())
    }
}

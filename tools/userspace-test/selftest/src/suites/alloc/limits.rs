// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Limits: handles of a file; bytes of a file, of a user, of all.

use nix::unistd::{setresuid, Uid};

use crate::child::{spawn, Gate};
use crate::device::{Device, COHERENT, HUGE};
use crate::guest;
use crate::memory::{HUGE as HUGE_PAGE, PAGE};
use crate::outcome::Outcome;
use crate::poll::LONG;
use crate::raw::{size, wide};
use crate::registry::Context;

pub(in crate::suites) fn all_handles(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let most = device.info()?.out_max_buffers;
    check!(most >= 16);
    let mut handles = Vec::new();
    for _ in 0..most {
        handles.push(device.alloc(COHERENT, 1)?.handle);
    }
    check_err!(device.alloc(COHERENT, 1), ENOSPC);
    check_eq!(device.info()?.out_used_file, u64::from(most) * wide(PAGE));
    // Another file has its own.
    check_eq!(context.open()?.alloc(COHERENT, 1).map(drop), Ok(()));
    // One freed, one to be had.
    let middle = handles.swap_remove(handles.len() / 2);
    device.free(middle)?;
    let again = device.alloc(COHERENT, 1)?.handle;
    check!(
        again != middle && !handles.contains(&again),
        "handle {again} is in use"
    );
    check_err!(device.alloc(COHERENT, 1), ENOSPC);
    for handle in handles {
        device.free(handle)?;
    }
    device.free(again)?;
    check_eq!(device.info()?.out_used_file, 0);
    Ok(())
}

pub(in crate::suites) fn quota(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let info = device.info()?;
    check!(
        info.out_limit_file <= info.out_limit_user && info.out_limit_user <= info.out_limit_total
    );
    // Page by page at the edge: what is held already counts.
    let limit = info.out_limit_file;
    let held = device.alloc(COHERENT, PAGE)?;
    let rest = (limit - wide(PAGE)) / wide(PAGE) * wide(PAGE);
    let result = device.alloc(COHERENT, size(rest) + PAGE);
    check_err!(result, EDQUOT, "one page more than the limit of {limit}");
    check_eq!(device.info()?.out_used_file, wide(PAGE));
    // The limit itself is no EDQUOT; whether so much memory is there is another question.
    match device.alloc(COHERENT, size(rest)) {
        Ok(buffer) => device.free(buffer.handle)?,
        Err(nix::errno::Errno::ENOMEM) => {}
        Err(error) => fail!("{rest} bytes: {error:?}"),
    }
    device.free(held.handle)?;
    check_eq!(device.info()?.out_used_file, 0);
    check_eq!(device.info()?.out_used_total, info.out_used_total);
    Ok(())
}

/// The real user who opened the file is charged, whoever allocates.
pub(in crate::suites) fn users(context: &mut Context) -> Outcome {
    let device = context.open()?;
    device.alloc(COHERENT, PAGE)?;
    let before = device.info()?;
    check_eq!(
        before.out_used_user,
        before.out_used_total,
        "nobody but root has buffers"
    );
    let (held, done) = (Gate::new()?, Gate::new()?);
    let path = context.card().path.clone();
    let child = spawn(|| {
        let (other, root) = (Uid::from_raw(1000), Uid::from_raw(0));
        // A real user other than root who may still open the node.
        setresuid(other, root, root)?;
        let theirs = Device::open(&path)?;
        setresuid(root, root, root)?;
        theirs.alloc(COHERENT, 5 * PAGE)?;
        let info = theirs.info()?;
        check_eq!(info.out_used_user, wide(5 * PAGE));
        check_eq!(info.out_used_total, before.out_used_total + wide(5 * PAGE));
        held.open()?;
        done.pass()
    })?;
    held.pass()?;
    let during = device.info()?;
    check_eq!(during.out_used_user, before.out_used_user);
    check_eq!(
        during.out_used_total,
        before.out_used_total + wide(5 * PAGE)
    );
    done.open()?;
    child.join(LONG)?;
    check_eq!(device.info()?.out_used_total, before.out_used_total);
    Ok(())
}

/// Loads the module again with parameters; as before when it goes.
struct Reloaded<'a> {
    file: &'a std::path::Path,
    before: Vec<(String, String)>,
}

impl<'a> Reloaded<'a> {
    fn new(
        file: &'a std::path::Path,
        card: &guest::Card,
        change: &[(&str, &str)],
    ) -> Outcome<Self> {
        let before = guest::module_parameters(card)?;
        guest::unload()?;
        let this = Self { file, before };
        let mut parameters = this.before.clone();
        parameters.retain(|(name, _)| change.iter().all(|(other, _)| name != other));
        parameters.extend(
            change
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
        );
        guest::load(file, &parameters)?;
        Ok(this)
    }
}

impl Drop for Reloaded<'_> {
    fn drop(&mut self) {
        let _ = guest::unload();
        if let Err(crate::outcome::Stop::Fail(message)) = guest::load(self.file, &self.before) {
            eprintln!("cannot load the module as it was: {message}");
        }
    }
}

pub(in crate::suites) fn parameters(context: &mut Context) -> Outcome {
    let Some(file) = context.module.as_deref() else {
        skip!("needs the module's file");
    };
    let card = context.card().clone();
    let mib = |n: u64| n << 20;
    let reloaded = Reloaded::new(
        file,
        &card,
        &[
            ("limit_file_mib", "4"),
            ("limit_user_mib", "6"),
            ("limit_total_mib", "8"),
        ],
    )?;
    let outcome = (|| -> Outcome {
        let Some(card) = card.again()? else {
            fail!("no node after loading the module again");
        };
        let open = || Device::open(&card.path);
        let (a, b) = (open()?, open()?);
        let info = a.info()?;
        check_eq!(info.out_limit_file, mib(4));
        check_eq!(info.out_limit_user, mib(6));
        check_eq!(info.out_limit_total, mib(8));
        let kind = if info.out_capabilities & u64::from(userdma::sys::USERDMA_CAP_HUGE) != 0 {
            HUGE
        } else {
            COHERENT
        };
        // A file's.
        a.alloc(kind, 2 * HUGE_PAGE)?;
        check_err!(a.alloc(COHERENT, 1), EDQUOT, "4 MiB and a page in one file");
        // A user's, over two files.
        b.alloc(kind, HUGE_PAGE)?;
        check_err!(b.alloc(COHERENT, 1), EDQUOT, "6 MiB and a page of one user");
        // Everybody's, over two users.
        setresuid(Uid::from_raw(1000), Uid::from_raw(0), Uid::from_raw(0))?;
        let c = open();
        setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))?;
        let c = c?;
        c.alloc(kind, HUGE_PAGE)?;
        check_err!(c.alloc(COHERENT, 1), EDQUOT, "8 MiB and a page of all");
        check_eq!(c.info()?.out_used_total, mib(8));
        // Given back, it is there again.
        drop(b);
        c.alloc(COHERENT, 1)?;
        Ok(())
    })();
    drop(reloaded);
    outcome
}

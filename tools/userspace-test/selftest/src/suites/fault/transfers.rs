// SPDX-License-Identifier: GPL-2.0 OR MIT
//! SUBMIT, WAIT, CANCEL and EVENTFD.

use nix::errno::Errno;

use super::Case;
use crate::device::{from_card, tagged, COHERENT};
use crate::eventfd::Counter;
use crate::memory::{Mapping, PAGE};
use crate::outcome::Outcome;
use crate::poll::{after, LONG};
use crate::registry::Context;

pub(super) fn submit(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let memory = Mapping::anonymous(PAGE)?;
    let all = device.register(memory.address(), PAGE, 0)?;
    let batch = [
        from_card(buffer.handle, 0, 64, 0),
        from_card(all.handle, 0, 64, 0),
        from_card(all.handle, 64, 64, 0),
    ];
    for count in [1, 3] {
        let batch = &batch[..count];
        Case {
            what: &format!("SUBMIT of {count}"),
            allowed: &[Errno::ENOMEM, Errno::EFAULT],
            stride: 1,
            prepare: &mut || Ok(()),
            call: &mut || device.submit(batch),
            after: &mut |accepted| {
                let mut records = match accepted {
                    Some(accepted) => device.collect(accepted)?,
                    None => Vec::new(),
                };
                // The count could be written when the call began, and then could not: nothing
                // but an injected fault does that, and the transfers are on their way.
                while accepted.is_none() {
                    let more = device.wait(1, 1, after(LONG))?;
                    if more.is_empty() {
                        break;
                    }
                    records.extend(more);
                }
                check!(records.len() <= count);
                check!(records.iter().all(|record| record.result == 0));
                // Not one more than was told.
                device.check_idle()
            },
        }
        .sweep(context)?;
    }
    Ok(())
}

pub(super) fn wait(context: &mut Context) -> Outcome {
    const COUNT: u32 = 2;
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let batch = [
        tagged(from_card(buffer.handle, 0, 64, 0), 1),
        tagged(from_card(buffer.handle, 0, 64, 0), 2),
    ];
    Case {
        what: "WAIT",
        allowed: &[Errno::EFAULT, Errno::ENOMEM],
        stride: 1,
        prepare: &mut || {
            check_eq!(device.submit(&batch)?, batch.len());
            Ok(())
        },
        call: &mut || device.wait(COUNT, COUNT, after(LONG)),
        after: &mut |records| {
            let mut tags: Vec<_> = records.unwrap_or_default();
            tags.extend(device.collect(batch.len() - tags.len())?);
            let tags: Vec<_> = tags.iter().map(|record| record.user_data).collect();
            check_eq!(tags, [1, 2], "each record once, in order");
            device.check_idle()
        },
    }
    .sweep(context)?;
    Ok(())
}

/// The count could be written when the call began, and then could not: then they
/// are withdrawn, and nobody was told how many; else none is.
pub(super) fn cancel(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let batch = [1, 2, 3].map(|tag| tagged(from_card(buffer.handle, 0, 64, 0), tag));
    Case {
        what: "CANCEL",
        allowed: &[Errno::EFAULT],
        stride: 1,
        prepare: &mut || {
            check_eq!(device.submit(&batch)?, batch.len());
            Ok(())
        },
        call: &mut || device.cancel_all(0),
        after: &mut |withdrawn| {
            let records = device.collect(batch.len())?;
            let gone = records.iter().filter(|r| r.result == -libc::ECANCELED);
            let gone = u32::try_from(gone.count())?;
            check!(withdrawn.is_none_or(|count| count == gone), "{records:?}");
            let mut tags: Vec<_> = records.iter().map(|record| record.user_data).collect();
            tags.sort_unstable();
            check_eq!(tags, [1, 2, 3]);
            device.check_idle()
        },
    }
    .sweep(context)?;
    Ok(())
}

pub(super) fn eventfd(context: &mut Context) -> Outcome {
    let device = context.open()?;
    let buffer = device.alloc(COHERENT, PAGE)?;
    let (before, new) = (Counter::new()?, Counter::new()?);
    Case {
        what: "EVENTFD",
        allowed: &[Errno::EFAULT],
        stride: 1,
        prepare: &mut || Ok(device.tell(before.number(), None)?),
        call: &mut || device.tell(new.number(), None),
        after: &mut |told| {
            device.run_well(&[from_card(buffer.handle, 0, 64, 0)])?;
            let want = if told.is_some() { (0, 1) } else { (1, 0) };
            check_eq!((before.take()?, new.take()?), want, "{told:?}");
            Ok(())
        },
    }
    .sweep(context)?;
    Ok(())
}

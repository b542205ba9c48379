// SPDX-License-Identifier: GPL-2.0 OR MIT
//! SUBMIT and WAIT.

use nix::errno::Errno;

use super::Case;
use crate::device::{from_card, tagged, COHERENT};
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

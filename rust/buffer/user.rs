// SPDX-License-Identifier: GPL-2.0

//! Registered buffers: memory that the program has, pinned.

use kernel::{
    dma::DataDirection,
    prelude::*,
    sync::Arc, //
};

use super::{
    registry::{
        New,
        Place,
        Registry, //
    },
    streaming::Reach,
    BufferRef,
    Store, //
};
use crate::{
    ext::lent::Lent,
    limits::Registered,
    uapi, //
};

/// Memory that was pinned and is not a buffer yet.
pub(crate) struct User {
    /// With what it counts for its open file; a request of read() or write() counts nothing.
    pub(crate) lent: Lent<Option<Registered>>,
    /// It may be read-only: the card must not write to it.
    pub(crate) source_only: bool,
}

/// Makes a buffer of `user`. Called with the guard held.
///
/// On error `user` is as before: giving memory of a program back may take long, and must not be done with
/// the guard held.
///
/// # Errors
///
/// [`ENOMEM`], or EADDRNOTAVAIL if the card cannot reach it.
pub(crate) fn register(
    registry: &Arc<Registry>,
    reach: Reach<'_>,
    user: &mut Option<User>,
) -> Result<BufferRef> {
    let place = Place::hidden()?;
    let waiting = user.as_ref().ok_or(EINVAL)?;
    let mut state = 0;
    if reach.bounce {
        state |= uapi::USERDMA_BUF_BOUNCED;
    }
    let direction = if waiting.source_only {
        state |= uapi::USERDMA_BUF_SOURCE;
        DataDirection::ToDevice
    } else {
        DataDirection::Bidirectional
    };
    let (hold, segments) = reach.map(&waiting.lent, direction)?;
    let User { lent, .. } = user.take().ok_or(EINVAL)?;
    registry.add(
        place,
        New {
            hold,
            kind: uapi::USERDMA_BUF_USER,
            state,
            length: lent.len(),
            page_size: lent.page_size(),
            node: lent.node(),
            segments,
            store: Store::User { lent },
            window: None,
            charge: None,
        },
    )
}

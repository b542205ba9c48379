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
        Registry, //
    },
    streaming::Reach,
    BufferRef,
    Store, //
};
use crate::{
    ext::{
        locked::Locked,
        pin::Pinned, //
    },
    uapi, //
};

/// Makes a buffer of `pinned`. Called with the guard held.
///
/// `locked` is given back when the memory was unpinned; a request of read() or write() has none.
///
/// # Errors
///
/// [`ENOMEM`], or EADDRNOTAVAIL if the card cannot reach it.
pub(crate) fn register(
    registry: &Arc<Registry>,
    reach: Reach<'_>,
    pinned: Pinned,
    locked: Option<Locked>,
    source_only: bool,
) -> Result<BufferRef> {
    let mut state = 0;
    if reach.bounce {
        state |= uapi::USERDMA_BUF_BOUNCED;
    }
    let direction = if source_only {
        state |= uapi::USERDMA_BUF_SOURCE;
        DataDirection::ToDevice
    } else {
        DataDirection::Bidirectional
    };
    let (hold, segments) = reach.map(&pinned, direction)?;
    registry.add(New {
        hold,
        kind: uapi::USERDMA_BUF_USER,
        state,
        length: pinned.len(),
        page_size: pinned.page_size(),
        node: pinned.node(),
        segments,
        store: Store::User {
            pinned,
            _locked: locked,
        },
        window: None,
        charge: None,
        mappable: false,
    })
}

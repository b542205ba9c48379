// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is wrong with an entry, in the order in which it is looked at.

use libc::{EACCES, EBADF, EINVAL, ENOENT, EOPNOTSUPP, EOVERFLOW, ERANGE};
use nix::errno::Errno;
use userdma::sys;

use crate::device::{host_to_host, Device, COHERENT};
use crate::memory::{Mapping, PAGE};
use crate::outcome::{all_bytes, Outcome};
use crate::raw::wide;
use crate::registry::Context;

/// What the entries that are tried can name.
struct Names {
    /// A buffer of the file, of a page.
    own: u32,
    /// Another one.
    other: u32,
    /// One that is a source only, as long.
    source: u32,
    /// What another file has, and this one has not.
    foreign: u32,
    channels: u16,
}

type Change = fn(&mut sys::userdma_transfer, &Names);

/// The bytes of an entry with nothing wrong.
const LENGTH: usize = 64;
/// Of each buffer.
const END: u64 = 4096;

/// Faults that are found at the same time, after those above them.
type Stage = &'static [(&'static str, Change, i32)];

/// The order is that of the driver's checks.
const STAGES: &[Stage] = &[
    &[
        ("unknown operation", |t, _| t.op = 99, EOPNOTSUPP),
        ("unknown flag", |t, _| t.flags = 1 << 31, EOPNOTSUPP),
    ],
    &[
        ("reserved", |t, _| t.reserved = 1, EINVAL),
        ("length 0", |t, _| t.length = 0, EINVAL),
        ("channel", |t, n| t.channel = n.channels, EINVAL),
    ],
    // Here a file that is not open for both.
    &[],
    &[
        ("buffer 0", |t, _| t.buffer = 0, ENOENT),
        ("buffer", |t, _| t.buffer = 0xdead_beef, ENOENT),
        ("foreign buffer", |t, n| t.buffer = n.foreign, ENOENT),
    ],
    &[
        ("buffer2 0", |t, _| t.buffer2 = 0, ENOENT),
        ("buffer2", |t, _| t.buffer2 = 0xdead_beef, ENOENT),
        ("foreign buffer2", |t, n| t.buffer2 = n.foreign, ENOENT),
    ],
    &[
        ("into a source", |t, n| t.buffer2 = n.source, EACCES),
        (
            "into itself, a source",
            |t, n| (t.buffer, t.buffer2) = (n.source, n.source),
            EACCES,
        ),
    ],
    &[
        (
            "source wraps",
            |t, _| (t.buffer_offset, t.length) = (u64::MAX - 63, 64),
            EOVERFLOW,
        ),
        (
            "length of all ones",
            |t, _| (t.buffer_offset, t.length) = (1, u64::MAX),
            EOVERFLOW,
        ),
        (
            "a byte beyond the source",
            |t, _| (t.buffer_offset, t.length) = (END - 63, 64),
            ERANGE,
        ),
        (
            "far beyond the source",
            |t, _| (t.buffer_offset, t.length) = (1 << 62, 64),
            ERANGE,
        ),
    ],
    &[
        (
            "destination wraps",
            |t, _| (t.card_offset, t.length) = (u64::MAX - 63, 64),
            EOVERFLOW,
        ),
        (
            "a byte beyond the destination",
            |t, _| (t.card_offset, t.length) = (END - 63, 64),
            ERANGE,
        ),
        (
            "far beyond the destination",
            |t, _| (t.card_offset, t.length) = (1 << 62, 64),
            ERANGE,
        ),
    ],
    &[
        ("onto itself", |t, n| within(t, n, 1000), EINVAL),
        ("a byte too early", |t, n| within(t, n, 1063), EINVAL),
        ("a byte too late", |t, n| within(t, n, 937), EINVAL),
    ],
];

/// Where files that are not open for both are found.
const FILE: usize = 2;

/// From 1000 on to another place of the same buffer.
fn within(transfer: &mut sys::userdma_transfer, names: &Names, to: u64) {
    (transfer.buffer, transfer.buffer2) = (names.own, names.own);
    (transfer.buffer_offset, transfer.card_offset) = (1000, to);
    transfer.length = wide(LENGTH);
}

/// An open file and its buffers.
struct Scene {
    device: Device,
    names: Names,
    maps: Vec<Mapping>,
    _source: Mapping,
    _other: Device,
}

impl Scene {
    fn new(context: &Context, access: libc::c_int) -> Outcome<Self> {
        let device = Device::open_with(&context.card().path, access)?;
        let (own, other) = (device.alloc(COHERENT, PAGE)?, device.alloc(COHERENT, PAGE)?);
        let source = Mapping::anonymous(PAGE)?;
        source.fill(0..PAGE, 0x3e);
        let flags = sys::USERDMA_REGISTER_SOURCE;
        let registered = device.register(source.address(), PAGE, flags)?;
        let stranger = context.open()?;
        let mut foreign = stranger.alloc(COHERENT, PAGE)?.handle;
        while device.buffer_info(foreign).is_ok() {
            foreign = stranger.alloc(COHERENT, PAGE)?.handle;
        }
        // A mapping that can be filled needs a file that is open for both.
        let maps: Vec<_> = match access {
            libc::O_RDWR => vec![device.map(&own)?, device.map(&other)?],
            _ => Vec::new(),
        };
        for map in &maps {
            map.fill(0..PAGE, 0x3e);
        }
        let names = Names {
            own: own.handle,
            other: other.handle,
            source: registered.handle,
            foreign,
            channels: u16::try_from(device.info()?.out_channels)?,
        };
        Ok(Self {
            device,
            names,
            maps,
            _source: source,
            _other: stranger,
        })
    }

    fn good(&self) -> sys::userdma_transfer {
        host_to_host((self.names.own, 0), (self.names.other, 0), LENGTH)
    }

    fn refuses(&self, transfer: sys::userdma_transfer, errno: i32, what: &str) -> Outcome {
        let result = self.device.submit(&[transfer]);
        check_eq!(result, Err(Errno::from_raw(errno)), "{what}: {transfer:?}");
        Ok(())
    }

    /// Nothing was accepted, and nothing was written.
    fn check(&self) -> Outcome {
        self.device.check_idle()?;
        for map in &self.maps {
            all_bytes(&map.read(0, PAGE), 0x3e, "a buffer")?;
        }
        let told = crate::guest::fdinfo(&self.device)?;
        check_eq!(crate::guest::number(&told, "submitted")?, 0);
        Ok(())
    }
}

pub(super) fn refused(context: &mut Context) -> Outcome {
    let mut tried = 0;
    let both = Scene::new(context, libc::O_RDWR)?;
    let names = &both.names;
    for (number, stage) in STAGES.iter().enumerate() {
        for (what, change, errno) in *stage {
            let mut one = both.good();
            change(&mut one, names);
            both.refuses(one, *errno, what)?;
            for (later, other, _) in STAGES[number + 1..].iter().copied().flatten() {
                let mut two = both.good();
                other(&mut two, names);
                change(&mut two, names);
                both.refuses(two, *errno, &format!("{what}, and {later}"))?;
                tried += 1;
            }
        }
    }
    both.check()?;
    for access in [libc::O_RDONLY, libc::O_WRONLY] {
        let scene = Scene::new(context, access)?;
        scene.refuses(scene.good(), EBADF, "open for one")?;
        for (number, stage) in STAGES.iter().enumerate() {
            for (what, change, errno) in *stage {
                let mut one = scene.good();
                change(&mut one, &scene.names);
                let first = if number < FILE { *errno } else { EBADF };
                scene.refuses(one, first, &format!("{what}, and open for one"))?;
                tried += 1;
            }
        }
        scene.check()?;
    }
    println!("{tried} pairs");
    // What is just not wrong: side by side, to the very end, and from a source.
    for (from, to) in [
        ((names.own, 1000), (names.own, 1064)),
        ((names.own, 1000), (names.own, 936)),
        ((names.own, PAGE - LENGTH), (names.other, PAGE - LENGTH)),
        ((names.source, 0), (names.own, 0)),
    ] {
        both.device.run_well(&[host_to_host(from, to, LENGTH)])?;
    }
    both.device.check_idle()
}

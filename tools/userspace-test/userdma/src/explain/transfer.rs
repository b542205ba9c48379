// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Why a transfer, or a read or write of the card's memory, failed.

use rustix::io::Errno;

use super::general;
use crate::Bytes;
use crate::ErrorKind;
use crate::Explanation;
use crate::Info;
use crate::Operation;

/// The values of a transfer that was refused. `buffer_length` is `None` when
/// the buffer could not be asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    pub(crate) operation: Operation,
    pub(crate) channel: u16,
    pub(crate) buffer_offset: u64,
    pub(crate) length: u64,
    pub(crate) card_offset: u64,
    pub(crate) buffer_length: Option<u64>,
}

/// Explains why SUBMIT did not accept a transfer.
pub(crate) fn submit(refused: &Refused, errno: Errno, info: &Info) -> Explanation {
    match errno {
        Errno::RANGE | Errno::OVERFLOW => out_of_range(refused, info),
        Errno::INVAL => invalid(refused, info),
        Errno::BADF => {
            let (how, wanted) = match refused.operation {
                Operation::FromCard => ("write-only", "reading too"),
                Operation::ToCard => ("read-only", "writing too"),
                Operation::HostToHost => ("read-only or write-only", "reading and writing"),
            };
            Explanation::new(ErrorKind::BadAccess, format!("the device was opened {how}"))
                .advise(format!("open it for {wanted}"))
        }
        Errno::ACCESS => Explanation::new(
            ErrorKind::BadAccess,
            "the buffer is a source: the card may read it and not write it",
        )
        .advise("register writable memory, and not as a source: without .source() or --source"),
        Errno::OPNOTSUPP => Explanation::new(
            ErrorKind::NotSupported,
            "this card, or the driver, cannot do that operation",
        )
        .advise("`userdma info` lists what it can"),
        Errno::AGAIN => Explanation::new(
            ErrorKind::WouldBlock,
            "no slot is free, and the file is non-blocking",
        )
        .limit(format!("{} transfers between submit and wait", info.depth))
        .advise("wait for completions first, or poll until a slot is free"),
        _ => general(errno),
    }
}

fn out_of_range(refused: &Refused, info: &Info) -> Explanation {
    let outside = |what: &str, offset: u64, size: u64| {
        let end = offset.checked_add(refused.length)?;
        (end > size).then(|| {
            Explanation::new(
                ErrorKind::OutOfRange,
                format!("it ends at {end}, behind the end of {what}"),
            )
            .limit(format!("{what} has {} ({size})", Bytes(size)))
        })
    };
    let card = match refused.operation {
        Operation::HostToHost => None,
        _ => outside("the card's memory", refused.card_offset, info.card_size),
    };
    let buffer = || outside("the buffer", refused.buffer_offset, refused.buffer_length?);
    card.or_else(buffer).unwrap_or_else(|| {
        Explanation::new(
            ErrorKind::OutOfRange,
            "offset and length reach outside a buffer or the card, or overflow",
        )
    })
}

fn invalid(refused: &Refused, info: &Info) -> Explanation {
    let explanation = |why: &str| Explanation::new(ErrorKind::InvalidInput, why);
    let alignment = u64::from(info.alignment.max(1));
    let values = [refused.buffer_offset, refused.length, refused.card_offset];
    if refused.length == 0 {
        explanation("a transfer moves at least one byte")
    } else if u32::from(refused.channel) >= info.channels {
        no_channel(refused.channel.into(), info)
    } else if values.iter().any(|value| value % alignment != 0) {
        explanation("an offset or the length is not aligned")
            .limit(format!("multiples of {}", Bytes(alignment)))
    } else if refused.operation == Operation::HostToHost {
        explanation("source and destination are one buffer, and overlap")
            .advise("ranges without a byte in common, or another buffer")
    } else if refused.length > info.max_transfer {
        explanation("it is longer than one transfer may be")
            .limit(format!("{} in one transfer", Bytes(info.max_transfer)))
            .advise("several transfers in one batch")
    } else {
        explanation("the driver does not take this combination of values")
    }
}

fn no_channel(channel: u32, info: &Info) -> Explanation {
    Explanation::new(
        ErrorKind::InvalidInput,
        format!("the card has no channel {channel}"),
    )
    .limit(format!("channels 0 to {}", info.channels.saturating_sub(1)))
}

/// Explains why transfers of a channel could not be withdrawn.
pub(crate) fn cancel(channel: u32, errno: Errno, info: &Info) -> Explanation {
    match errno {
        Errno::INVAL if channel >= info.channels => no_channel(channel, info),
        _ => general(errno),
    }
}

/// Explains why `length` bytes of a buffer of `size` could not be synchronised.
pub(crate) fn sync(length: u64, errno: Errno, size: u64) -> Explanation {
    match errno {
        Errno::ACCESS => Explanation::new(
            ErrorKind::BadAccess,
            "the buffer is a source: the card writes nothing that could become visible",
        ),
        Errno::RANGE | Errno::OVERFLOW => {
            Explanation::new(ErrorKind::OutOfRange, "it reaches outside the buffer")
                .limit(format!("the buffer has {} ({size})", Bytes(size)))
        }
        Errno::INVAL if length == 0 => {
            Explanation::new(ErrorKind::InvalidInput, "there must be at least one byte")
        }
        _ => general(errno),
    }
}

/// Explains why WAIT gave no record.
pub(crate) fn wait(errno: Errno) -> Explanation {
    match errno {
        Errno::TIMEDOUT => {
            Explanation::new(ErrorKind::TimedOut, "the time was over before one ended")
                .advise("wait longer; what is outstanding stays so")
        }
        Errno::AGAIN => Explanation::new(
            ErrorKind::WouldBlock,
            "none has ended yet, and the file is non-blocking",
        )
        .advise("poll the file first"),
        Errno::INTR => Explanation::new(ErrorKind::Interrupted, "a signal came first")
            .advise("wait again; nothing is lost"),
        _ => general(errno),
    }
}

/// Explains how an accepted transfer ended. Knows nothing of the device, which
/// a completion does not name.
pub(crate) fn completion(errno: Errno) -> Explanation {
    match errno {
        Errno::TIMEDOUT => Explanation::new(ErrorKind::TimedOut, "the card did not answer in time")
            .advise("look what the driver says: dmesg | grep userdma")
            .advise("a slow card: load the module with a larger timeout_ms"),
        Errno::IO => Explanation::new(ErrorKind::CardError, "the card reported an error")
            .advise("look what the driver says: dmesg | grep userdma"),
        Errno::CANCELED => Explanation::new(
            ErrorKind::Canceled,
            "the program withdrew it before the card had all of it",
        ),
        _ => general(errno),
    }
}

/// Explains why the card's memory could not be read or written.
pub(crate) fn card_memory(position: u64, length: u64, errno: Errno, info: &Info) -> Explanation {
    let size = format!(
        "the card has {} ({}) of memory",
        Bytes(info.card_size),
        info.card_size
    );
    match errno {
        Errno::NOSPC => {
            let why = if position >= info.card_size {
                "the position is at or behind the end"
            } else {
                "it does not fit"
            };
            Explanation::new(ErrorKind::OutOfRange, why).limit(size)
        }
        Errno::INVAL => {
            let alignment = u64::from(info.alignment.max(1));
            if position % alignment == 0 && length % alignment == 0 {
                Explanation::new(ErrorKind::InvalidInput, "the position makes no sense").limit(size)
            } else {
                Explanation::new(ErrorKind::InvalidInput, "position or length is not aligned")
                    .limit(format!("multiples of {}", Bytes(alignment)))
            }
        }
        Errno::TIMEDOUT | Errno::IO => completion(errno),
        _ => general(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Refused {
        Refused {
            operation: Operation::ToCard,
            channel: 0,
            buffer_offset: 0,
            length: 4,
            card_offset: 0,
            buffer_length: Some(8192),
        }
    }

    fn edu() -> Info {
        crate::info::tests::edu()
    }

    #[test]
    fn range_says_which_end() {
        let told = submit(
            &Refused {
                card_offset: 4096,
                ..refused()
            },
            Errno::RANGE,
            &edu(),
        );
        assert_eq!(
            told.why,
            "it ends at 4100, behind the end of the card's memory"
        );
        assert_eq!(
            told.limit.as_deref(),
            Some("the card's memory has 4 KiB (4096)")
        );
        let told = submit(
            &Refused {
                buffer_offset: 8192,
                ..refused()
            },
            Errno::RANGE,
            &edu(),
        );
        assert!(told.why.contains("the buffer"), "{}", told.why);
        let told = submit(
            &Refused {
                card_offset: u64::MAX,
                ..refused()
            },
            Errno::OVERFLOW,
            &edu(),
        );
        assert_eq!(told.kind, ErrorKind::OutOfRange);
        let told = submit(
            &Refused {
                buffer_length: None,
                ..refused()
            },
            Errno::RANGE,
            &edu(),
        );
        assert_eq!(told.kind, ErrorKind::OutOfRange);
    }

    #[test]
    fn invalid_says_which_value() {
        for (wrong, why) in [
            (
                Refused {
                    length: 0,
                    ..refused()
                },
                "at least one byte",
            ),
            (
                Refused {
                    channel: 1,
                    ..refused()
                },
                "no channel 1",
            ),
            (
                Refused {
                    card_offset: 2,
                    ..refused()
                },
                "not aligned",
            ),
            (
                Refused {
                    length: 8192,
                    ..refused()
                },
                "longer than",
            ),
        ] {
            let told = submit(&wrong, Errno::INVAL, &edu());
            assert!(told.why.contains(why), "{} lacks {why}", told.why);
        }
    }

    #[test]
    fn copies_have_reasons_of_their_own() {
        let copy = Refused {
            operation: Operation::HostToHost,
            length: 8192,
            ..refused()
        };
        let told = submit(&copy, Errno::INVAL, &edu());
        assert!(told.why.contains("overlap"), "{}", told.why);
        let told = submit(&copy, Errno::BADF, &edu());
        assert!(told.advice[0].contains("reading and writing"));
        let told = submit(&copy, Errno::RANGE, &edu());
        assert!(told.why.contains("outside a buffer"), "{}", told.why);
    }

    #[test]
    fn access_says_how_it_was_opened() {
        let told = submit(&refused(), Errno::BADF, &edu());
        assert!(told.why.contains("read-only"));
        let told = submit(
            &Refused {
                operation: Operation::FromCard,
                ..refused()
            },
            Errno::BADF,
            &edu(),
        );
        assert!(told.why.contains("write-only"));
        let told = submit(&refused(), Errno::ACCESS, &edu());
        assert_eq!(told.kind, ErrorKind::BadAccess);
        assert!(told.why.contains("a source"), "{}", told.why);
    }

    #[test]
    fn synchronising_has_reasons_of_its_own() {
        for (length, errno, kind) in [
            (1, Errno::ACCESS, ErrorKind::BadAccess),
            (1, Errno::RANGE, ErrorKind::OutOfRange),
            (0, Errno::INVAL, ErrorKind::InvalidInput),
            (1, Errno::NODEV, ErrorKind::Gone),
        ] {
            assert_eq!(sync(length, errno, 8192).kind, kind, "{errno}");
        }
        let told = sync(1, Errno::OVERFLOW, 8192);
        assert_eq!(told.limit.as_deref(), Some("the buffer has 8 KiB (8192)"));
    }

    #[test]
    fn cancelling_names_the_channels() {
        let told = cancel(1, Errno::INVAL, &edu());
        assert_eq!(told.kind, ErrorKind::InvalidInput);
        assert_eq!(told.why, "the card has no channel 1");
        assert_eq!(told.limit.as_deref(), Some("channels 0 to 0"));
        assert_eq!(cancel(0, Errno::NODEV, &edu()).kind, ErrorKind::Gone);
        // A driver that is older than the command.
        let told = cancel(0, Errno::NOTTY, &edu());
        assert_eq!(told.kind, ErrorKind::NotSupported);
        let told = completion(Errno::CANCELED);
        assert_eq!(told.kind, ErrorKind::Canceled);
    }

    #[test]
    fn the_end_of_the_card_is_told() {
        let told = card_memory(4096, 1, Errno::NOSPC, &edu());
        assert_eq!(
            told.limit.as_deref(),
            Some("the card has 4 KiB (4096) of memory")
        );
    }
}

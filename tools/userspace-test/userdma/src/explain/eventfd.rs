// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Why an eventfd could not be told of events.

use rustix::io::Errno;

use super::general;
use crate::ErrorKind;
use crate::Event;
use crate::Explanation;
use crate::Info;

/// Explains why EVENTFD did not take a file.
pub(crate) fn eventfd(event: Event, errno: Errno, info: &Info) -> Explanation {
    let invalid = |why: String| Explanation::new(ErrorKind::InvalidInput, why);
    match (errno, event) {
        (Errno::INVAL, Event::Interrupt(vector)) if vector >= info.vectors => {
            invalid(format!("the card has no interrupt vector {vector}"))
                .limit(format!("vectors 0 to {}", info.vectors.saturating_sub(1)))
                .advise("a channel may share its vector with others: watch all of them")
        }
        (Errno::INVAL, _) => invalid("the file is no eventfd".to_owned())
            .advise("make one with eventfd(2), or let the library: Device::eventfd()"),
        (Errno::BADF, _) => {
            Explanation::new(ErrorKind::BadAccess, "the eventfd is no file that is open")
        }
        _ => general(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        // As QEMU's `edu` has them.
        let info = Info {
            vectors: 1,
            ..crate::info::tests::edu()
        };
        let told = eventfd(Event::Interrupt(1), Errno::INVAL, &info);
        assert_eq!(told.why, "the card has no interrupt vector 1");
        assert_eq!(told.limit.as_deref(), Some("vectors 0 to 0"));
        for event in [Event::Completion, Event::Interrupt(0)] {
            let told = eventfd(event, Errno::INVAL, &info);
            assert_eq!(told.kind, ErrorKind::InvalidInput);
            assert!(told.why.contains("no eventfd"), "{}", told.why);
            let kind = |errno| eventfd(event, errno, &info).kind;
            assert_eq!(kind(Errno::BADF), ErrorKind::BadAccess);
            assert_eq!(kind(Errno::NODEV), ErrorKind::Gone);
            assert_eq!(kind(Errno::NOTTY), ErrorKind::NotSupported);
        }
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Errors as people read them, and as the exit status tells them.

use std::fmt::Write as _;
use std::process::ExitCode;

use userdma::ErrorKind;

/// Says what failed and why, then the limit and the way out if they are known.
pub(crate) fn text(error: &anyhow::Error) -> String {
    let mut text = format!("{error:#}");
    if let Some(known) = error.downcast_ref::<userdma::Error>() {
        let explanation = known.explanation();
        if let Some(limit) = explanation.met_limit() {
            let _ = write!(text, "\n  limit: {limit}");
        }
        for advice in explanation.advice() {
            let _ = write!(text, "\n  try: {advice}");
        }
    }
    text
}

/// As `userdma --help` promises.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<userdma::Error>() {
        Some(error @ (userdma::Error::NoDevice { .. } | userdma::Error::Open { .. }))
            if matches!(error.kind(), ErrorKind::NoDevice | ErrorKind::Permission) =>
        {
            ExitCode::from(3)
        }
        _ => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use userdma::Device;

    use super::*;

    #[test]
    fn context_limit_and_advice_are_told() {
        let result = Device::open("/dev/userdma4294967295").context("beginning");
        let error = result.expect_err("there is no such node");
        let text = text(&error);
        assert!(
            text.starts_with("beginning: cannot open /dev/userdma4294967295: "),
            "{text}"
        );
        assert!(text.contains("\n  try: "), "{text}");
        assert_eq!(
            format!("{:?}", exit_code(&error)),
            format!("{:?}", ExitCode::from(3))
        );
    }

    #[test]
    fn other_errors_are_told_in_one_line() {
        let error = anyhow::anyhow!("inner").context("outer");
        assert_eq!(text(&error), "outer: inner");
        assert_eq!(
            format!("{:?}", exit_code(&error)),
            format!("{:?}", ExitCode::FAILURE)
        );
    }
}

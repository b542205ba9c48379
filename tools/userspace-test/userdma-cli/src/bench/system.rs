// SPDX-License-Identifier: GPL-2.0 OR MIT
//! On what machine it was measured.

use std::fs;
use std::thread;

use serde::Serialize;

/// What figures depend on, besides the card.
#[derive(Serialize)]
pub(super) struct System {
    pub(super) kernel: String,
    pub(super) architecture: &'static str,
    /// Processors that this program may use.
    pub(super) processors: usize,
    /// What the first one calls itself.
    pub(super) processor: Option<String>,
}

impl System {
    pub(super) fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            architecture: std::env::consts::ARCH,
            processors: thread::available_parallelism().map_or(1, usize::from),
            processor: model(&text("/proc/cpuinfo")),
        }
    }
}

fn model(cpuinfo: &str) -> Option<String> {
    let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let (_, name) = lines.find(|(name, _)| name.trim() == "model name")?;
    Some(name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named() {
        let text =
            "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Example CPU: 3 GHz\nprocessor\t: 1\n";
        assert_eq!(model(text).as_deref(), Some("Example CPU: 3 GHz"));
        assert_eq!(model("processor\t: 0\n"), None);
        let here = System::read();
        assert!(!here.kernel.is_empty() && here.processors > 0);
    }
}

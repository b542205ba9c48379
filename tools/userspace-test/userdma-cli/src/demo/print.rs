// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the demo shows, in 80 columns.

use std::process::ExitCode;
use std::time::Duration;

const WIDTH: usize = 78;
const NAME: usize = 14;
const TIME: usize = 10;

/// Prints, and remembers whether anything failed.
#[derive(Debug, Default)]
pub(super) struct Printer {
    failures: u64,
    cards: u64,
}

impl Printer {
    /// Begins with a card.
    pub(super) fn title(&mut self, text: &str) {
        if self.cards > 0 {
            println!();
        }
        self.cards += 1;
        println!("{text}");
        println!();
    }

    pub(super) fn section(&mut self, text: &str) {
        println!();
        println!("{text}");
    }

    /// Prints a row with the time of the step at its end.
    pub(super) fn row(&mut self, name: &str, text: &str, time: Option<Duration>) {
        println!("{}", row(name, text, time));
    }

    /// Prints a line between rows.
    pub(super) fn note(&mut self, text: &str) {
        println!("  {text}");
    }

    /// Prints the result of a comparison.
    pub(super) fn compared(&mut self, name: &str, text: &str, time: Duration, wrong: &[String]) {
        if wrong.is_empty() {
            self.row(name, &format!("{text}, equal"), Some(time));
            return;
        }
        self.row(name, text, Some(time));
        for words in wrong {
            self.failure(name, words);
        }
    }

    /// Explains what failed, in as many lines as it takes.
    pub(super) fn failure(&mut self, name: &str, text: &str) {
        self.failures += 1;
        for line in failure(name, text) {
            println!("{line}");
        }
    }

    /// Prints the last line and gives the exit status that says the same.
    pub(super) fn finish(self, time: Duration) -> ExitCode {
        println!();
        let seconds = time.as_secs_f64();
        if self.failures == 0 {
            let cards = plural(self.cards, "card");
            println!("OK: all data came back equal, {cards}, in {seconds:.1} s");
            ExitCode::SUCCESS
        } else {
            println!(
                "FAILED: {}, in {seconds:.1} s",
                plural(self.failures, "step")
            );
            ExitCode::FAILURE
        }
    }
}

fn row(name: &str, text: &str, time: Option<Duration>) -> String {
    let line = format!("  {name:<NAME$}{text}");
    match time {
        Some(time) => {
            let time = format!("{:.1} ms", time.as_secs_f64() * 1e3);
            format!("{line:<left$}{time:>TIME$}", left = WIDTH - TIME)
        }
        None => line,
    }
}

/// Wraps an error's report; its lines "limit:" and "try:" keep their indent.
fn failure(name: &str, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let (first, rest) = if number == 0 {
            (format!("  {name:<NAME$}FAILED: "), " ".repeat(NAME + 4))
        } else {
            (" ".repeat(NAME + 4), " ".repeat(NAME + 8))
        };
        let options = textwrap::Options::new(WIDTH)
            .initial_indent(&first)
            .subsequent_indent(&rest)
            .break_words(false);
        lines.extend(
            textwrap::wrap(line.trim_start(), options)
                .into_iter()
                .map(|line| line.into_owned()),
        );
    }
    lines
}

/// Counts things in words.
pub(super) fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_narrow_and_times_stand_in_line() {
        let short = row("coherent", "32 MiB", Some(Duration::from_millis(12)));
        assert_eq!(short.len(), WIDTH);
        assert!(short.ends_with("   12.0 ms"));
        let long = row(
            "huge",
            "64 MiB, pages of 4 KiB (fell back), 16384 segments",
            Some(Duration::from_secs(10)),
        );
        assert_eq!(long.len(), WIDTH, "{long}");
    }

    #[test]
    fn reports_are_wrapped() {
        let text = "cannot allocate a coherent buffer of 32 MiB: without an IOMMU it must be one \
                    contiguous piece, and this kernel has none\n  limit: 4 MiB\n  try: boot with \
                    cma=64M@0-256M on the kernel's command line, and then allocate it again";
        let lines = failure("coherent", text);
        assert!(
            lines.iter().all(|line| line.chars().count() <= WIDTH),
            "{lines:#?}"
        );
        assert!(
            lines[0].starts_with("  coherent      FAILED: cannot"),
            "{lines:#?}"
        );
        assert!(
            lines.iter().any(|line| line.trim_start() == "limit: 4 MiB"),
            "{lines:#?}"
        );
    }

    #[test]
    fn numbers_agree_with_their_words() {
        assert_eq!(plural(1, "step"), "1 step");
        assert_eq!(plural(0, "step"), "0 steps");
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The control socket of a model: a request is a line of JSON, and so is its
//! answer, `{"ok": ...}` or `{"error": "..."}`.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

/// How long a model may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// The longest answer that is read.
const LONGEST: u64 = 16 << 20;

/// So many violations are shown.
const SHOWN: usize = 20;

/// What each model is asked at the end.
const REPORT: &str = r#"{"report": {}}"#;

/// An answer.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Ok(Value),
    Error(String),
}

/// What a model answers when it is asked for its report.
#[derive(Debug, Deserialize)]
struct Report {
    count: u64,
    violations: Vec<Violation>,
}

/// Something that a driver did and a card does not forgive.
#[derive(Debug, Deserialize)]
struct Violation {
    rule: String,
    who: String,
    text: String,
}

/// The control socket that belongs to a model's socket.
pub(crate) fn path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".control");
    path.into()
}

/// Whether a request ends the process that gets it.
pub(crate) fn is_die(json: &str) -> Result<bool> {
    let request: Value = serde_json::from_str(json).context("the request is no JSON")?;
    Ok(request.get("die").is_some())
}

/// Asks the model at `socket`, and gives what it answers as `ok`.
pub(crate) fn ask(socket: &Path, json: &str) -> Result<Value> {
    let line = exchange(socket, json)?;
    if line.is_empty() {
        bail!("the model hung up without an answer");
    }
    understand(&line)
}

/// Tells the model at `socket` something that it may leave without an answer.
pub(crate) fn tell(socket: &Path, json: &str) -> Result<()> {
    match exchange(socket, json) {
        Ok(line) if !line.is_empty() => understand(&line).map(drop),
        _ => Ok(()),
    }
}

/// What the model at `socket` has found fault with; that it cannot be asked counts.
pub(crate) fn complaints(socket: &Path) -> Vec<String> {
    match ask(socket, REPORT).and_then(lines) {
        Ok(lines) => lines,
        Err(error) => vec![format!("asked for its report: {error:#}")],
    }
}

fn exchange(socket: &Path, json: &str) -> Result<String> {
    let path = path(socket);
    let stream =
        UnixStream::connect(&path).with_context(|| format!("connecting to {}", path.display()))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    (&stream)
        .write_all(format!("{json}\n").as_bytes())
        .context("sending a request to a model")?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST))
        .read_line(&mut line)
        .context("waiting for a model's answer")?;
    Ok(line)
}

fn understand(line: &str) -> Result<Value> {
    let answer = serde_json::from_str(line).with_context(|| format!("the answer {line}"))?;
    match answer {
        Answer::Ok(value) => Ok(value),
        Answer::Error(words) => bail!("{words}"),
    }
}

/// A report as lines for a person; none if there is nothing.
fn lines(report: Value) -> Result<Vec<String>> {
    let report: Report = serde_json::from_value(report).context("a report that is none")?;
    let words = |it: &Violation| format!("{}: {}: {}", it.who, it.rule, it.text);
    let shown = report.violations.iter().take(SHOWN);
    let mut lines: Vec<String> = shown.map(words).collect();
    if report.count > u64::try_from(lines.len())? {
        lines.push(format!("{} violations in all", report.count));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_ok_or_error() -> Result<()> {
        assert_eq!(understand(r#"{"ok": {"a": 1}}"#)?, json!({"a": 1}));
        let error = understand(r#"{"error": "no such fault"}"#).expect_err("an error");
        assert_eq!(error.to_string(), "no such fault");
        assert!(understand("ok").is_err());
        Ok(())
    }

    #[test]
    fn a_report_has_a_line_for_each_violation() -> Result<()> {
        assert!(lines(json!({"count": 0, "violations": []}))?.is_empty());
        let one = json!({"rule": "doorbell", "who": "channel 1", "text": "9 of 8"});
        let report = json!({"count": 3, "violations": [one, one]});
        let line = "channel 1: doorbell: 9 of 8";
        assert_eq!(lines(report)?, [line, line, "3 violations in all"]);
        let many = json!({"count": 99, "violations": vec![one; 99]});
        assert_eq!(lines(many)?.len(), SHOWN + 1);
        assert!(lines(json!({})).is_err());
        Ok(())
    }

    #[test]
    fn die_is_seen_in_json_only() -> Result<()> {
        assert!(is_die(r#" {"die": {}} "#)?);
        assert!(!is_die(r#"{"inject": {"fault": "die"}}"#)?);
        assert!(is_die("die").is_err());
        Ok(())
    }

    #[test]
    fn one_line_is_asked_and_one_comes_back() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(path(&socket))?;
        let model = std::thread::spawn(move || -> Result<String> {
            let mut line = String::new();
            for answer in ["{\"ok\": 7}\n", ""] {
                let (stream, _) = listener.accept()?;
                BufReader::new(&stream).read_line(&mut line)?;
                (&stream).write_all(answer.as_bytes())?;
            }
            Ok(line)
        });
        assert_eq!(ask(&socket, "{}")?, json!(7));
        // It goes without a word.
        tell(&socket, r#"{"die": {}}"#)?;
        let asked = model.join().ok().context("the thread panicked")??;
        assert_eq!(asked, "{}\n{\"die\": {}}\n");
        // Nobody is there any more.
        assert!(ask(&socket, "{}").is_err());
        assert!(complaints(&socket)[0].contains("asked for its report"));
        Ok(())
    }
}

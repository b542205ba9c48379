// SPDX-License-Identifier: GPL-2.0 OR MIT

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::net::UnixStream;

use anyhow::Result;
use serde_json::json;
use serde_json::Value;
use userdma_model::testing::Program;

use crate::driver::*;

fn copy(length: u32) -> Descriptor {
    Descriptor::new(TO_CARD, BASE + DATA, 0, length)
}

#[test]
fn the_control_socket_answers_each_line() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    for line in [
        "",
        "{",
        "[]",
        "{}",
        "7",
        r#"{"report": {}, "heal": {}}"#,
        r#"{"coffee": {}}"#,
        r#"{"inject": {"fault": "coffee", "channel": 0}}"#,
        r#"{"inject": {"fault": "stuck", "channel": 4}}"#,
        r#"{"inject": {"fault": "slow", "channel": 0}}"#,
        r#"{"inject": {"fault": "stuck", "channel": 0, "cuont": 3}}"#,
        r#"{"inject": {}}"#,
    ] {
        let answer = program.control_line(line)?;
        assert!(answer["error"].is_string(), "{line}: {answer}");
    }
    // Several on one connection, and two connections side by side.
    let mut path = program.socket().into_os_string();
    path.push(".control");
    let (one, other) = (UnixStream::connect(&path)?, UnixStream::connect(&path)?);
    (&one).write_all(b"{\"report\": {}}\n{\"heal\": {}}\n{\"nothing\": {}}\n")?;
    (&other).write_all(b"{\"forgive\": {}}\n")?;
    let mut line = String::new();
    BufReader::new(&other).read_line(&mut line)?;
    let empty = json!({"ok": {"count": 0, "violations": []}});
    assert_eq!(serde_json::from_str::<Value>(&line)?, empty);
    let lines: Vec<String> = BufReader::new(&one)
        .lines()
        .take(3)
        .collect::<Result<_, _>>()?;
    assert_eq!(serde_json::from_str::<Value>(&lines[0])?, empty);
    assert_eq!(serde_json::from_str::<Value>(&lines[1])?, json!({"ok": {}}));
    assert!(lines[2].contains("error"));
    Ok(())
}

#[test]
fn the_report_names_rule_and_channel() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 0)?;
    let mut channel = Channel::start(&mut guest, 3, 4, 4)?;
    channel.run(&mut guest, &[Descriptor::new(TO_CARD, 0x1000, 0, 64)])?;
    let report = program.control(&json!({"report": {}}))?;
    assert_eq!(report["count"], 1);
    let violation = &report["violations"][0];
    assert_eq!(violation["rule"], "address");
    assert_eq!(violation["who"], "channel 3");
    let text = violation["text"].as_str().unwrap_or_default();
    assert!(text.contains("0x1000"), "{text}");
    // It is there until it is forgiven, also when the client is gone.
    drop(guest);
    assert_eq!(program.control(&json!({"report": {}}))?, report);
    let (mut guest, _events) = machine(&program, 0)?;
    assert_eq!(guest.read32(0, 0x14)?, 0);
    assert_eq!(program.control(&json!({"forgive": {}}))?, report);
    assert_clean(&program)
}

#[test]
fn everything_is_counted() -> Result<()> {
    let program = Program::start(PROGRAM)?;
    let (mut guest, _events) = machine(&program, 1)?;
    let mut channel = Channel::start(&mut guest, 1, 4, 4)?;
    channel.run(&mut guest, &[copy(100).more(), copy(28)])?;
    channel.run(&mut guest, &[copy(1000)])?;
    channel.wait_idle(&mut guest)?;
    let mut counters = program.control(&json!({"counters": {}}))?;
    let busy = counters["channels"][1]["busy_ns"].take();
    assert!(busy.as_u64().is_some_and(|busy| busy > 0), "{busy}");
    assert_eq!(
        counters["channels"][1],
        json!({
            "descriptors": 3,
            "chains": 2,
            "bytes": 1128,
            "completions": 2,
            "interrupts": 2,
            "doorbells": 2,
            "busy_ns": null,
        })
    );
    assert_eq!(counters["channels"][0]["descriptors"], 0);
    // Six for the rings, RUN, two doorbells.
    assert_eq!(counters["card"]["writes"], 9);
    let before = counters["card"]["reads"].as_u64().unwrap_or(0);
    guest.read32(0, 0)?;
    let counters = program.control(&json!({"counters": {}}))?;
    assert_eq!(counters["card"]["reads"], before + 1);
    Ok(())
}

#[test]
fn it_ends_in_the_middle_of_anything() -> Result<()> {
    let mut program = Program::start(PROGRAM)?;
    for way in 0..3 {
        let (mut guest, _events) = machine(&program, 1)?;
        let mut channel = Channel::start(&mut guest, 0, 12, 4)?;
        let mut chain = vec![copy(4 << 20).more(); 4095];
        chain.push(copy(4 << 20));
        channel.give(&mut guest, &chain)?;
        channel.wait_for(&mut guest, TAKEN, u32::MAX, 4096)?;
        match way {
            0 => program.terminate()?,
            1 => program.end_input(),
            _ => assert!(program.control(&json!({"die": {}})).is_err()),
        }
        let status = program.wait()?;
        assert_eq!(status.success(), way != 2, "{status}");
        assert_eq!(program.socket().exists(), way == 2);
        assert!(guest.read32(0, 0).is_err());
        program.start_again(PROGRAM)?;
    }
    assert!(machine(&program, 1).is_ok());
    Ok(())
}

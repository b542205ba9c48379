// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The control socket: a JSON object a line, answered by one.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use anyhow::bail;
use anyhow::Context;
use serde_json::json;
use serde_json::Map;
use serde_json::Value;

use crate::log;
use crate::serve::Sessions;
use crate::Model;

/// The longest request, in bytes.
const LONGEST: u64 = 64 << 10;

/// Answers whoever comes, until the process ends.
pub(crate) fn listen<M: Model>(listener: &UnixListener, sessions: &Arc<Sessions<M>>) {
    for stream in listener.incoming() {
        let sessions = sessions.clone();
        match stream {
            // Whoever hangs up in the middle has his reasons.
            Ok(stream) => drop(std::thread::spawn(move || converse(&stream, &sessions))),
            Err(error) => log(format_args!("control socket: {error}")),
        }
    }
}

fn converse<M: Model>(stream: &UnixStream, sessions: &Sessions<M>) -> io::Result<()> {
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let length = lines.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(());
        }
        let answer = match answer(&line, sessions) {
            Ok(value) => json!({ "ok": value }),
            Err(error) => json!({ "error": format!("{error:#}") }),
        };
        let mut stream = stream;
        stream.write_all(format!("{answer}\n").as_bytes())?;
    }
}

fn answer<M: Model>(line: &[u8], sessions: &Sessions<M>) -> anyhow::Result<Value> {
    let request: Map<String, Value> =
        serde_json::from_slice(line).context("a request is a JSON object in one line")?;
    let mut requests = request.iter();
    let (Some((name, arguments)), None) = (requests.next(), requests.next()) else {
        bail!("a request is an object with one member, {{\"NAME\": {{ARGUMENTS}}}}");
    };
    match name.as_str() {
        "report" => Ok(serde_json::to_value(sessions.report().get())?),
        "forgive" => Ok(serde_json::to_value(sessions.report().take())?),
        "die" => {
            sessions.death().come()?;
            Ok(Value::Null)
        }
        _ => sessions.current().model.control(name, arguments),
    }
}

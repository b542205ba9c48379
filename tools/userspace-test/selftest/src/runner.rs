// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Runs tests, each in a process of its own, and prints KTAP.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::{killpg, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag};
use nix::unistd::{setpgid, Pid};
use rand::rngs::SmallRng;
use rand::SeedableRng as _;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::pipe::{pipe_with, PipeFlags};

use crate::child::{spawn, Exit, SKIPPED, SKIP_MARK};
use crate::device::Device;
use crate::guest::{self, Card};
use crate::model::Slow;
use crate::outcome::{Outcome, Stop};
use crate::registry::{Context, Need, Test};
use crate::resources::{open_files, KernelLog, Snapshot};
use crate::Options;

/// How a test went.
#[derive(Debug)]
enum Verdict {
    Passed,
    Failed,
    Hung(Duration),
    Skipped(String),
}

/// Prints a line and sees to it that it is out before anything else happens.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    // Nobody to tell if standard output is gone.
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// Runs the tests.
pub(crate) fn run(tests: &[Test], options: &Options) -> ExitCode {
    let home = match Home::find(options) {
        Ok(home) => home,
        Err(Stop::Fail(message) | Stop::Skip(message)) => {
            eprintln!("userdma selftest: {message}");
            return ExitCode::from(2);
        }
    };
    let seed = options
        .seed
        .unwrap_or_else(|| crate::poll::now() % 1_000_000_000);
    say("KTAP version 1");
    say(&format!("# seed {seed}, scale {}", options.scale));
    say(&format!("1..{}", tests.len()));
    // Processes that a test leaves behind become ours, to be ended and reaped.
    let _ = nix::sys::prctl::set_child_subreaper(true);
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (number, test) in (1..).zip(tests) {
        let begin = Instant::now();
        let verdict = run_one(test, options, seed, &home);
        let time = format!("{:.1} s", begin.elapsed().as_secs_f32());
        let name = test.name;
        match &verdict {
            Verdict::Passed => {
                passed += 1;
                say(&format!("ok {number} {name} # {time}"));
            }
            Verdict::Skipped(reason) => {
                skipped += 1;
                say(&format!("ok {number} {name} # SKIP {reason}"));
            }
            Verdict::Failed | Verdict::Hung(_) => {
                failed += 1;
                let what = match verdict {
                    Verdict::Hung(limit) => format!("TIMEOUT {limit:?}"),
                    _ => format!("after {time}"),
                };
                say(&format!("# repeat: userdma selftest --seed {seed} {name}"));
                say(&format!("not ok {number} {name} # {what}"));
                if options.fail_fast {
                    break;
                }
            }
        }
    }
    say(&format!(
        "# Totals: pass:{passed} fail:{failed} xfail:0 xpass:0 skip:{skipped} error:0"
    ));
    ExitCode::from(u8::from(failed > 0))
}

/// How things were, and are to be after each test.
struct Home {
    cards: Vec<Card>,
    module: Option<PathBuf>,
    parameters: Vec<(String, String)>,
}

impl Home {
    /// Looks around; or says why nothing can be tested.
    fn find(options: &Options) -> Outcome<Self> {
        if !nix::unistd::geteuid().is_root() {
            fail!("the tests unbind cards and load modules: run them as root, in a guest");
        }
        let cards = guest::cards()?;
        let Some(first) = cards.first() else {
            fail!(
                "no card is bound: is userdma.ko loaded (lsmod), and is there a card that it \
                 knows (lspci -nn; 1234:11e8 is QEMU's edu)?"
            );
        };
        Ok(Self {
            parameters: guest::module_parameters(first)?,
            module: guest::module_file(options.module.as_deref()),
            cards,
        })
    }
}

fn run_one(test: &Test, options: &Options, seed: u64, home: &Home) -> Verdict {
    restore(home);
    let (context, slow) = match prepare(test, options, seed) {
        Ok(context) => context,
        Err(Stop::Skip(reason)) => return Verdict::Skipped(reason),
        Err(Stop::Fail(message)) => {
            say(&format!("# {message}"));
            return Verdict::Failed;
        }
    };
    let before = Snapshot::take(&context.cards);
    let mut log = KernelLog::follow();
    let limit = Duration::from_secs(test.seconds) * context.scale * options.slow.max(1);
    let mut verdict = match in_child(test, context, limit) {
        Ok(verdict) => verdict,
        Err(Stop::Fail(message) | Stop::Skip(message)) => {
            say(&format!("# {message}"));
            Verdict::Failed
        }
    };
    // Here and not in the test, which may have been killed.
    drop(slow);
    restore(home);
    // Even a test that skipped itself must have cleaned up.
    let same = before.and_then(|before| before.check_same());
    if let Err(Stop::Fail(message) | Stop::Skip(message)) = same {
        say(&format!("# {message}"));
        verdict = worse(verdict);
    }
    for line in log.trouble() {
        say(&format!("# kernel log: {line}"));
        verdict = worse(verdict);
    }
    verdict
}

fn worse(verdict: Verdict) -> Verdict {
    match verdict {
        hung @ Verdict::Hung(_) => hung,
        _ => Verdict::Failed,
    }
}

/// Looks at what the test needs and makes what it is given.
fn prepare(test: &Test, options: &Options, seed: u64) -> Outcome<(Context, Option<Slow>)> {
    let cards = guest::cards()?;
    let Some(first) = cards.first() else {
        fail!("no card is bound");
    };
    let module = guest::module_file(options.module.as_deref());
    for need in test.needs {
        let missing = match *need {
            Need::Cards(count) => cards.len() < count,
            Need::Debugfs => !guest::has_debugfs(),
            Need::ModuleFile => module.is_none(),
            Need::Bounce => !has(first, userdma::sys::USERDMA_CAP_BOUNCE)?,
            Need::Reach => has(first, userdma::sys::USERDMA_CAP_BOUNCE)?,
            Need::Direct => !(1..=512).contains(&Device::open(&first.path)?.info()?.out_direct_min),
            // Met below.
            Need::Slow => false,
            Need::Huge => !has(first, userdma::sys::USERDMA_CAP_HUGE)?,
            Need::HostToHost => !has(first, userdma::sys::USERDMA_CAP_HOST_TO_HOST)?,
            Need::MemoryBelowMiB(limit) => guest::meminfo("MemTotal")? > limit << 10,
        };
        if missing {
            skip!("needs {}", need.describe());
        }
    }
    let slow = test.needs.contains(&Need::Slow);
    let slow = slow.then(|| Slow::down(&cards)).transpose()?;
    // Each test alone gets the same numbers as in a full run.
    let name = test.name.bytes().fold(seed, |sum, byte| {
        sum.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte)
    });
    let context = Context {
        cards,
        rng: SmallRng::seed_from_u64(name),
        scale: options.scale.max(1),
        module,
    };
    Ok((context, slow))
}

fn has(card: &Card, capability: u32) -> Outcome<bool> {
    Ok(Device::open(&card.path)?.can(capability)?)
}

/// Loads the module and binds the cards again, if a test left them otherwise.
fn restore(home: &Home) {
    if let (false, Some(module)) = (guest::is_loaded(), &home.module) {
        if let Err(Stop::Fail(message)) = guest::load(module, &home.parameters) {
            say(&format!("# cannot load the module again: {message}"));
        }
    }
    for card in &home.cards {
        if matches!(card.again(), Ok(None)) && card.sysfs().is_dir() && guest::is_loaded() {
            let _ = card.bind();
        }
    }
}

/// Runs the body in a child, prints its output, ends it when its time is up.
fn in_child(test: &Test, mut context: Context, limit: Duration) -> Outcome<Verdict> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    // Only our end: the test waits for room.
    rustix::fs::fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    let body = test.run;
    let mut child = spawn(|| {
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        rustix::stdio::dup2_stdout(&writer)?;
        rustix::stdio::dup2_stderr(&writer)?;
        let files = open_files()?;
        body(&mut context)?;
        check_eq!(open_files()?, files, "files that the test left open");
        Ok(())
    })?;
    drop(writer);
    let mut output = Output::new(reader.into());
    let end = Instant::now() + limit;
    let ended = loop {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now()))?;
        let ended = {
            let mut fds = [
                PollFd::new(&output.pipe, PollFlags::IN),
                PollFd::new(child.handle(), PollFlags::IN),
            ];
            let _ = rustix::event::poll(&mut fds, Some(&left));
            !fds[1].revents().is_empty()
        };
        output.copy();
        if ended || Instant::now() >= end {
            break ended;
        }
    };
    if !ended {
        output.flush();
        explain_hang(child.pid());
        end_group(child.pid());
        drop(child);
        return Ok(Verdict::Hung(limit));
    }
    let exit = child.wait()?;
    end_group(child.pid());
    output.copy();
    output.flush();
    Ok(match exit {
        Exit::Code(0) => Verdict::Passed,
        Exit::Code(SKIPPED) => Verdict::Skipped(output.skip_reason),
        Exit::Code(_) => Verdict::Failed,
        Exit::Signal(signal) => {
            let name = Signal::try_from(signal).map_or("?", Signal::as_str);
            say(&format!("# ended by {name}"));
            Verdict::Failed
        }
    })
}

/// Ends and reaps what is left of a test's process group.
fn end_group(pid: Pid) {
    let _ = killpg(pid, Signal::SIGKILL);
    let group = Pid::from_raw(-pid.as_raw());
    // What does not die is a failure that the next snapshot sees.
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        match waitpid(group, Some(WaitPidFlag::WNOHANG)) {
            Err(_) => break,
            Ok(nix::sys::wait::WaitStatus::StillAlive) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(_) => {}
        }
    }
}

/// Says where every thread of the test's processes is.
fn explain_hang(group: Pid) {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return;
    };
    for process in processes.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        if nix::unistd::getpgid(Some(Pid::from_raw(pid))) != Ok(group) {
            continue;
        }
        for thread in std::fs::read_dir(process.path().join("task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let mut text = String::new();
            for file in ["syscall", "stack"] {
                let content = std::fs::read_to_string(thread.path().join(file));
                let _ = write!(text, "{file}: {}", content.unwrap_or_default());
            }
            for line in text.lines() {
                say(&format!(
                    "# hung: {}: {line}",
                    thread.file_name().to_string_lossy()
                ));
            }
        }
    }
}

/// A test's output on its way to ours.
struct Output {
    pipe: File,
    pending: Vec<u8>,
    skip_reason: String,
}

impl Output {
    fn new(pipe: File) -> Self {
        Self {
            pipe,
            pending: Vec::new(),
            skip_reason: String::new(),
        }
    }

    /// Takes what has come and prints its whole lines.
    fn copy(&mut self) {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = self.pipe.read(&mut chunk) {
            self.pending.extend_from_slice(&chunk[..length]);
        }
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            self.line(String::from_utf8_lossy(&line).trim_end());
        }
    }

    /// Prints a last line without an end.
    fn flush(&mut self) {
        if !self.pending.is_empty() {
            let rest = std::mem::take(&mut self.pending);
            self.line(&String::from_utf8_lossy(&rest));
        }
    }

    fn line(&mut self, line: &str) {
        match line.strip_prefix(SKIP_MARK) {
            Some(reason) => self.skip_reason = reason.to_owned(),
            None => say(&format!("# {line}")),
        }
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `userdma register`.

use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context as _;
use nix::sys::resource::setrlimit;
use nix::sys::resource::Resource;
use rand::rngs::SmallRng;
use rand::SeedableRng as _;
use rustix::thread::capabilities;
use rustix::thread::set_capabilities;
use rustix::thread::CapabilitySet;
use serde::Serialize;
use userdma::Access;
use userdma::BufferInfo;
use userdma::Bytes;
use userdma::Device;
use userdma::Pages;
use userdma::Registered;

use crate::cli;
use crate::memory;
use crate::memory::Memory;
use crate::select;
use crate::trip;
use crate::trip::Arrival;

/// What is printed with `--json`.
#[derive(Serialize)]
struct Output {
    #[serde(flatten)]
    buffer: BufferInfo,
    memory: Pages,
    memfd: bool,
    requested: u64,
    pinned: u64,
    locked: Locked,
    allocate_ns: u128,
    register_ns: Times,
    unregister_ns: Times,
    transfers: usize,
    equal: bool,
}

/// VmLck, in bytes.
#[derive(Clone, Copy, Serialize)]
struct Locked {
    before: u64,
    registered: u64,
    after: u64,
}

#[derive(Clone, Copy, Serialize)]
struct Times {
    first: u128,
    min: u128,
    median: u128,
    max: u128,
}

pub(crate) fn run(device: Option<&str>, options: &cli::Register) -> anyhow::Result<()> {
    let device = select::open(device, Access::ReadWrite)?;
    let before = locked()?;
    let begin = Instant::now();
    let mut memory = memory::own(options.kind, options.size)
        .reserve(!options.no_reserve)
        .allocate()?;
    let allocated = begin.elapsed();
    if let Some(bytes) = options.limit {
        limit(bytes)?;
    }
    let (pages, memfd) = (memory.pages(), memory.as_memfd().is_some());

    let (mut register, mut unregister) = (Vec::new(), Vec::new());
    for _ in 1..options.times {
        let registered = timed(&mut register, || pin(&device, memory, options))?;
        memory = timed(&mut unregister, || registered.unregister())?;
    }
    let registered = timed(&mut register, || pin(&device, memory, options))?;
    let with = locked()?;
    let (info, pinned) = (registered.info()?, registered.pinned());

    let mut memories = [Memory::Registered(registered)];
    let mut random = SmallRng::from_os_rng();
    let arrivals = match (options.source, &mut memories) {
        (true, [only]) => trip::send(&device, only, &mut random)?,
        (false, all) => trip::round(&device, all, &mut random)?,
    };
    let [Memory::Registered(registered)] = memories else {
        bail!("what was registered is something else");
    };
    let memory = timed(&mut unregister, || registered.unregister())?;
    let after = locked()?;
    drop(memory);

    let output = Output {
        buffer: info,
        memory: pages,
        memfd,
        requested: options.size,
        pinned,
        locked: Locked {
            before,
            registered: with,
            after,
        },
        allocate_ns: allocated.as_nanos(),
        register_ns: times(register)?,
        unregister_ns: times(unregister)?,
        transfers: arrivals.len() * if options.source { 1 } else { 2 },
        equal: arrivals.iter().all(|arrival| arrival.wrong.is_empty()),
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&output)?);
    } else {
        table(&output, options, &arrivals);
    }
    verdict(&output, &arrivals)
}

/// Limits what this process may lock.
fn limit(bytes: u64) -> anyhow::Result<()> {
    setrlimit(Resource::RLIMIT_MEMLOCK, bytes, bytes)
        .with_context(|| format!("cannot set RLIMIT_MEMLOCK to {}", Bytes(bytes)))?;
    let mut sets = capabilities(None).context("cannot ask for the capabilities")?;
    sets.effective.remove(CapabilitySet::IPC_LOCK);
    sets.permitted.remove(CapabilitySet::IPC_LOCK);
    set_capabilities(None, sets).context("cannot drop CAP_IPC_LOCK")
}

fn pin(
    device: &Device,
    memory: userdma::Memory,
    options: &cli::Register,
) -> userdma::Result<Registered<userdma::Memory>> {
    let builder = device.register(memory).no_bounce(options.no_bounce);
    match options.source {
        true => builder.source().pin(),
        false => builder.pin(),
    }
}

fn timed<T>(times: &mut Vec<Duration>, work: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let result = work();
    times.push(begin.elapsed());
    result
}

fn locked() -> anyhow::Result<u64> {
    memory::locked().context("/proc/self/status does not say what is locked")
}

fn times(mut times: Vec<Duration>) -> anyhow::Result<Times> {
    let first = times.first().map_or(0, Duration::as_nanos);
    times.sort_unstable();
    let (median, last) = (times.len() / 2, times.len().saturating_sub(1));
    let [Some(min), Some(median), Some(max)] = [0, median, last].map(|index| times.get(index))
    else {
        bail!("nothing was measured");
    };
    Ok(Times {
        first,
        min: min.as_nanos(),
        median: median.as_nanos(),
        max: max.as_nanos(),
    })
}

fn table(output: &Output, options: &cli::Register, arrivals: &[Arrival]) {
    let info = &output.buffer;
    let segments = match info.segments {
        0 => "none: the card cannot reach it, the driver copies each transfer".to_owned(),
        number => number.to_string(),
    };
    let what = if output.memfd { "memfd" } else { "anonymous" };
    let locked = &output.locked;
    let block = arrivals.first().map_or(0, |arrival| arrival.bytes);
    let way = if info.source {
        "to the card only"
    } else {
        "to and from the card"
    };
    let rows = [
        ("memory", format!("{what}, {}", output.memory)),
        (
            "length",
            format!("{} ({})", Bytes(info.length), info.length),
        ),
        ("transfers", way.to_owned()),
        ("page size", Bytes(info.page_size).to_string()),
        ("segments", segments),
        ("pinned", Bytes(output.pinned).to_string()),
        (
            "VmLck",
            format!(
                "{} before, {} meanwhile, {} after",
                Bytes(locked.before),
                Bytes(locked.registered),
                Bytes(locked.after)
            ),
        ),
        ("allocated in", milliseconds(output.allocate_ns)),
        (
            "registered",
            format!(
                "{}; the first time brings the memory in",
                spread(output.register_ns, options.times)
            ),
        ),
        ("unregistered", spread(output.unregister_ns, options.times)),
        (
            "round trip",
            format!(
                "{} transfers of {}, {}",
                output.transfers,
                Bytes(block),
                if output.equal { "equal" } else { "DIFFERENT" }
            ),
        ),
    ];
    for (name, value) in rows {
        println!("{name:<14}{value}");
    }
}

fn milliseconds(nanoseconds: u128) -> String {
    // In hundredths, in integers: a float would not hold every u128.
    let hundredths = nanoseconds / 10_000;
    format!("{}.{:02} ms", hundredths / 100, hundredths % 100)
}

fn spread(times: Times, count: u32) -> String {
    match count {
        1 => format!("in {}", milliseconds(times.first)),
        _ => format!(
            "in {} at first, best of {count} {}, median {}",
            milliseconds(times.first),
            milliseconds(times.min),
            milliseconds(times.median)
        ),
    }
}

/// Says what is not as it should be.
fn verdict(output: &Output, arrivals: &[Arrival]) -> anyhow::Result<()> {
    if arrivals.is_empty() {
        bail!("the memory is too small to send anything through the card");
    }
    if let Some(arrival) = arrivals.iter().find(|arrival| !arrival.wrong.is_empty()) {
        bail!("{}: {}", arrival.text, arrival.wrong.join("; "));
    }
    let locked = &output.locked;
    if locked.before != locked.after || locked.registered != locked.before + output.pinned {
        bail!(
            "{} pinned, but VmLck was {}, then {}, and is {} now",
            Bytes(output.pinned),
            Bytes(locked.before),
            Bytes(locked.registered),
            Bytes(locked.after)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told() {
        let ms = Duration::from_millis;
        let told = times(vec![ms(30), ms(10), ms(20)]).expect("three");
        assert_eq!(
            spread(told, 3),
            "in 30.00 ms at first, best of 3 10.00 ms, median 20.00 ms"
        );
        let once = times(vec![Duration::from_micros(1234)]).expect("one");
        assert_eq!(spread(once, 1), "in 1.23 ms");
        assert!(times(Vec::new()).is_err());
    }
}

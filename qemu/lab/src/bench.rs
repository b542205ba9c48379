// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `make bench`: counts instructions in two guests, measures throughput in a third,
//! prints tables of it, and judges the figures: by what is promised, and by the
//! baseline.

mod baseline;
mod crossing;
mod figures;
mod limits;
mod plot;
mod table;

use std::fs;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::anyhow;
use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use serde::Serialize;
use userdma_init::job::Job;
use userdma_init::job::Judge;
use userdma_init::job::Work;

use crate::bench::baseline::Baseline;
use crate::bench::baseline::Comparison;
use crate::bench::crossing::Crossing;
use crate::bench::figures::Figures;
use crate::bench::figures::Row;
use crate::bench::limits::Limit;
use crate::cache::Places;
use crate::config::Config;
use crate::guest;
use crate::guest::Report;
use crate::guest::Run;
use crate::prepare;
use crate::prepare::Prepared;
use crate::step::Steps;
use crate::tally::Outcome;
use crate::tally::Tally;
use crate::tally::Test;

/// The guests, and what the tables call them.
pub(crate) const GUESTS: [(&str, &str); 2] = [
    (figures::PLAIN, "no IOMMU"),
    (figures::IOMMU, "Intel IOMMU, strict"),
];

/// That of throughput.
pub(crate) const BULK: (&str, &str) = (figures::BULK, "by the clock");

/// The program that counts, and what its lines of figures begin with.
const PROGRAM: &str = "userdma-bench";
const MARK: &str = "bench: ";

/// How long counting may take, and how long it usually takes with the boot.
const SECONDS: u64 = 900;
const USUAL: Duration = Duration::from_secs(60);

/// What FILTER calls throughput, in a guest of its own.
const BULK_GROUP: &str = "bulk";

/// What is counted.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Selection {
    /// Only these groups of tables, such as 'transfer,uring', in one guest.
    #[arg(long, env = "FILTER", default_value = "")]
    filter: String,
    /// The guest of FILTER.
    #[arg(long, env = "GUEST", default_value = figures::PLAIN)]
    guest: String,
    /// "update": count twice, and make that the baseline.
    #[arg(long, env = "BASELINE", default_value = "")]
    baseline: String,
}

impl Selection {
    /// Whether everything is counted.
    fn all(&self) -> bool {
        self.filter.is_empty()
    }

    fn guests(&self) -> Vec<&str> {
        if self.all() {
            return GUESTS.map(|(name, _)| name).to_vec();
        }
        match self.filter == BULK_GROUP {
            true => Vec::new(),
            false => vec![&self.guest],
        }
    }

    /// Whether throughput is measured.
    fn bulk(&self) -> bool {
        self.all() || self.filter == BULK_GROUP
    }

    /// Whether the baseline is to be made.
    fn updates(&self) -> Result<bool> {
        match self.baseline.as_str() {
            "" => Ok(false),
            "update" if self.all() => Ok(true),
            "update" => bail!("the baseline is of everything: BASELINE=update without FILTER"),
            other => bail!("BASELINE={other}: there is BASELINE=update only"),
        }
    }
}

/// What the file of figures holds.
#[derive(Serialize)]
struct File<'a> {
    kernel: &'a str,
    unit: &'a str,
    guests: &'a Figures,
    crossings: &'a [Crossing],
    limits: &'a [Limit],
    baseline: &'a Comparison,
}

/// Counts, prints, judges. Returns whether everything holds.
pub(crate) fn run(
    places: &Places,
    config: &Config,
    steps: &Steps,
    selection: &Selection,
) -> Result<bool> {
    let updates = selection.updates()?;
    let models = config.need_models(selection.guests().into_iter().chain([figures::BULK]))?;
    let prepared = prepare::all(places, steps, config, models)?;
    let tally = Tally::default();
    let begin = |run| Setting {
        places,
        config,
        prepared: &prepared,
        run,
        selection,
    };
    let kernel = &prepared.stock.kernel.release;
    let run = Run::begin(places)?;
    let mut figures = count(&begin(&run), steps, &tally)?;
    if updates {
        let other = Run::begin(places)?;
        let setting = Setting {
            run: &other,
            ..begin(&run)
        };
        let again = count(&setting, steps, &tally)?;
        if !(figures.has("request") && again.has("request")) {
            bail!("not everything was counted: the baseline stays as it is");
        }
        Baseline::of(kernel, [&figures, &again]).write(&places.tree)?;
        println!("written: {}", baseline::FILE);
    }
    if selection.bulk() {
        measure(&begin(&run), steps, &tally, &mut figures)?;
    }

    let crossings = match figures.has("request") && figures.has("copy") {
        true => crossing::all(&figures)?,
        false => Vec::new(),
    };
    let limits = limits::all(&figures, selection.all())?;
    let baseline = Baseline::read(&places.tree)?;
    let comparison = baseline.compare(kernel, &figures, selection.all());
    let mut text = format!("Guest instructions, medians; stock kernel {kernel}\n");
    text.push_str(&table::all(&figures));
    text.push_str(&crossing::text(&crossings));
    text.push_str(&limits::text(&limits));
    text.push_str(&comparison.text());
    println!("\n{text}");
    for limit in &limits {
        tally.add(limit.test());
    }
    tally.add(comparison.test());

    let file = File {
        kernel,
        unit: "guest instructions",
        guests: &figures,
        crossings: &crossings,
        limits: &limits,
        baseline: &comparison,
    };
    let directory = run.directory("figures")?;
    for (name, content) in [
        ("bench.txt", text.clone()),
        ("bench.json", serde_json::to_string_pretty(&file)?),
        ("bench.svg", plot::svg(&figures)?),
    ] {
        let path = directory.join(name);
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        println!("written: {}", places.outside(&path));
    }
    Ok(tally.finish())
}

/// What a boot needs.
struct Setting<'a> {
    places: &'a Places,
    config: &'a Config,
    prepared: &'a Prepared,
    run: &'a Run,
    selection: &'a Selection,
}

/// Boots the guests side by side and collects their rows.
fn count(setting: &Setting<'_>, steps: &Steps, tally: &Tally) -> Result<Figures> {
    let guests = setting.selection.guests();
    let step = steps.begin("counting instructions", USUAL);
    let counted = std::thread::scope(|scope| {
        let lanes: Vec<_> = guests
            .iter()
            .map(|name| scope.spawn(move || boot(setting, name)))
            .collect();
        while lanes.iter().any(|lane| !lane.is_finished()) {
            step.tick();
            std::thread::sleep(Duration::from_millis(100));
        }
        lanes
            .into_iter()
            .map(|lane| {
                lane.join()
                    .unwrap_or_else(|_| Err(anyhow!("a lane panicked")))
            })
            .collect::<Result<Vec<_>>>()
    })?;
    step.done();
    let mut figures = Figures::default();
    for (name, (report, rows)) in guests.iter().zip(counted) {
        for test in report.tests {
            tally.add(shown(name, test));
        }
        println!("         logs: {}", report.logs);
        figures.add(name, rows);
    }
    Ok(figures)
}

/// Measures throughput, with nothing beside it.
fn measure(
    setting: &Setting<'_>,
    steps: &Steps,
    tally: &Tally,
    figures: &mut Figures,
) -> Result<()> {
    let step = steps.begin("measuring throughput", USUAL);
    let (report, rows) = boot(setting, figures::BULK)?;
    step.done();
    for test in report.tests {
        tally.add(shown(figures::BULK, test));
    }
    println!("         logs: {}", report.logs);
    figures.add(figures::BULK, rows);
    Ok(())
}

fn boot(setting: &Setting<'_>, name: &str) -> Result<(Report, Vec<Row>)> {
    let Setting {
        places, prepared, ..
    } = setting;
    let machine = setting.config.guest(name)?;
    let mut argv = [PROGRAM, "--parameters", &machine.parameters]
        .map(str::to_owned)
        .to_vec();
    if name == figures::BULK {
        argv.push("--bulk".to_owned());
    } else if !setting.selection.all() {
        argv.extend(["--only".to_owned(), setting.selection.filter.clone()]);
    }
    let job = Job {
        work: vec![Work {
            name: "count".to_owned(),
            argv,
            judge: Judge::Output {
                exit: 0,
                says: Vec::new(),
            },
            seconds: SECONDS,
        }],
        gates: true,
        ..Job::default()
    };
    let pair = &prepared.pair;
    let job = guest::job(prepared, pair, machine, job)?;
    let directory = setting.run.directory(name)?;
    let (sender, lines) = mpsc::channel();
    let live = |line: &str| {
        if let Some(row) = line.strip_prefix(MARK) {
            let _ = sender.send(row.to_owned());
        }
    };
    let report = guest::run(places, prepared, pair, machine, &directory, &job, &live)?;
    let rows = lines
        .try_iter()
        .map(|line| serde_json::from_str(&line).with_context(|| format!("row {line}")))
        .collect::<Result<_>>()?;
    Ok((report, rows))
}

/// A test of a guest, without the figures that were printed before it.
fn shown(guest: &str, test: Test) -> Test {
    let outcome = match test.outcome {
        Outcome::Failed(mut lines) => {
            lines.retain(|line| !line.starts_with(MARK));
            Outcome::Failed(lines)
        }
        other => other,
    };
    Test {
        name: format!("{guest} {}", test.name),
        outcome,
    }
}

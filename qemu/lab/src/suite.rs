// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Runs suites in guests, several side by side, and adds their tests up.

use std::collections::VecDeque;
use std::sync::Mutex;

use anyhow::bail;
use anyhow::Result;
use userdma_init::job::Job;
use userdma_init::job::Judge;
use userdma_init::job::Work;

use crate::cache::Places;
use crate::config::Config;
use crate::config::Suite;
use crate::guest;
use crate::guest::slower;
use crate::guest::Report;
use crate::guest::Run;
use crate::kernel::Flavour;
use crate::prepare::Later;
use crate::prepare::Prepared;
use crate::soak::Row;
use crate::step;
use crate::tally::Tally;
use crate::tally::Test;

/// Guests at a time. Each has two virtual processors; more would only slow
/// each other down into their timeouts.
const SIDE_BY_SIDE: usize = 2;

/// What of the suites to run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// This suite alone.
    pub(crate) suite: Option<String>,
    /// Only tests that match this pattern.
    pub(crate) filter: Option<String>,
    /// Where the random numbers begin.
    pub(crate) seed: u64,
    /// With this kernel alone.
    pub(crate) kernel: Option<Flavour>,
    /// The suites of `make soak`, and no others.
    pub(crate) soak: bool,
}

/// One boot to come.
#[derive(Clone, Debug)]
pub(crate) struct Turn<'a> {
    suite_name: &'a str,
    suite: &'a Suite,
    pub(crate) guest_name: &'a str,
    pub(crate) flavour: Flavour,
}

impl Turn<'_> {
    /// What the person knows it by.
    fn name(&self) -> String {
        let suffix = self.flavour.suffix();
        format!("{}@{}{suffix}", self.suite_name, self.guest_name)
    }
}

/// What all turns share.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) places: &'a Places,
    pub(crate) config: &'a Config,
    pub(crate) prepared: &'a Prepared,
    /// The debug kernel, which may still be under way.
    pub(crate) debug: &'a Later,
    pub(crate) choice: &'a Choice,
    pub(crate) tally: &'a Tally,
}

/// Runs all turns, and says what each did.
pub(crate) fn run(setting: &Setting<'_>, mut turns: Vec<Turn<'_>>) -> Result<Vec<Row>> {
    // The debug kernel last: it may not be ready yet. The long ones first: no
    // core idles at the end.
    turns.sort_by_key(|turn| {
        (
            turn.flavour == Flavour::Debug,
            std::cmp::Reverse(turn.suite.timeout),
        )
    });
    let run = Run::begin(setting.places)?;
    let queue = Mutex::new(VecDeque::from(turns));
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| loop {
                let next = queue.lock().ok().and_then(|mut queue| queue.pop_front());
                let Some(turn) = next else { return };
                let row = one(setting, &run, &turn);
                if let Ok(mut rows) = rows.lock() {
                    rows.push(row);
                }
            });
        }
    });
    Ok(rows.into_inner().unwrap_or_default())
}

/// The boots that were chosen.
pub(crate) fn turns<'a>(config: &'a Config, choice: &Choice) -> Result<Vec<Turn<'a>>> {
    if let Some(name) = &choice.suite {
        config.suite(name)?;
    }
    let turns: Vec<Turn<'a>> = config
        .suites
        .iter()
        .filter(|(name, suite)| match &choice.suite {
            Some(chosen) => *name == chosen,
            None => suite.soak == choice.soak,
        })
        .filter(|(_, suite)| match &choice.filter {
            Some(filter) => suite.tests.iter().any(|pattern| may_share(pattern, filter)),
            None => true,
        })
        .flat_map(|(suite_name, suite)| {
            suite.places().map(move |(flavour, guest_name)| Turn {
                suite_name,
                suite,
                guest_name,
                flavour,
            })
        })
        .filter(|turn| choice.kernel.is_none_or(|wanted| turn.flavour == wanted))
        .collect();
    if turns.is_empty() {
        bail!("no suite of qemu/suites.toml has tests that match, with the kernel that was chosen");
    }
    Ok(turns)
}

/// Whether two patterns can name the same test, by their group (the part
/// before the dot).
fn may_share(one: &str, two: &str) -> bool {
    let group = |pattern: &str| pattern.split('.').next().unwrap_or(pattern).to_owned();
    let (one, two) = (group(one), group(two));
    one.contains('*') || two.contains('*') || one == two
}

fn one(setting: &Setting<'_>, run: &Run, turn: &Turn<'_>) -> Row {
    let (tally, choice) = (setting.tally, setting.choice);
    let name = turn.name();
    let report = match boot(setting, run, turn) {
        Ok(report) => report,
        Err(error) => {
            let lines = format!("{error:#}").lines().map(str::to_owned).collect();
            tally.add(Test::of(&format!("{name} runs"), lines));
            return Row::nothing(&name);
        }
    };
    let mut row = Row::of(&name, &report);
    for test in report.tests {
        tally.add(Test {
            name: format!("{name} {}", test.name),
            ..test
        });
    }
    if row.passed < turn.suite.at_least && choice.filter.is_none() {
        let words = format!(
            "{} tests passed, at least {} must",
            row.passed, turn.suite.at_least
        );
        tally.add(Test::of(&format!("{name} at-least"), vec![words]));
        row.failed += 1;
    }
    println!(
        "         {name} ({}) took {}; logs: {}",
        turn.suite.what,
        step::seconds(report.took),
        report.logs
    );
    if row.failed > 0 {
        println!(
            "         again: make {} SUITE={}{} SEED={}",
            if turn.suite.soak { "soak" } else { "test" },
            turn.suite_name,
            if turn.flavour == Flavour::Debug {
                " KERNEL=debug"
            } else {
                ""
            },
            choice.seed
        );
    }
    row
}

fn boot(setting: &Setting<'_>, run: &Run, turn: &Turn<'_>) -> Result<Report> {
    let machine = setting.config.guest(turn.guest_name)?;
    let pair = match turn.flavour {
        Flavour::Stock => setting.prepared.pair.clone(),
        Flavour::Debug => setting.debug.wait()?,
    };
    let job = job(turn.suite, setting.choice, slower(turn.flavour));
    let job = guest::job(setting.prepared, &pair, machine, job)?;
    let directory = run.directory(&turn.name())?;
    let (places, prepared) = (setting.places, setting.prepared);
    guest::run(places, prepared, &pair, machine, &directory, &job, &|_| {})
}

/// The job of a suite, without what depends on the guest.
fn job(suite: &Suite, choice: &Choice, slower: u32) -> Job {
    let seconds = suite.timeout.as_secs() * u64::from(slower);
    let mut work = Vec::new();
    if choice.filter.is_none() {
        for program in &suite.programs {
            work.push(Work {
                name: program.name.clone(),
                argv: program.run.split_whitespace().map(str::to_owned).collect(),
                judge: Judge::Output {
                    exit: program.exit,
                    says: program.says.clone(),
                },
                seconds,
            });
        }
    }
    if !suite.tests.is_empty() {
        let mut argv = vec!["userdma".to_owned(), "selftest".to_owned()];
        match &choice.filter {
            Some(filter) => argv.push(filter.clone()),
            None => argv.extend(suite.tests.iter().cloned()),
        }
        for pattern in &suite.skip {
            argv.extend(["--skip".to_owned(), pattern.clone()]);
        }
        argv.extend(["--seed".to_owned(), choice.seed.to_string()]);
        if slower != 1 {
            argv.extend(["--slow".to_owned(), slower.to_string()]);
        }
        if suite.scale != 1 {
            argv.extend(["--scale".to_owned(), suite.scale.to_string()]);
        }
        work.push(Work {
            name: "selftest".to_owned(),
            argv,
            judge: Judge::Ktap,
            seconds,
        });
    }
    Job {
        work,
        gates: true,
        ..Job::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_share_by_group() {
        assert!(may_share("abi.*", "abi.info"));
        assert!(may_share("*", "abi.info"));
        assert!(may_share("abi.*", "*"));
        assert!(!may_share("abi.*", "rw.*"));
    }
}

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
use crate::guest::Run;
use crate::prepare::Prepared;
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
    /// The suites of `make soak`, and no others.
    pub(crate) soak: bool,
}

/// One boot to come.
struct Turn<'a> {
    suite_name: &'a str,
    suite: &'a Suite,
    guest_name: &'a str,
}

/// Runs every chosen suite in every one of its guests.
pub(crate) fn run(
    places: &Places,
    config: &Config,
    prepared: &Prepared,
    choice: &Choice,
    tally: &Tally,
) -> Result<()> {
    let mut turns = turns(config, choice)?;
    // The long ones first: no core idles at the end.
    turns.sort_by_key(|turn| std::cmp::Reverse(turn.suite.timeout));
    let run = Run::begin(places)?;
    let queue = Mutex::new(VecDeque::from(turns));
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| loop {
                let next = queue.lock().ok().and_then(|mut queue| queue.pop_front());
                let Some(turn) = next else { return };
                one(places, config, prepared, choice, &run, tally, &turn);
            });
        }
    });
    Ok(())
}

fn turns<'a>(config: &'a Config, choice: &Choice) -> Result<Vec<Turn<'a>>> {
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
            suite.guests.iter().map(move |guest_name| Turn {
                suite_name,
                suite,
                guest_name,
            })
        })
        .collect();
    if turns.is_empty() {
        bail!("no suite of qemu/suites.toml has tests that match");
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

fn one(
    places: &Places,
    config: &Config,
    prepared: &Prepared,
    choice: &Choice,
    run: &Run,
    tally: &Tally,
    turn: &Turn<'_>,
) {
    let name = format!("{}@{}", turn.suite_name, turn.guest_name);
    let outcome = config.guest(turn.guest_name).and_then(|machine| {
        let job = guest::job(prepared, machine, job(turn.suite, choice)?)?;
        let directory = run.directory(&name)?;
        guest::run(places, prepared, machine, &directory, &job, &|_| {})
    });
    let report = match outcome {
        Ok(report) => report,
        Err(error) => {
            let lines = format!("{error:#}").lines().map(str::to_owned).collect();
            tally.add(Test::of(&format!("{name} runs"), lines));
            return;
        }
    };
    let (passed, failed) = (report.passed(), report.failed());
    for test in report.tests {
        tally.add(Test {
            name: format!("{name} {}", test.name),
            ..test
        });
    }
    if passed < turn.suite.at_least && choice.filter.is_none() {
        let words = format!(
            "{passed} tests passed, at least {} must",
            turn.suite.at_least
        );
        tally.add(Test::of(&format!("{name} at-least"), vec![words]));
    }
    println!(
        "         {name} ({}) took {}; logs: {}",
        turn.suite.what,
        step::seconds(report.took),
        report.logs
    );
    if failed {
        println!(
            "         again: make test SUITE={} SEED={}",
            turn.suite_name, choice.seed
        );
    }
}

/// The job of a suite, without what depends on the guest.
fn job(suite: &Suite, choice: &Choice) -> Result<Job> {
    let seconds = suite.timeout.as_secs();
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
    Ok(Job {
        work,
        gates: true,
        ..Job::default()
    })
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

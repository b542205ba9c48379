// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `make mutants`: breaks the module in the ways that `qemu/mutants.toml` lists,
//! one at a time in a copy of the tree, and shows that a named test fails then
//! and passes otherwise.

mod list;
mod report;
mod work;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use crate::cache::write_atomically;
use crate::cache::Places;
use crate::config::Config;
use crate::guest::Run;
use crate::kernel::Flavour;
use crate::mutants::list::Mutant;
use crate::mutants::report::Row;
use crate::mutants::work::Boot;
use crate::mutants::work::Workshop;
use crate::prepare;
use crate::step;
use crate::step::Steps;

/// The directory of a tree's place in the cache that all of it is in.
const PLACE: &str = "mutants";

/// Where a mutant runs.
type Machine = (Flavour, String);

/// Runs the mutants whose names match `filter` and that need the kernel `flavour`.
/// Returns whether all were caught, by tests that the module as it is passes.
pub(crate) fn run(
    places: &Places,
    config: &Config,
    steps: &Steps,
    filter: Option<&str>,
    flavour: Option<Flavour>,
) -> Result<bool> {
    let mut mutants = list::read(&places.tree)?;
    mutants.retain(|mutant| {
        filter.is_none_or(|filter| list::matches(filter, &mutant.name))
            && flavour.is_none_or(|flavour| flavour == mutant.kernel)
    });
    if mutants.is_empty() {
        bail!("no mutant of qemu/mutants.toml matches");
    }
    let machines = machines(&mutants);
    let models = config.need_models(machines.keys().map(|(_, guest)| &**guest))?;
    let prepared = prepare::all(places, steps, config, models)?;
    let mut sound = BTreeMap::from([(Flavour::Stock, prepared.pair.clone())]);
    if machines
        .keys()
        .any(|(flavour, _)| *flavour == Flavour::Debug)
    {
        let pair = prepared.pair(places, steps, Flavour::Debug)?;
        sound.insert(Flavour::Debug, pair);
    }
    let workshop = Workshop {
        places: places.elsewhere(&places.place.join(PLACE)),
        original: places,
        config,
        steps,
        prepared: &prepared,
        sound: &sound,
        run: Run::begin(places)?,
    };
    let rows = all(&workshop, &mutants, machines)?;
    workshop.clean()?;

    let text = report::table(&rows);
    let path = places.place.join(PLACE).join("report.txt");
    write_atomically(&path, text.as_bytes())?;
    println!("\n{text}\nreport: {}", places.outside(&path));
    println!("logs: {}", workshop.run.outside(places));
    Ok(rows.iter().all(Row::good))
}

/// What is tested in each machine.
fn machines(mutants: &[Mutant]) -> BTreeMap<Machine, BTreeSet<String>> {
    let mut machines: BTreeMap<Machine, BTreeSet<String>> = BTreeMap::new();
    for mutant in mutants {
        let machine = (mutant.kernel, mutant.guest.clone());
        machines
            .entry(machine)
            .or_default()
            .extend(mutant.tests.clone());
    }
    machines
}

/// Boots the module as it is in each machine, then each mutant. One is built
/// while another runs.
fn all(
    workshop: &Workshop<'_>,
    mutants: &[Mutant],
    machines: BTreeMap<Machine, BTreeSet<String>>,
) -> Result<Vec<Row>> {
    let total = machines.len() + mutants.len();
    let begun = Instant::now();
    let mut rows = Vec::new();
    std::thread::scope(|scope| {
        let (sender, boots) = mpsc::sync_channel(1);
        let builder = scope.spawn(move || -> Result<()> {
            for ((flavour, guest), tests) in machines {
                let boot = workshop.sound(flavour, guest, tests)?;
                if sender.send(Ok(boot)).is_err() {
                    return Ok(());
                }
            }
            for mutant in mutants {
                let built = workshop.mutant(mutant);
                if sender.send(built.map_err(|error| (mutant, error))).is_err() {
                    return Ok(());
                }
            }
            Ok(())
        });
        for built in boots {
            let row = match built {
                Ok(boot) => run_one(workshop, &boot),
                Err((mutant, error)) => Row::not_built(mutant, &error),
            };
            row.print();
            rows.push(row);
            let (done, took) = (rows.len(), begun.elapsed());
            let left = took / u32::try_from(done)? * u32::try_from(total - done)?;
            workshop.steps.say(&format!(
                "{done} of {total} done{}",
                match left {
                    Duration::ZERO => String::new(),
                    left => format!(", about {} left", step::seconds(left)),
                }
            ));
        }
        match builder.join() {
            Ok(result) => result,
            Err(_) => bail!("the builder panicked"),
        }
    })?;
    Ok(rows)
}

fn run_one(workshop: &Workshop<'_>, boot: &Boot<'_>) -> Row {
    match workshop.boot(boot).context("booting the guest") {
        Ok(report) => Row::of(boot, &report),
        Err(error) => Row::not_run(boot, &error),
    }
}

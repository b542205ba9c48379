// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `userdma inject`: makes a card go wrong, where it is a model of the laboratory's.

use anyhow::bail;
use anyhow::Context as _;
use clap::ValueEnum as _;
use serde_json::json;
use serde_json::Value;
use userdma::Access;
use userdma_selftest::lab::Lab;
use userdma_selftest::lab::Model;

use crate::cli;
use crate::cli::Injection;
use crate::select;

pub(crate) fn run(device: Option<&str>, options: &cli::Inject) -> anyhow::Result<()> {
    let lab = Lab::find().context("cannot reach the laboratory")?;
    if options.what == Injection::List {
        return list(lab);
    }
    let Some(mut lab) = lab else {
        bail!(
            "this is no guest of the laboratory: only a model of a card can be told to go wrong\n  \
             try: make shell DEVICE=edu-daq, and there userdma inject {}",
            cli::name(&options.what)
        );
    };
    let node = match device {
        Some(_) => select::open(device, Access::ReadOnly)?,
        None => first_model(&mut lab)?,
    };
    let bus_name = &node.info().bus_name;
    let Some(model) = lab.model(bus_name)? else {
        bail!(
            "{} ({} on {bus_name}) is no model of the laboratory's, and cannot be told to go wrong\n  \
             try: userdma inject list, which names those that can",
            node.path().display(),
            node.info().backend
        );
    };
    let answer = lab.control(&model.name, &request(options))?;
    if options.json {
        println!("{answer}");
        return Ok(());
    }
    let answer: Value = serde_json::from_str(&answer).unwrap_or(Value::Null);
    print(
        options,
        &format!("{} ({})", node.path().display(), model.kind),
        &answer,
    );
    Ok(())
}

/// The card that is meant if none is named: the first that can be told.
fn first_model(lab: &mut Lab) -> anyhow::Result<userdma::Device> {
    for node in select::all(None, Access::ReadOnly)? {
        if lab.model(&node.info().bus_name)?.is_some() {
            return Ok(node);
        }
    }
    bail!("no card here is a model of the laboratory's\n  try: make shell DEVICE=edu-daq")
}

/// What the model's control socket takes.
fn request(options: &cli::Inject) -> Value {
    match options.what {
        Injection::Heal => json!({ "heal": {} }),
        Injection::Report => json!({ "report": {} }),
        Injection::Counters => json!({ "counters": {} }),
        fault => {
            let mut inject = json!({
                "fault": cli::name(&fault),
                "channel": options.channel,
                "count": options.count,
            });
            if let Some(ms) = options.ms {
                inject["ms"] = ms.into();
            }
            json!({ "inject": inject })
        }
    }
}

fn print(options: &cli::Inject, card: &str, answer: &Value) {
    match options.what {
        Injection::Heal => println!("{card}: all faults have ended"),
        Injection::Report => {
            println!("{card}: {} violations", answer["count"]);
            for it in answer["violations"].as_array().into_iter().flatten() {
                let word = |name: &str| it[name].as_str().unwrap_or("?").to_owned();
                println!("  {}: {}: {}", word("who"), word("rule"), word("text"));
            }
        }
        Injection::Counters => {
            println!("{card}");
            row("card", &answer["card"]);
            for (number, channel) in answer["channels"]
                .as_array()
                .into_iter()
                .flatten()
                .enumerate()
            {
                row(&format!("channel {number}"), channel);
            }
        }
        fault => {
            let times = match options.count {
                1 => "once".to_owned(),
                count => format!("{count} times"),
            };
            println!(
                "{card}: {} on channel {}, {times}",
                cli::name(&fault),
                options.channel
            );
        }
    }
}

fn row(name: &str, counters: &Value) {
    let words: Vec<_> = counters
        .as_object()
        .into_iter()
        .flatten()
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    println!("  {name:<12}{}", words.join(", "));
}

fn list(lab: Option<Lab>) -> anyhow::Result<()> {
    println!("faults:");
    for what in Injection::value_variants() {
        if matches!(
            what,
            Injection::Heal | Injection::Report | Injection::Counters | Injection::List
        ) {
            continue;
        }
        if let Some(value) = what.to_possible_value() {
            let help = value.get_help().map(ToString::to_string);
            println!("  {:<20}{}", value.get_name(), help.unwrap_or_default());
        }
    }
    println!("models of cards here:");
    let models = match lab {
        Some(mut lab) => lab.models()?,
        None => Vec::new(),
    };
    if models.is_empty() {
        println!("  none; make shell DEVICE=edu-daq gives a guest with one");
    }
    for Model { name, kind, place } in models {
        println!("  {name}: {kind} at {place}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(what: Injection) -> cli::Inject {
        cli::Inject {
            what,
            channel: 2,
            count: 3,
            ms: Some(5),
            json: false,
        }
    }

    #[test]
    fn requests_are_those_of_the_data_sheet() {
        assert_eq!(
            request(&options(Injection::LateInterrupt)),
            json!({ "inject": { "fault": "late-interrupt", "channel": 2, "count": 3, "ms": 5 } })
        );
        assert_eq!(request(&options(Injection::Heal)), json!({ "heal": {} }));
        // The data sheet has the names of the command line.
        assert_eq!(cli::name(&Injection::StuckHard), "stuck-hard");
    }
}

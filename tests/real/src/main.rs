//! `cargo sim real`: the scenarios on real processes, judged by the same rules.
//!
//! Release binaries with real files, kill -9, SIGSTOP, SIGTERM and a proxy on every link; the clients are threads of this
//! program. Or the same against a genuine broker.
#![allow(clippy::print_stdout, reason = "a program that talks to a terminal")]

mod cluster;
mod fit;
mod proxy;
mod report;
mod run;
mod runner;
mod servers;
mod steps;

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use lab::check::Rule;
use lab::scenario::Scenario;

use fit::Fit;
use run::Told;
use servers::{Make, Running};

/// Runs scenarios on real processes and judges them by the same rules. Writes reports/real.md.
///
/// Exit codes: 0 the rules hold, 1 one is broken, 2 it could not be done, 6 a run says nothing. Against a genuine broker
/// broken rules are the result, not a failure.
#[derive(Debug, Parser)]
#[command(name = "cargo sim real", bin_name = "cargo sim real")]
struct Options {
    /// Only these scenarios.
    scenarios: Vec<String>,
    /// The seed of the plans; without it, for each scenario one with many kinds of faults.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs at once.
    #[arg(long, default_value_t = 3)]
    jobs: usize,
    /// Against a genuine broker of this version; `genuine` is 4.9.7. Of several, one after the other, on one page.
    #[arg(long, value_name = "VERSION")]
    against: Vec<String>,
    /// Against brokers that run already, by their name servers: IP:PORT;IP:PORT. They are neither ended nor stopped.
    #[arg(long, value_name = "ADDRESSES", conflicts_with = "against")]
    name_server: Option<String>,
    /// Afterwards runs with lies, which the rules must notice.
    #[arg(long)]
    prove: bool,
    /// Runs with this lie.
    #[arg(long)]
    lie: Option<Lie>,
}

/// Something false that the driver does behind everybody's back, to see that the rules notice it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lie {
    /// The proxy gives some sends to the broker twice.
    Double,
    /// A broker that was killed has lost the last record of its log.
    Forget,
}

impl Lie {
    /// The rule that must notice it.
    fn caught_by(self) -> Rule {
        match self {
            Self::Double => Rule::Ack6,
            Self::Forget => Rule::Ack1,
        }
    }
}

fn main() -> ExitCode {
    match go(&Options::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn go(options: &Options) -> Result<u8> {
    let makes = makes(options)?;
    let chosen = chosen(options)?;
    let mut all = Vec::new();
    for make in &makes {
        println!("{} scenarios against {}", chosen.len(), make.name());
        all.push((make.clone(), run_all(&chosen, options, make)?));
        report::write(&all)?;
    }
    let ours = |make: &Make| matches!(make, Make::Ours(_));
    let told = || all.iter().flat_map(|(make, told)| told.iter().map(move |(_, told)| (make, told)));
    let broken = told().any(|(make, told)| ours(make) && !told.violations.is_empty());
    let empty = told().any(|(_, told)| !told.says_something());
    if options.prove {
        makes.iter().try_for_each(prove)?;
    }
    println!("report: reports/{}", report::FILE);
    Ok(if broken {
        1
    } else if empty {
        6
    } else {
        0
    })
}

fn makes(options: &Options) -> Result<Vec<Make>> {
    if let Some(addresses) = &options.name_server {
        return Ok(vec![Make::Running(Running::find(addresses)?)]);
    }
    if options.against.is_empty() {
        return Ok(vec![Make::Ours(process::binary()?)]);
    }
    let genuine = |version: &String| {
        let version = if version == "genuine" { "4.9.7" } else { version };
        Ok(Make::Genuine(golden::Java::prepare_server(version)?))
    };
    options.against.iter().map(genuine).collect()
}

fn chosen(options: &Options) -> Result<Vec<Scenario>> {
    let all = scenarios::list::all();
    if options.scenarios.is_empty() {
        return Ok(all);
    }
    let find = |name: &String| {
        let found = all.iter().find(|scenario| scenario.name == name).copied();
        found.with_context(|| format!("there is no scenario {name}; `cargo sim list` names all"))
    };
    options.scenarios.iter().map(find).collect()
}

/// The plan of a scenario for real time: with this seed, or with that of the first plans that has most kinds of faults.
fn plan(scenario: &Scenario, seed: Option<u64>, make: &Make) -> Fit {
    let fitted = |seed| fit::fit(scenario.usual(seed), make);
    let richest = || (0..SEEDS).rev().max_by_key(|seed| fit::kinds(&fitted(*seed).plan)).unwrap_or(0);
    fitted(seed.unwrap_or_else(richest))
}

/// Runs scenarios, some at once, and gives what they came to in their order.
fn run_all(chosen: &[Scenario], options: &Options, make: &Make) -> Result<Vec<(Scenario, Told)>> {
    let waiting = Mutex::new(chosen.iter().enumerate());
    let done = Mutex::new(Vec::new());
    let work = || {
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((place, scenario)) = next else { return };
            let told = run::run(plan(scenario, options.seed, make), make, options.lie);
            if let Ok(told) = &told {
                println!("{}", report::line(scenario, told));
            }
            done.lock().unwrap_or_else(PoisonError::into_inner).push((place, *scenario, told));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(place, ..)| *place);
    let told =
        done.into_iter().map(|(_, scenario, told)| Ok((scenario, told.with_context(|| scenario.name)?)));
    told.collect()
}

/// Shows that the rules notice what is wrong on real processes, too.
fn prove(make: &Make) -> Result<()> {
    for lie in [Lie::Double, Lie::Forget] {
        let scenario = scenarios::list::all()[0];
        // A plan with a killed broker, which both lies need or can bear.
        let dies = |fit: &Fit| {
            let kills = |step: &lab::plan::Step| matches!(&step.what, lab::plan::What::Crash { node, .. } if node.starts_with('b'));
            fit.plan.steps.iter().any(kills) && fit.plan.producers.iter().all(|it| it.retries == 0)
        };
        let mut plans = (0..1000).map(|seed| plan(&scenario, Some(seed), make));
        let fit = plans.find(dies).context("no plan kills a broker")?;
        let told = run::run(fit, make, Some(lie))?;
        let noticed = told.violations.iter().find(|violation| violation.rule == lie.caught_by());
        match noticed {
            Some(violation) => {
                println!("lie {lie:?}: noticed by {}: {}", lie.caught_by().id(), violation.sentence)
            }
            None => {
                bail!("the lie {lie:?} was not noticed by {}: {:?}", lie.caught_by().id(), told.violations)
            }
        }
    }
    Ok(())
}

/// So many seeds are looked at for a plan with many kinds of faults.
const SEEDS: u64 = 50;

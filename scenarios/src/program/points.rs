//! `points`: a broker dies at every named point of its code, by the end of its process and by loss of power, early, at
//! some time and late; it must recover, and all rules must hold.

use std::collections::BTreeMap;
use std::sync::Mutex;

use lab::draw::Draw;
use lab::drive::{self, Options};
use lab::outcome::{Run, Verdict};
use lab::plan::{Plan, Step, What};
use lab::swarm;

use super::campaign::in_parallel;
use super::interrupt::{self, Interrupt};
use super::{plant, say, write_page};
use crate::list;

/// Lets a broker die at every crash point, in every way, and judges what it recovers.
#[derive(clap::Args)]
pub(super) struct Points {
    /// Only points whose names contain this.
    #[arg(long)]
    only: Option<String>,
    /// Seeds of each scenario among which the run that passes a point the most often is looked for.
    #[arg(long, default_value_t = 8)]
    seeds: u64,
    /// Switches a planted bug on.
    #[arg(long, value_parser = plant)]
    plant: Vec<&'static str>,
}

/// How a run with a death at a point ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ended {
    /// It died there, recovered, and every rule holds.
    Well,
    /// It never came to the point at that time.
    NotReached,
    /// What is broken, and how to see it again.
    Badly(String),
}

/// The deaths at one point.
struct Row {
    point: &'static str,
    scenario: String,
    passes: u64,
    ends: Vec<Ended>,
}

impl Points {
    pub(super) fn go(self) -> anyhow::Result<u8> {
        let asked = Interrupt::listen()?;
        let wanted = |point: &&&str| self.only.as_ref().is_none_or(|part| point.contains(part));
        let points: Vec<&'static str> = swarm::POINTS.iter().filter(wanted).copied().collect();
        anyhow::ensure!(!points.is_empty(), "no crash point has such a name");
        let hosts = hosts(self.seeds, &asked);
        let rows = Mutex::new(Vec::new());
        in_parallel(&points, None, &asked, |point| {
            let row = self.sweep(point, hosts.get(*point), &asked);
            rows.lock().expect("no run panics outside its world").push(row);
        });
        let mut rows = rows.into_inner().expect("no run panics outside its world");
        rows.sort_by_key(|row| row.point);
        let table = table(&rows);
        say(table.trim_end());
        write_page("points.md", "Crash points", &table)?;
        if asked.is_asked() {
            return Ok(interrupt::CODE);
        }
        let bad = |row: &Row| row.ends.iter().any(|end| matches!(end, Ended::Badly(_)));
        let never = |row: &Row| row.ends.iter().all(|end| *end == Ended::NotReached);
        Ok(match () {
            () if rows.iter().any(bad) => 1,
            () if rows.iter().any(never) => 6,
            () => 0,
        })
    }

    fn sweep(&self, point: &'static str, host: Option<&(Plan, u64)>, asked: &Interrupt) -> Row {
        let scenario = host.map_or_else(String::new, |(plan, _)| format!("{} {}", plan.scenario, plan.seed));
        let passes = host.map_or(0, |(_, passes)| *passes);
        let mut ends = vec![Ended::NotReached; TIMES.len() * 2];
        for (end, (time, power)) in
            ends.iter_mut().zip(TIMES.iter().flat_map(|time| [(time, false), (time, true)]))
        {
            let Some((plan, _)) = host.filter(|_| !asked.is_asked()) else { break };
            *end = self.die(plan, point, *time, power);
        }
        Row { point, scenario, passes, ends }
    }

    fn die(&self, plan: &Plan, point: &str, time: Time, power: bool) -> Ended {
        let mut plan = plan.clone();
        let mut draw = Draw::new(plan.seed, point);
        let (at_ms, nth) = match time {
            Time::First => (500, 1),
            Time::Any => (draw.range(1000, plan.load_ms - 10_000), draw.range(1, 3)),
            Time::Late => (plan.load_ms - 10_000, 1),
        };
        let what = What::CrashAt { node: BROKER.to_owned(), point: point.to_owned(), nth, power };
        plan.steps.push(Step::new(at_ms, 2000, what));
        plan.steps.sort_by_key(|step| step.at_ms);
        let run = drive::run(&plan, &Options { plants: self.plant.clone(), ..Options::default() }).run;
        match run.verdict {
            Verdict::Fail | Verdict::Error => Ended::Badly(told(&run, &plan)),
            Verdict::Pass | Verdict::Unknown if run.effects.contains_key("hook.point") => Ended::Well,
            Verdict::Pass | Verdict::Unknown => Ended::NotReached,
        }
    }
}

/// Which rule is broken, and the plan in a file beside the report.
fn told(run: &Run, plan: &Plan) -> String {
    let step = plan.steps.iter().find_map(|step| match &step.what {
        What::CrashAt { point, power, .. } => Some(format!("{point}-{}-{}", step.at_ms, u8::from(*power))),
        _ => None,
    });
    let file = super::reports().join(format!("points-{}.json", step.unwrap_or_default()));
    let kept = super::one::save(plan, run, &file);
    let file = kept.map_or_else(|error| format!("not kept: {error:#}"), |()| file.display().to_string());
    format!("{}: cargo sim replay {file}", run.signature())
}

/// For each point the plan, with one broker, that passes it the most often, and how often. Some are passed only behind
/// another death at a point.
fn hosts(seeds: u64, asked: &Interrupt) -> BTreeMap<String, (Plan, u64)> {
    let mut hosts = passed(seeds, asked, true);
    hosts.append(&mut passed(seeds, asked, false));
    hosts
}

fn passed(seeds: u64, asked: &Interrupt, deaths: bool) -> BTreeMap<String, (Plan, u64)> {
    let work: Vec<Plan> = list::all()
        .iter()
        .flat_map(|scenario| (1..=seeds).map(|seed| alone(scenario.usual(seed), deaths)))
        .collect();
    let found: Mutex<BTreeMap<String, (Plan, u64)>> = Mutex::default();
    in_parallel(&work, None, asked, |plan| {
        let run = drive::run(plan, &Options::default()).run;
        let mut found = found.lock().expect("no run panics outside its world");
        for (point, passes) in run.points {
            // Which of two equal ones comes first depends on the machine: the order of plans decides.
            let rank = |(plan, passes): &(Plan, u64)| {
                (*passes, std::cmp::Reverse((plan.scenario.clone(), plan.seed)))
            };
            let candidate = (plan.clone(), passes);
            let best = found.entry(point).or_insert_with(|| candidate.clone());
            if rank(&candidate) > rank(best) {
                *best = candidate;
            }
        }
    });
    found.into_inner().expect("no run panics outside its world")
}

/// The plan with its first broker alone, with its other deaths at points or without.
fn alone(mut plan: Plan, deaths: bool) -> Plan {
    plan.brokers.truncate(1);
    let there = |name: &str| name == BROKER || !name.starts_with('b');
    plan.steps.retain(|step| {
        step.what.nodes().into_iter().all(there) && (deaths || !matches!(step.what, What::CrashAt { .. }))
    });
    plan
}

fn table(rows: &[Row]) -> String {
    let mut out = "| crash point | in | passes | early, process | early, power | some time, process | some time, power | \
                   late, process | late, power |\n|---|---|--:|---|---|---|---|---|---|\n"
        .to_owned();
    for Row { point, scenario, passes, ends } in rows {
        let ends: Vec<_> = ends
            .iter()
            .map(|end| match end {
                Ended::Well => "ok",
                Ended::NotReached => "not reached",
                Ended::Badly(told) => told,
            })
            .collect();
        out.push_str(&format!("| {point} | {scenario} | {passes} | {} |\n", ends.join(" | ")));
    }
    let all = rows.iter().flat_map(|row| &row.ends);
    let count = |wanted: fn(&Ended) -> bool| all.clone().filter(|end| wanted(end)).count();
    out.push_str(&format!(
        "\n{} crash points, {} deaths: {} ended well, {} broke a rule, {} came too early or too late to meet the point\n",
        rows.len(),
        rows.len() * TIMES.len() * 2,
        count(|end| *end == Ended::Well),
        count(|end| matches!(end, Ended::Badly(_))),
        count(|end| *end == Ended::NotReached)
    ));
    out
}

/// When it dies.
#[derive(Clone, Copy)]
enum Time {
    First,
    Any,
    Late,
}

const TIMES: &[Time] = &[Time::First, Time::Any, Time::Late];
const BROKER: &str = "b0";

//! `mutants`: the checkers must find each planted bug within so many seeds, by its rule.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use lab::bugs::{self, Bug};
use lab::drive::{self, Options};
use lab::outcome::Verdict;
use lab::plan::Profile;
use lab::report::{Found, Matrix, Row};
use lab::scenario::Scenario;

use super::interrupt::{self, Interrupt};
use super::{Draws, campaign::in_parallel, command_line, find, plant, provenance, reports, say, write_page};
use crate::list;

/// Runs with planted bugs and counts the seeds until each is found: in the scenarios that are about it, within 3, 20
/// or 200 seeds, as its class says. The matrix goes to reports/mutants.md and mutants.json.
#[derive(clap::Args)]
pub(super) struct Mutants {
    /// Only these bugs.
    #[arg(long, value_parser = plant)]
    plant: Vec<&'static str>,
    /// Only in this scenario; with --plant also one that does not list the bug.
    #[arg(long, conflicts_with = "swarm")]
    scenario: Option<String>,
    /// All bugs in the swarm alone, within 200 seeds each; to mutants-swarm.md and .json.
    #[arg(long)]
    swarm: bool,
    /// Not more seeds than this; what needs more is said to be not run to its end.
    #[arg(long)]
    seeds: Option<u64>,
    /// Not longer than this; what is left then is said to be not run.
    #[arg(long)]
    minutes: Option<u64>,
    #[command(flatten)]
    draws: Draws,
}

impl Mutants {
    /// All of them, each where it is expected.
    pub(super) fn usual() -> Self {
        let draws = Draws::usual(Profile::Brief);
        Self { plant: Vec::new(), scenario: None, swarm: false, seeds: None, minutes: None, draws }
    }

    pub(super) fn go(self) -> anyhow::Result<u8> {
        let work = self.work()?;
        let over = self.minutes.map(|minutes| Instant::now() + Duration::from_secs(minutes * 60));
        let asked = Interrupt::listen()?;
        let ended = || asked.is_asked() || over.is_some_and(|over| Instant::now() >= over);
        let rows = Mutex::new(Vec::new());
        in_parallel(&work, None, &asked, |(scenario, bug)| {
            let row = hunt(scenario, bug, self.within(bug), (self.seeds, self.draws), &ended);
            rows.lock().expect("no run panics outside its world").push(row);
        });
        let mut rows = rows.into_inner().expect("no run panics outside its world");
        let waiting = bugs::ALL.iter().filter(|bug| bug.missing.is_some() && self.plant.is_empty());
        rows.extend(waiting.map(|bug| Row::new(bug, None, bug.class.seeds())));
        let place = |row: &Row| bugs::ALL.iter().position(|bug| bug.id == row.bug);
        rows.sort_by_cached_key(|row| (place(row), row.scenario.clone()));
        let (commit, toolchain) = provenance();
        let matrix = Matrix { made_by: command_line(), commit, toolchain, rows };
        let table = matrix.markdown();
        say(table.trim_end());
        let name = if self.swarm { "mutants-swarm" } else { "mutants" };
        write_page(&format!("{name}.md"), "Planted bugs", &table)?;
        std::fs::write(reports().join(format!("{name}.json")), serde_json::to_string_pretty(&matrix)?)?;
        if asked.is_asked() {
            return Ok(interrupt::CODE);
        }
        Ok(u8::from(!matrix.is_clean()))
    }

    /// Which bug is looked for where.
    fn work(&self) -> anyhow::Result<Vec<(Scenario, &'static Bug)>> {
        let wanted =
            |bug: &Bug| bug.missing.is_none() && (self.plant.is_empty() || self.plant.contains(&bug.id));
        let all = || bugs::ALL.iter().filter(|bug| wanted(bug));
        let everywhere = match &self.scenario {
            Some(name) if !self.plant.is_empty() => Some(find(name)?),
            _ if self.swarm => Some(find("swarm")?),
            _ => None,
        };
        if let Some(scenario) = everywhere {
            return Ok(all().map(|bug| (scenario, bug)).collect());
        }
        let mut scenarios = list::all();
        if let Some(name) = &self.scenario {
            scenarios = vec![find(name)?];
        }
        let about = |bug: &'static Bug| {
            let about: Vec<_> = scenarios.iter().filter(|it| it.kills.contains(&bug.id)).copied().collect();
            about.into_iter().map(move |scenario| (scenario, bug))
        };
        Ok(all().flat_map(about).collect())
    }

    fn within(&self, bug: &Bug) -> u64 {
        if self.swarm { bugs::Class::Hard.seeds() } else { bug.class.seeds() }
    }
}

fn hunt(
    scenario: &Scenario,
    bug: &Bug,
    within: u64,
    (most, draws): (Option<u64>, Draws),
    ended: &dyn Fn() -> bool,
) -> Row {
    let options = Options { plants: vec![bug.id], ..Options::default() };
    let mut row = Row::new(bug, Some(scenario.name), within);
    for seed in (1..=most.map_or(within, |most| within.min(most))).take_while(|_| !ended()) {
        let run = drive::run(&draws.of(scenario, seed), &options).run;
        let mut rules: Vec<_> = run.violations.iter().map(|it| it.rule.id().to_owned()).collect();
        rules.dedup();
        let failed = matches!(run.verdict, Verdict::Fail | Verdict::Error).then_some(Found { seed, rules });
        row.add(run.planted.get(bug.id).copied().unwrap_or(0), failed);
        if row.killed.is_some() {
            break;
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_with_a_feature_is_looked_for_by_some_scenario() {
        let scenarios = list::all();
        let about = |bug: &Bug| scenarios.iter().any(|scenario| scenario.kills.contains(&bug.id));
        let idle: Vec<_> = bugs::ALL.iter().filter(|bug| bug.missing.is_none() && !about(bug)).collect();
        assert!(idle.is_empty(), "{idle:?}");
        let unknown = |id: &&&str| bugs::find(id).is_none_or(|bug| bug.missing.is_some());
        let named: Vec<_> = scenarios.iter().flat_map(|scenario| scenario.kills).collect();
        assert!(!named.iter().any(unknown), "{named:?}");
    }
}

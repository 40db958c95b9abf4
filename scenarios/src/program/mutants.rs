//! `mutants`: the checkers must find each planted bug within so many seeds, by its rule.

use std::sync::Mutex;

use lab::check::Rule;
use lab::drive::{self, Options};
use lab::scenario::Scenario;

use super::interrupt::{self, Interrupt};
use super::{Draws, campaign::in_parallel, find, plant, say, write_page};
use crate::list;

/// Runs with planted bugs and counts the seeds until each is found.
#[derive(clap::Args)]
pub(super) struct Mutants {
    /// Only this bug.
    #[arg(long, value_parser = plant)]
    plant: Option<&'static str>,
    /// Only in this scenario; with --plant also one that does not list the bug.
    #[arg(long)]
    scenario: Option<String>,
    /// Seeds to try for each.
    #[arg(long, default_value_t = 50)]
    seeds: u64,
    #[command(flatten)]
    draws: Draws,
}

struct Row {
    bug: &'static str,
    scenario: &'static str,
    killed: Option<u64>,
    rules: Vec<&'static str>,
    expected: Vec<&'static str>,
    hits: u64,
}

impl Mutants {
    pub(super) fn go(self) -> anyhow::Result<u8> {
        let mut work: Vec<(Scenario, &'static str, &'static [Rule])> = Vec::new();
        for scenario in list::all() {
            for (bug, rules) in scenario.kills {
                let asked = self.plant.is_none_or(|plant| plant == *bug);
                if asked && self.scenario.as_deref().is_none_or(|name| name == scenario.name) {
                    work.push((scenario, *bug, *rules));
                }
            }
        }
        if let (true, Some(bug), Some(name)) = (work.is_empty(), self.plant, &self.scenario) {
            work.push((find(name)?, bug, Rule::ALL));
        }
        let rows = Mutex::new(Vec::new());
        let asked = Interrupt::listen()?;
        in_parallel(&work, None, &asked, |(scenario, bug, rules)| {
            let row = hunt(scenario, bug, rules, (self.seeds, self.draws), &asked);
            rows.lock().expect("no run panics outside its world").push(row);
        });
        let mut rows = rows.into_inner().expect("no run panics outside its world");
        rows.sort_by_key(|row| (row.bug, row.scenario));
        let table = table(&rows, self.seeds);
        say(table.trim_end());
        write_page("mutants.md", "Planted bugs", &table)?;
        if asked.is_asked() {
            return Ok(interrupt::CODE);
        }
        Ok(u8::from(rows.iter().any(|row| row.killed.is_none())))
    }
}

fn hunt(
    scenario: &Scenario,
    bug: &'static str,
    rules: &[Rule],
    (seeds, draws): (u64, Draws),
    asked: &Interrupt,
) -> Row {
    let options = Options { plants: vec![bug], ..Options::default() };
    let expected = if rules.len() == Rule::ALL.len() {
        vec!["any"]
    } else {
        rules.iter().map(|rule| rule.id()).collect()
    };
    let mut row = Row { bug, scenario: scenario.name, killed: None, rules: Vec::new(), expected, hits: 0 };
    for seed in (1..=seeds).take_while(|_| !asked.is_asked()) {
        let run = drive::run(&draws.of(scenario, seed), &options).run;
        row.hits += run.planted.get(bug).copied().unwrap_or(0);
        if run.violations.iter().any(|violation| rules.contains(&violation.rule)) {
            row.killed = Some(seed);
            row.rules = run.violations.iter().map(|violation| violation.rule.id()).collect();
            row.rules.dedup();
            break;
        }
    }
    row
}

fn table(rows: &[Row], seeds: u64) -> String {
    let mut out = "| bug | scenario | seeds to kill | rules that fired | expected | hits |\n|---|---|--:|---|---|--:|\n".to_owned();
    for row in rows {
        let killed = match row.killed {
            Some(seed) => seed.to_string(),
            None if row.hits == 0 => format!("survived {seeds}: never met (a gap in the load)"),
            None => format!("survived {seeds}: met, not noticed (a gap in the rules)"),
        };
        out.push_str(&format!(
            "| {} | {} | {killed} | {} | {} | {} |\n",
            row.bug,
            row.scenario,
            row.rules.join(" "),
            row.expected.join(" or "),
            row.hits
        ));
    }
    out
}

//! What runs come to: states that must be met now and then, sites of rare behaviour that fired, faults that struck beside
//! features that were used, and the settings that were drawn. Counting draws nothing and changes no run.

mod knobs;
mod pairs;
pub mod properties;
pub mod sites;
mod told;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::outcome::Run;

pub use knobs::{KNOBS, knobs};
pub use pairs::{FEATURES, features, felt};
pub use told::told;

/// What a campaign came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Properties that were met, by name.
    pub properties: BTreeMap<String, Met>,
    /// Sites of rare behaviour that fired, by name.
    pub sites: BTreeMap<String, Met>,
    /// Runs that planned a kind of fault.
    pub planned: BTreeMap<String, u64>,
    /// Runs in which it struck.
    pub struck: BTreeMap<String, u64>,
    /// Runs that used a feature.
    pub features: BTreeMap<String, u64>,
    /// Runs in which a kind of fault struck and a feature was used, by both.
    pub pairs: BTreeMap<String, BTreeMap<String, u64>>,
    /// Runs by value of each setting.
    pub knobs: BTreeMap<String, BTreeMap<String, u64>>,
}

/// How often something was met, and where first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    /// Times in all.
    pub times: u64,
    /// In so many runs.
    pub runs: u64,
    /// The smallest seed that met it, and its scenario: the first of those by name.
    pub first: (u64, String),
}

impl Coverage {
    /// Adds a run.
    pub fn add(&mut self, run: &Run) {
        for (table, met) in [(&mut self.properties, &run.met), (&mut self.sites, &run.fired)] {
            for (name, times) in met {
                let first = (run.seed, run.scenario.clone());
                join(table, name, Met { times: *times, runs: 1, first });
            }
        }
        run.planned.keys().for_each(|kind| count(&mut self.planned, kind, 1));
        run.features.iter().for_each(|feature| count(&mut self.features, feature, 1));
        for kind in &run.struck {
            count(&mut self.struck, kind, 1);
            let with = self.pairs.entry(kind.clone()).or_default();
            run.features.iter().for_each(|feature| count(with, feature, 1));
        }
        for (knob, value) in &run.knobs {
            count(self.knobs.entry(knob.clone()).or_default(), value, 1);
        }
    }

    /// Takes over what another part of the same campaign came to.
    pub fn merge(&mut self, other: &Self) {
        for (mine, its) in [(&mut self.properties, &other.properties), (&mut self.sites, &other.sites)] {
            its.iter().for_each(|(name, met)| join(mine, name, met.clone()));
        }
        for (mine, its) in [
            (&mut self.planned, &other.planned),
            (&mut self.struck, &other.struck),
            (&mut self.features, &other.features),
        ] {
            its.iter().for_each(|(name, more)| count(mine, name, *more));
        }
        for (mine, its) in [(&mut self.pairs, &other.pairs), (&mut self.knobs, &other.knobs)] {
            for (name, table) in its {
                let mine = mine.entry(name.clone()).or_default();
                table.iter().for_each(|(value, more)| count(mine, value, *more));
            }
        }
    }

    /// Properties that no run met.
    pub fn unmet(&self) -> impl Iterator<Item = &'static properties::Property> + '_ {
        properties::all().filter(|(name, _)| !self.properties.contains_key(*name))
    }

    /// Sites that fired in no run.
    pub fn unfired(&self) -> impl Iterator<Item = &'static properties::Property> + '_ {
        sites::SITES.iter().filter(|(name, _)| !self.sites.contains_key(*name))
    }

    /// Runs in which this kind of fault struck and this feature was used.
    #[must_use]
    pub fn pair(&self, kind: &str, feature: &str) -> u64 {
        self.pairs.get(kind).and_then(|with| with.get(feature)).copied().unwrap_or(0)
    }
}

fn join(table: &mut BTreeMap<String, Met>, name: &str, met: Met) {
    match table.get_mut(name) {
        Some(known) => {
            known.times += met.times;
            known.runs += met.runs;
            known.first = met.first.min(std::mem::take(&mut known.first));
        }
        None => drop(table.insert(name.to_owned(), met)),
    }
}

fn count(table: &mut BTreeMap<String, u64>, name: &str, more: u64) {
    *table.entry(name.to_owned()).or_default() += more;
}

/// Crates of the system that run in the simulator.
#[cfg(test)]
pub(crate) const SYSTEM_CRATES: &[&str] = &["broker", "client", "namesrv", "net", "runtime", "store"];

/// The names behind a hook in the sources of crates of the system, in order, each once.
#[cfg(test)]
pub(crate) fn hooks_in(crates: &[&str], hook: &str) -> Vec<String> {
    let mut found = std::collections::BTreeSet::new();
    for name in crates {
        let root = format!("{}/../../system/{name}/src", env!("CARGO_MANIFEST_DIR"));
        hooks_below(std::path::Path::new(&root), hook, &mut found);
    }
    found.into_iter().collect()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "reads the project's own source")]
fn hooks_below(folder: &std::path::Path, hook: &str, found: &mut std::collections::BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            hooks_below(&path, hook, found);
        } else if !path.ends_with("runtime/src/hooks.rs")
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            // A long call stands on several lines.
            let names = text.split(hook).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
            found.extend(names.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Verdict;

    fn run(scenario: &str, seed: u64, met: &[(&str, u64)], struck: &[&str], features: &[&str]) -> Run {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Run {
            met: met.iter().map(|(name, times)| ((*name).to_owned(), *times)).collect(),
            planned: struck.iter().map(|kind| ((*kind).to_owned(), 2)).collect(),
            struck: names(struck),
            features: names(features),
            knobs: [("name_servers".to_owned(), (1 + seed % 2).to_string())].into(),
            ..Run::of(scenario, seed, Verdict::Pass)
        }
    }

    #[test]
    fn parts_together_are_the_whole_and_the_smallest_seed_was_first() {
        let runs = [
            run("swarm", 7, &[("net.silent", 3)], &["crash"], &["delays", "retries"]),
            run("swarm", 4, &[("net.silent", 1), ("net.timed_out", 9)], &["crash"], &["delays"]),
            run("first_message", 4, &[("net.silent", 2)], &[], &["batches"]),
        ];
        let sum = |runs: &[Run]| {
            let mut sum = Coverage::default();
            runs.iter().for_each(|run| sum.add(run));
            sum
        };
        let whole = sum(&runs);
        let mut parts = sum(&runs[..1]);
        parts.merge(&sum(&runs[1..]));
        assert_eq!(parts, whole);
        let met = &whole.properties["net.silent"];
        assert_eq!((met.times, met.runs, &met.first), (6, 3, &(4, "first_message".to_owned())));
        assert_eq!((whole.pair("crash", "delays"), whole.pair("crash", "batches")), (2, 0));
        assert_eq!(whole.knobs["name_servers"], [("1".to_owned(), 2), ("2".to_owned(), 1)].into());
        assert_eq!(whole.unmet().count(), properties::all().count() - 2);
    }
}

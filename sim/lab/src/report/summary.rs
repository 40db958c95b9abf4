//! What a campaign came to: counts by scenario, and each kind of failure once with its smallest seed.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use serde::{Deserialize, Serialize};

use crate::cover::Coverage;
use crate::outcome::{Run, Verdict};
use crate::plan::class_of;

/// A whole campaign.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// The command that made it.
    pub made_by: String,
    /// The gravest verdict.
    pub verdict: Verdict,
    /// Of the code that ran.
    pub commit: String,
    /// That compiled it.
    pub toolchain: String,
    /// How many runs.
    pub seeds: u64,
    /// How many there should have been.
    #[serde(default)]
    pub wanted: u64,
    /// In all.
    pub simulated_s: f64,
    /// In all.
    pub cpu_s: f64,
    /// From the first run to the last.
    pub wall_s: f64,
    /// In all.
    pub frames: u64,
    /// Of all histories.
    #[serde(default)]
    pub events: u64,
    /// Runs that were repeated, and how many of them had the same trace.
    pub repeated: Option<(u64, u64)>,
    /// By name.
    pub scenarios: BTreeMap<String, ScenarioSummary>,
    /// Whether a bug that must be found was found.
    #[serde(default)]
    pub canary: Option<Canary>,
    /// What all runs came to.
    #[serde(default)]
    pub coverage: Coverage,
    /// One for each signature.
    pub failures: Vec<Failure>,
}

/// One scenario in a campaign.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ScenarioSummary {
    /// Smallest and largest seed.
    pub seeds: (u64, u64),
    /// Runs by verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Simulated seconds.
    pub simulated_s: f64,
    /// CPU seconds.
    pub cpu_s: f64,
    /// CPU seconds of the checkers.
    pub check_s: f64,
    /// Of the CPU time of a run.
    pub cpu_median_ms: f64,
    /// Of the simulated seconds per CPU second of a run.
    pub speed_median: f64,
    /// Sends by outcome.
    pub sends: BTreeMap<String, u64>,
    /// Messages given to listeners.
    pub deliveries: u64,
    /// Messages listeners were done with.
    pub consumed: u64,
    /// Repeated deliveries by cause.
    pub repeats: BTreeMap<String, u64>,
    /// The largest of what is bounded, by what it is.
    #[serde(default)]
    pub worst: BTreeMap<String, u64>,
    /// Planned faults by kind.
    pub planned: BTreeMap<String, u64>,
    /// What faults changed, by kind.
    pub effects: BTreeMap<String, u64>,
    /// Runs by class of planned fault.
    #[serde(default)]
    pub tried: BTreeMap<String, u64>,
    /// Those in which it had no effect.
    #[serde(default)]
    pub idle: BTreeMap<String, u64>,
    /// What each rule looked at.
    pub checked: BTreeMap<String, u64>,
    /// Of each run, for the medians of several campaigns together.
    cpu_ms: Vec<f64>,
    speed: Vec<f64>,
}

/// A bug that is planted in every campaign: one that does not find it proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// What was run.
    pub command: String,
    /// The seed that found it; none: none did.
    pub seed: Option<u64>,
}

/// One kind of failure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// What it has in common with others of its kind.
    pub signature: String,
    /// How many runs failed so.
    pub runs: u64,
    /// The one with the smallest seed.
    pub first: Run,
}

impl Summary {
    /// An empty campaign.
    #[must_use]
    pub fn new(command: &str, commit: &str, toolchain: &str) -> Self {
        Self {
            made_by: command.to_owned(),
            verdict: Verdict::Pass,
            commit: commit.to_owned(),
            toolchain: toolchain.to_owned(),
            seeds: 0,
            wanted: 0,
            simulated_s: 0.0,
            cpu_s: 0.0,
            wall_s: 0.0,
            frames: 0,
            events: 0,
            repeated: None,
            scenarios: BTreeMap::new(),
            canary: None,
            coverage: Coverage::default(),
            failures: Vec::new(),
        }
    }

    /// Adds a run.
    pub fn add(&mut self, run: &Run) {
        let (simulated_s, cpu_s) = (run.simulated_ns as f64 / 1e9, run.cpu_ns as f64 / 1e9);
        self.verdict = self.verdict.max(run.verdict);
        self.seeds += 1;
        self.simulated_s += simulated_s;
        self.cpu_s += cpu_s;
        self.frames += run.frames;
        self.events += run.events;
        self.coverage.add(run);
        let scenario = self
            .scenarios
            .entry(run.scenario.clone())
            .or_insert_with(|| ScenarioSummary { seeds: (run.seed, run.seed), ..ScenarioSummary::default() });
        scenario.seeds = (scenario.seeds.0.min(run.seed), scenario.seeds.1.max(run.seed));
        *scenario.verdicts.entry(run.verdict.name().to_owned()).or_default() += 1;
        scenario.simulated_s += simulated_s;
        scenario.cpu_s += cpu_s;
        scenario.check_s += run.check_ns as f64 / 1e9;
        scenario.cpu_ms.push(cpu_s * 1e3);
        scenario.speed.push(if cpu_s > 0.0 { simulated_s / cpu_s } else { 0.0 });
        scenario.deliveries += run.deliveries;
        scenario.consumed += run.consumed;
        add(&mut scenario.sends, &run.sends);
        add(&mut scenario.repeats, &run.repeats);
        largest(&mut scenario.worst, &run.worst);
        add(&mut scenario.planned, &run.planned);
        add(&mut scenario.effects, &run.effects);
        let classes: BTreeSet<&str> = run.planned.keys().map(|kind| class_of(kind)).collect();
        classes.iter().for_each(|class| *scenario.tried.entry((*class).to_owned()).or_default() += 1);
        run.idle.iter().for_each(|kind| *scenario.idle.entry(kind.clone()).or_default() += 1);
        add(&mut scenario.checked, &run.checked);
        if run.verdict != Verdict::Pass {
            let signature = format!("{} {}", run.scenario, run.signature());
            self.fail(Failure { signature, runs: 1, first: run.clone() });
        }
    }

    fn fail(&mut self, failure: Failure) {
        match self.failures.iter_mut().find(|known| known.signature == failure.signature) {
            Some(known) => {
                known.runs += failure.runs;
                if failure.first.seed < known.first.seed {
                    known.first = failure.first;
                }
            }
            None => self.failures.push(failure),
        }
    }

    /// Computes what needs all runs.
    pub fn finish(&mut self, wall_s: f64) {
        self.wall_s = wall_s;
        for scenario in self.scenarios.values_mut() {
            scenario.cpu_median_ms = median(&mut scenario.cpu_ms);
            scenario.speed_median = median(&mut scenario.speed);
        }
        self.failures
            .sort_by(|a, b| b.first.verdict.cmp(&a.first.verdict).then(a.signature.cmp(&b.signature)));
    }

    /// Takes over another part of the same campaign.
    ///
    /// # Errors
    /// When it was another program that ran there.
    pub fn merge(&mut self, other: Self) -> anyhow::Result<()> {
        let (mine, its) = ((&self.commit, &self.toolchain), (&other.commit, &other.toolchain));
        anyhow::ensure!(
            mine == its,
            "parts of two different programs: commit {} built by {}, and commit {} built by {}",
            mine.0,
            mine.1,
            its.0,
            its.1
        );
        self.verdict = self.verdict.max(other.verdict);
        self.seeds += other.seeds;
        self.wanted += other.wanted;
        self.simulated_s += other.simulated_s;
        self.cpu_s += other.cpu_s;
        self.wall_s = self.wall_s.max(other.wall_s);
        self.frames += other.frames;
        self.events += other.events;
        self.repeated = match (self.repeated, other.repeated) {
            (Some((runs, same)), Some((more, too))) => Some((runs + more, same + too)),
            (mine, its) => mine.or(its),
        };
        // One that found nothing counts most.
        self.canary = [self.canary.take(), other.canary].into_iter().flatten().min_by_key(|it| it.seed);
        for (name, theirs) in other.scenarios {
            match self.scenarios.entry(name) {
                Entry::Vacant(free) => drop(free.insert(theirs)),
                Entry::Occupied(mut known) => known.get_mut().merge(&theirs),
            }
        }
        self.coverage.merge(&other.coverage);
        other.failures.into_iter().for_each(|failure| self.fail(failure));
        self.finish(self.wall_s);
        Ok(())
    }

    /// Kinds of failure of a scenario.
    #[must_use]
    pub fn kinds(&self, scenario: &str) -> usize {
        self.failures.iter().filter(|failure| failure.first.scenario == scenario).count()
    }

    /// The CPU time that so many of a hundred runs do not need more than, in ms.
    #[must_use]
    pub fn cpu_ms(&self, percent: usize) -> f64 {
        let mut all: Vec<f64> =
            self.scenarios.values().flat_map(|scenario| scenario.cpu_ms.clone()).collect();
        all.sort_by(f64::total_cmp);
        all.get((all.len() * percent / 100).min(all.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }

    /// Runs with this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.scenarios.values().filter_map(|scenario| scenario.verdicts.get(verdict.name())).sum()
    }
}

impl ScenarioSummary {
    fn merge(&mut self, other: &Self) {
        self.seeds = (self.seeds.0.min(other.seeds.0), self.seeds.1.max(other.seeds.1));
        self.simulated_s += other.simulated_s;
        self.cpu_s += other.cpu_s;
        self.check_s += other.check_s;
        self.cpu_ms.extend(&other.cpu_ms);
        self.speed.extend(&other.speed);
        self.deliveries += other.deliveries;
        largest(&mut self.worst, &other.worst);
        self.consumed += other.consumed;
        for (mine, its) in [
            (&mut self.verdicts, &other.verdicts),
            (&mut self.sends, &other.sends),
            (&mut self.repeats, &other.repeats),
            (&mut self.planned, &other.planned),
            (&mut self.effects, &other.effects),
            (&mut self.tried, &other.tried),
            (&mut self.idle, &other.idle),
            (&mut self.checked, &other.checked),
        ] {
            add(mine, its);
        }
    }

    /// Runs with this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(verdict.name()).copied().unwrap_or(0)
    }

    /// How many runs.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.verdicts.values().sum()
    }
}

fn add(into: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (name, count) in from {
        *into.entry(name.clone()).or_default() += count;
    }
}

fn largest(of: &mut BTreeMap<String, u64>, among: &BTreeMap<String, u64>) {
    for (what, size) in among {
        let known = of.entry(what.clone()).or_default();
        *known = (*size).max(*known);
    }
}

fn median(of: &mut [f64]) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(0.0)
}

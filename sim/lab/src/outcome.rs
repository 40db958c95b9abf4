//! What became of one run.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::check::{Rule, Violation};
use crate::plan::Profile;
use crate::scenario::Drawing;

/// The judgement of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// All rules held, and the run meant something.
    Pass,
    /// The run says nothing: nothing was acknowledged or consumed, or no planned fault had an effect.
    Unknown,
    /// A rule was broken, or a part of the system panicked.
    Fail,
    /// The harness itself failed.
    Error,
}

impl Verdict {
    /// As it is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Unknown => "UNKNOWN",
            Self::Error => "ERROR",
        }
    }
}

/// One run and what it came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Its scenario.
    pub scenario: String,
    /// Its seed.
    pub seed: u64,
    /// How its plan was drawn.
    #[serde(default)]
    pub drawing: Drawing,
    /// The judgement.
    pub verdict: Verdict,
    /// Why, when it is neither a pass nor told by the violations.
    pub note: String,
    /// Broken rules with their witnesses.
    pub violations: Vec<Violation>,
    /// The trace hash, 32 hex digits.
    pub trace: String,
    /// Simulated time.
    pub simulated_ns: u64,
    /// CPU time, checkers included.
    pub cpu_ns: u64,
    /// CPU time of the checkers alone.
    pub check_ns: u64,
    /// Pieces of data the network delivered.
    pub frames: u64,
    /// Events of the history.
    pub events: u64,
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
    /// Kinds of planned faults without any effect, among those that have one.
    #[serde(default)]
    pub idle: BTreeSet<String>,
    /// What each rule looked at.
    pub checked: BTreeMap<String, u64>,
    /// How often planted bugs were met.
    pub planted: BTreeMap<String, u64>,
    /// How often each crash point was passed.
    pub points: BTreeMap<String, u64>,
    /// How often each property was met that runs should come to.
    #[serde(default)]
    pub met: BTreeMap<String, u64>,
    /// How often each site of rare behaviour fired.
    #[serde(default)]
    pub fired: BTreeMap<String, u64>,
    /// Kinds of planned faults that struck.
    #[serde(default)]
    pub struck: BTreeSet<String>,
    /// Features that were used.
    #[serde(default)]
    pub features: BTreeSet<String>,
    /// Settings of the plan.
    #[serde(default)]
    pub knobs: BTreeMap<String, String>,
    /// Its plan, when it did not pass.
    pub plan: String,
    /// The events around the violation, when there is one.
    pub last_events: Vec<String>,
}

impl Run {
    /// One of which nothing is known but its verdict.
    #[cfg(test)]
    pub(crate) fn of(scenario: &str, seed: u64, verdict: Verdict) -> Self {
        Self {
            scenario: scenario.to_owned(),
            seed,
            drawing: Drawing::default(),
            verdict,
            note: String::new(),
            violations: Vec::new(),
            trace: "00".repeat(16),
            simulated_ns: 0,
            cpu_ns: 0,
            check_ns: 0,
            frames: 0,
            events: 0,
            sends: BTreeMap::new(),
            deliveries: 0,
            consumed: 0,
            repeats: BTreeMap::new(),
            worst: BTreeMap::new(),
            planned: BTreeMap::new(),
            effects: BTreeMap::new(),
            idle: BTreeSet::new(),
            checked: BTreeMap::new(),
            planted: BTreeMap::new(),
            points: BTreeMap::new(),
            met: BTreeMap::new(),
            fired: BTreeMap::new(),
            struck: BTreeSet::new(),
            features: BTreeSet::new(),
            knobs: BTreeMap::new(),
            plan: String::new(),
            last_events: Vec::new(),
        }
    }

    /// True when a promise in time is all that is broken.
    #[must_use]
    pub fn only_liveness(&self) -> bool {
        !self.violations.is_empty() && self.violations.iter().all(|violation| violation.rule.is_liveness())
    }

    /// The line that repeats it.
    #[must_use]
    pub fn repeat(&self) -> String {
        format!("cargo sim run {}", self.again())
    }

    /// The line that writes a page about why it failed.
    #[must_use]
    pub fn explain(&self) -> String {
        format!("cargo sim explain {}", self.again())
    }

    fn again(&self) -> String {
        let plants: String = self.planted.keys().map(|name| format!(" --plant {name}")).collect();
        let profile = match self.drawing.profile {
            Profile::Brief => String::new(),
            profile => format!(" --profile {}", profile.name()),
        };
        let safety = if self.drawing.safety_only { " --safety-only" } else { "" };
        format!("{} --seed {}{profile}{safety}{plants}", self.scenario, self.seed)
    }

    /// The folder among the reports for a page about one of the rules it broke.
    #[must_use]
    pub fn folder(&self, rule: Rule) -> String {
        let name: String =
            self.scenario.chars().filter(|it| it.is_ascii_alphanumeric() || *it == '_').collect();
        format!("failures/{name}-{}", rule.id())
    }

    /// The exit code of a run alone: users.md 5.2.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Pass => 0,
            Verdict::Fail if self.only_liveness() => 4,
            Verdict::Fail => 1,
            Verdict::Unknown => 6,
            Verdict::Error => 5,
        }
    }

    /// What failures have in common: the rules that fired.
    #[must_use]
    pub fn signature(&self) -> String {
        let mut rules: Vec<_> = self.violations.iter().map(|violation| violation.rule.id()).collect();
        rules.dedup();
        if rules.is_empty() { self.note.clone() } else { rules.join(" ") }
    }
}

/// The gravest of several exit codes, in the order users.md 5.2 gives: 5, 3, 1, 4, 6, 0.
#[must_use]
pub fn gravest(codes: impl IntoIterator<Item = u8>) -> u8 {
    const ORDER: [u8; 6] = [5, 3, 1, 4, 6, 0];
    let rank = |code: &u8| ORDER.iter().position(|known| known == code).unwrap_or(0);
    codes.into_iter().min_by_key(rank).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_ends_with_the_gravest_code() {
        assert_eq!(gravest([0, 6, 4]), 4);
        assert_eq!(gravest([1, 4, 0]), 1);
        assert_eq!(gravest([1, 3]), 3);
        assert_eq!(gravest([5, 3, 1]), 5);
        assert_eq!(gravest([]), 0);
    }
}

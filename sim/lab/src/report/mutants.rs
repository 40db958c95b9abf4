//! The matrix of planted bugs: which scenario found which, how soon and by which rule. `reports/mutants.json` holds it
//! for other pages, `reports/mutants.md` for people.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::bugs::{self, Bug};

/// The whole matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// The command that made it.
    pub made_by: String,
    /// Of the code that ran.
    pub commit: String,
    /// That compiled it.
    pub toolchain: String,
    /// A line for each bug and scenario, in the order of bugs.
    pub rows: Vec<Row>,
}

/// One bug in one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub bug: String,
    /// What goes wrong.
    pub what: String,
    /// The scenario; none: the feature it is a bug of is not there yet.
    pub scenario: Option<String>,
    /// It must be found within so many seeds.
    pub within: u64,
    /// So many were run.
    pub tried: u64,
    /// How often it was passed in them.
    pub hits: u64,
    /// Rules of which one must find it.
    pub expected: Vec<String>,
    /// The first seed that failed, and what it failed by.
    pub noticed: Option<Found>,
    /// The first seed that failed by an expected rule.
    pub killed: Option<Found>,
    /// What this comes to.
    pub state: State,
}

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Counted from 1.
    pub seed: u64,
    /// The rules that fired; none when the run itself went wrong.
    pub rules: Vec<String>,
}

/// What became of a bug in a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// An expected rule found it in time.
    Killed,
    /// Only other rules found it.
    OtherRule,
    /// It was passed, and no rule noticed: a gap in the rules.
    OracleGap,
    /// It was never passed: a gap in the load.
    WorkloadGap,
    /// The time was over before.
    NotRun,
    /// What it is a bug of is not there yet.
    NoFeature,
}

impl Row {
    /// Nothing is known of it yet.
    #[must_use]
    pub fn new(bug: &Bug, scenario: Option<&str>, within: u64) -> Self {
        Self {
            bug: bug.id.to_owned(),
            what: bug.what.to_owned(),
            scenario: scenario.map(str::to_owned),
            within,
            tried: 0,
            hits: 0,
            expected: bug.rules.iter().map(|rule| rule.id().to_owned()).collect(),
            noticed: None,
            killed: None,
            state: if scenario.is_some() { State::NotRun } else { State::NoFeature },
        }
    }

    /// The seed that killed it, or what became of it.
    #[must_use]
    pub fn outcome(&self) -> String {
        let words = match self.state {
            State::Killed => {
                return self.killed.as_ref().map_or(String::new(), |found| found.seed.to_string());
            }
            State::OtherRule => "by another rule",
            State::OracleGap => "survived: a gap in the rules",
            State::WorkloadGap => "survived: a gap in the load",
            State::NotRun => "not run to its end",
            State::NoFeature => "no feature yet",
        };
        words.to_owned()
    }

    /// One more seed was run: how often the bug was passed, and what the run failed by, if it did.
    pub fn add(&mut self, hits: u64, failed: Option<Found>) {
        self.tried += 1;
        self.hits += hits;
        if let Some(found) = failed {
            let expected = found.rules.iter().any(|rule| self.expected.contains(rule));
            self.noticed.get_or_insert_with(|| found.clone());
            if expected {
                self.killed.get_or_insert(found);
            }
        }
        self.state = match (&self.killed, &self.noticed) {
            (Some(_), _) => State::Killed,
            _ if self.tried < self.within => State::NotRun,
            (None, Some(_)) => State::OtherRule,
            (None, None) if self.hits > 0 => State::OracleGap,
            (None, None) => State::WorkloadGap,
        };
    }
}

impl Matrix {
    /// Bugs whose feature is there.
    fn planted(&self) -> impl Iterator<Item = (&'static Bug, Vec<&Row>)> {
        let all = bugs::ALL.iter().filter(|bug| bug.missing.is_none());
        let rows = |bug: &Bug| self.rows.iter().filter(|row| row.bug == bug.id).collect::<Vec<_>>();
        all.map(move |bug| (bug, rows(bug))).filter(|(_, rows)| !rows.is_empty())
    }

    /// Whether nothing survived that was looked for to the end.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.rows.iter().all(|row| matches!(row.state, State::Killed | State::NoFeature | State::NotRun))
    }

    /// Bugs that an expected rule found within so many seeds of some scenario, and all that were tried; of one kind (M: of
    /// the harness' table, B: others) or of all.
    #[must_use]
    pub fn score(&self, kind: Option<char>, seeds: u64) -> (usize, usize) {
        let of_kind = || self.planted().filter(|(bug, _)| kind.is_none_or(|kind| bug.id.starts_with(kind)));
        let soon = |row: &&Row| row.killed.as_ref().is_some_and(|found| found.seed <= seeds);
        (of_kind().filter(|(_, rows)| rows.iter().any(soon)).count(), of_kind().count())
    }

    /// Bugs that were noticed at all, and of them those whose first failing seed had an expected rule among those that
    /// fired.
    #[must_use]
    pub fn attributed(&self) -> (usize, usize) {
        let noticed = |rows: &[&Row]| rows.iter().any(|row| row.noticed.is_some());
        let rightly = |row: &&Row| row.noticed.is_some() && row.noticed == row.killed;
        let all: Vec<_> = self.planted().filter(|(_, rows)| noticed(rows)).collect();
        (all.iter().filter(|(_, rows)| rows.iter().any(rightly)).count(), all.len())
    }

    /// The matrix for people.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        for (kind, name) in [('M', "of the table"), ('B', "beside the table")] {
            let scores = [3, 20, 200].map(|seeds| (seeds, self.score(Some(kind), seeds)));
            let (_, (_, all)) = scores[0];
            if all > 0 {
                let told = scores.map(|(seeds, (found, _))| format!("{found} within {seeds} seeds"));
                let _ = writeln!(out, "{all} bugs {name}, found by an expected rule: {}.\n", told.join(", "));
            }
        }
        let (right, noticed) = self.attributed();
        let _ = writeln!(
            out,
            "In the first seed that failed an expected rule was among those that fired: {right} of {noticed}.\n"
        );
        out += "| bug | what goes wrong | scenario | killed by seed | of | rules that fired | expected | hits |\n";
        out += "|---|---|---|--:|--:|---|---|--:|\n";
        for row in self.rows.iter().filter(|row| row.state != State::NoFeature) {
            let found = row.killed.as_ref().or(row.noticed.as_ref());
            let killed = row.outcome();
            let fired = found.map_or(String::new(), |found| {
                if found.rules.is_empty() { "the run went wrong".to_owned() } else { found.rules.join(" ") }
            });
            let scenario = row.scenario.as_deref().unwrap_or_default();
            let (expected, within) = (row.expected.join(" or "), row.within);
            let _ = writeln!(
                out,
                "| {} | {} | {scenario} | {killed} | {within} | {fired} | {expected} | {} |",
                row.bug, row.what, row.hits
            );
        }
        let waiting: Vec<_> = bugs::ALL
            .iter()
            .filter(|bug| self.rows.iter().any(|row| row.bug == bug.id && row.state == State::NoFeature))
            .filter_map(|bug| Some(format!("- {} ({}): {}", bug.id, bug.missing?, bug.what)))
            .collect();
        if !waiting.is_empty() {
            let _ = write!(out, "\nNo feature yet:\n\n{}\n", waiting.join("\n"));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(seed: u64, rule: &str) -> Option<Found> {
        Some(Found { seed, rules: vec![rule.to_owned()] })
    }

    fn row(bug: &str, within: u64) -> Row {
        Row::new(bugs::find(bug).unwrap(), Some("first_message"), within)
    }

    #[test]
    fn survivors_are_split_by_whether_they_were_met() {
        let mut met = row("M01", 2);
        met.add(3, None);
        assert_eq!(met.state, State::NotRun);
        met.add(0, None);
        assert_eq!((met.state, met.hits), (State::OracleGap, 3));
        let mut unmet = row("M01", 1);
        unmet.add(0, None);
        assert_eq!(unmet.state, State::WorkloadGap);
    }

    #[test]
    fn only_an_expected_rule_kills() {
        let mut row = row("M01", 2);
        row.add(1, found(1, "L-4"));
        assert!(row.killed.is_none());
        row.add(1, found(2, "ACK-5"));
        assert_eq!(row.state, State::Killed);
        assert_eq!((row.noticed, row.killed), (found(1, "L-4"), found(2, "ACK-5")));
    }

    #[test]
    fn the_score_counts_bugs_not_rows() {
        let mut rows: Vec<_> = (0..2).map(|_| row("M01", 20)).collect();
        rows[0].add(1, found(1, "L-4"));
        rows[1].add(1, found(4, "ACK-5"));
        rows.push(Row::new(bugs::find("M30").unwrap(), None, 3));
        let text = String::new;
        let matrix = Matrix { made_by: text(), commit: text(), toolchain: text(), rows };
        assert_eq!([matrix.score(Some('M'), 3), matrix.score(None, 20)], [(0, 1), (1, 1)]);
        assert_eq!(matrix.attributed(), (1, 1));
        assert!(matrix.is_clean(), "the first has seeds left");
        insta::assert_snapshot!("the_matrix", matrix.markdown());
    }
}
